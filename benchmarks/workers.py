"""Two workers against one: the same sweep of single-threaded evaluations, `python -m benchmarks.workers`.

Both sweeps start from an empty store and an empty cache. The machine must be idle: the figures are wall time. Beside
them stands the processor time of the worker processes, which tells how much of the machine each sweep really got.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from gencomp_core.services.sweeping import sweep
from gencomp_core.store import Store

GRID = {
    "stages": [
        {"kind": "magnitude-pruning", "sparsity": ["skip", 0.3, 0.5, 0.7]},
        {"kind": "weight-quantization", "bits": ["skip", 8, 6, 4]},
    ]
}


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--workload", default="fashion-gan")
    arguments.add_argument("--samples", type=int, default=2000)
    arguments.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments.add_argument("--cluster", action="store_true", help="a local Dask cluster of two as well")
    chosen = arguments.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = [timed(chosen.workload, chosen.samples, workers=n) for n in chosen.workers]
    if chosen.cluster:
        rows.append(on_cluster(chosen.workload, chosen.samples))
    print(f"{chosen.workload}, {rows[0]['n']} configurations, {chosen.samples} samples; load {os.getloadavg()[0]:.1f}")
    print("| workers | wall s | processor s | of the machine's time | × faster than the first |")
    print("|---|---|---|---|---|")
    for row in rows:
        share = row["processor_s"] / row["wall_s"] if row["processor_s"] else float("nan")
        print(
            f"| {row['workers']} | {row['wall_s']:.1f} | {row['processor_s']:.1f} | {share:.2f} cores "
            f"| {rows[0]['wall_s'] / row['wall_s']:.2f} |"
        )


def timed(workload: str, samples: int, **how: Any) -> dict[str, Any]:
    """One sweep from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GENCOMP_HOME"] = folder
        store = Store(f"sqlite:///{Path(folder) / 'store.db'}")
        parameters = {"workload": workload, "grid": GRID, "samples": samples, **how}
        before, began = processor_s(), time.perf_counter()
        steps = sweep(store, parameters)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                result = finished.value
                break
        wall = time.perf_counter() - began
        assert result["n_measured"] == result["n_configurations"], result
        store.engine.dispose()
    label = how.get("workers") or "Dask, 2"
    return {"workers": label, "n": result["n_measured"], "wall_s": wall, "processor_s": processor_s() - before}


def on_cluster(workload: str, samples: int) -> dict[str, Any]:
    """The same through a Dask cluster of two processes."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        return timed(workload, samples, scheduler=cluster.scheduler_address)


def processor_s() -> float:
    """Processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
