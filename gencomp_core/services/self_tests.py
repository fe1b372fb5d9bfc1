"""What the self-test of an artifact found, as a table. No torch."""

from collections.abc import Mapping
from typing import Any


def self_test_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a runtime of what `verify` found: samples, metric, bytes and the latency it was recorded with."""
    return [_row(name, own) for name, own in report["runtimes"].items()]


def _row(name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    result, metric, latency = own["selftest"], own["metric"], own["latency"] or own["recorded_latency"]
    alike = "identical" if result and result["identical"] else "within tolerance"
    failed = [check for check, passed in own["checks"].items() if not passed]
    return {
        "runtime": name,
        "self-test": f"failed: {', '.join(failed)}" if failed else "passed",
        "same-seed samples": alike if result and result["passed"] else own["problem"] or "differ",
        "metric": f"{metric['metric'].upper()} {metric['value']:.2f} over {metric['n_samples']}" if metric else "none",
        "bytes": own["size_bytes"],
        "ms a sample": round(latency["median_ms"], 2) if latency else None,
        "times as fast as dense there": round(1 / latency["ratio"], 2) if latency else None,
        "verdict": latency["verdict"] if latency else "not timed",
        "ran": own["ran"],
    }
