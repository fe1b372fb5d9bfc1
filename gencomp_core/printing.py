"""What the command line prints: tables and lines on stdout, progress and errors on stderr."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from gencomp_core.records import Measurement, Progress, Quality

SECONDS_A_LINE = 1.0

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def reporter() -> Callable[[Progress], None]:
    """Progress on stderr: one line that is rewritten on a terminal, a line a second elsewhere."""
    last_line = 0.0

    def report(progress: Progress) -> None:
        nonlocal last_line
        text = f"{progress.what}: {progress.done} of {progress.total}"
        if err.is_terminal:
            err.print(f"\r{text}   ", end="", markup=False)
        elif time.monotonic() - last_line >= SECONDS_A_LINE:
            err.print(text, markup=False)
            last_line = time.monotonic()

    return report


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_measurement(measurement: Measurement) -> None:
    """A measurement in a few lines."""
    lines = [
        f"{measurement.workload}: {measurement.title} [{measurement.status}]",
        f"  weights file  {measurement.size_bytes:,} bytes ({measurement.n_times_smaller:.2f} × smaller than dense), "
        f"{measurement.effective_bits:.2f} bits per parameter",
        f"  zeros         {measurement.sparsity:.1%} of the weights",
    ]
    quality, dense, change = measurement.quality, measurement.dense_quality, measurement.quality_change
    if quality and dense and change:
        lines += [
            f"  quality       {quality.value:.3f} [{quality.low:.3f}, {quality.high:.3f}]  {quality.name}, "
            f"{quality.better} is better{_beside(quality)}",
            f"  dense         {dense.value:.3f} [{dense.low:.3f}, {dense.high:.3f}]",
            f"  difference    {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}], same seeds",
        ]
    lines += [f"  {latency_line(latency.model_dump())}" for latency in measurement.latency]
    out.print("\n".join(lines), markup=False)


def _beside(quality: Quality) -> str:
    """What the quality is to be compared with."""
    lines = dict(quality.baselines)
    if quality.noise_floor is not None:
        lines["real images"] = quality.noise_floor
    return "".join(f"; {name} {value:.3f}" for name, value in lines.items())


def latency_line(latency: dict[str, Any]) -> str:
    """A latency with its quartiles, dense and verdict, in one line."""
    busy = ", machine was busy" if latency["busy"] else ""
    return (
        f"latency       {latency['median_ms']:.1f} ms [{latency['low_ms']:.1f}, {latency['high_ms']:.1f}] "
        f"{latency['runtime']}, batch {latency['batch']}; dense {latency['dense_median_ms']:.1f} ms, "
        f"ratio {latency['ratio']:.3f} ({latency['verdict']}{busy})"
    )


def count(value: int | None) -> str:
    """A count with thousands separators."""
    return "not measured" if value is None else f"{value:,}"
