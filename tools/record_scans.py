"""Record the sensitivity scans that a new store begins with: `assets/demo/scores.jsonl.gz`, one scan a line.

Run as `python -m tools.record_scans [STORE]`, then `python -m tools.make_checksums`. It goes on where it stopped: the
store keeps what was scanned. The Fisher scan of every bundled workload, with groups of 64 and the joint options; the
output error of the networks that are cheap to run.
"""

import gzip
import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from gencomp_core.records import Progress, ScanReport
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.library import DEMO_FOLDER
from gencomp_core.services.scanning import scan
from gencomp_core.store import Store
from gencomp_core.store.scores import kept_scans, plain_scan
from gencomp_core.workloads import load_workload

WORKLOADS = ("fashion-diffusion", "fashion-gan", "fashion-vae", "verses-transformer")
CHEAP = ("fashion-gan", "fashion-vae")


def finished(steps: Generator[Progress, None, ScanReport]) -> ScanReport:
    """The report of a scan."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            report: ScanReport = stop.value
            return report


def record(store: Store, name: str) -> None:
    """Scan one workload."""
    workload = load_workload(name)
    asked: list[dict[str, Any]] = [
        {"axes": ("sparsity", "bits"), "group_sizes": (None, 64)},
        {"axes": ("joint",)},
    ]
    asked += [{"axes": ("sparsity", "bits"), "method": "proxy"}] if name in CHEAP else []
    for parameters in asked:
        report = finished(scan(store, workload, **parameters))
        print(f"{name} {parameters}: {report.n_new} new scores in {report.seconds:.1f} s", flush=True)


def main() -> None:
    """Scan, and write the file."""
    set_threads(1)
    store = Store(f"sqlite:///{Path(sys.argv[1] if len(sys.argv) > 1 else 'scans.db').absolute()}")
    lines = []
    for name in WORKLOADS:
        record(store, name)
        scans = sorted(kept_scans(store, name), key=lambda own: own.signature)
        lines += [json.dumps(plain_scan(store, own.signature), sort_keys=True) for own in scans]
    content = "\n".join(lines).encode() + b"\n"
    (DEMO_FOLDER / "scores.jsonl.gz").write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    main()
