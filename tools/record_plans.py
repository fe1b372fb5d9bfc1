"""Record what plans rest on, so that plans and predictions are there on day one: scores, anchors, prices and channels.

Run as `python -m tools.record_plans [WORKLOAD ...]` after `make demo`; writes `assets/demo/plans/`. About ten minutes
on one core.
"""

import os
import sys
from collections.abc import Generator
from pathlib import Path

from gencomp_core.records import Progress
from gencomp_core.records.plans import PlanBasis
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.library import DEMO_FOLDER
from gencomp_core.services.planning import prepare, prepare_speed
from gencomp_core.store import Store
from gencomp_core.store.predictions import basis_to_bytes
from gencomp_core.workloads import load_workload

WORKLOADS = ("fashion-vae", "fashion-gan", "fashion-diffusion", "verses-transformer")


def main() -> None:
    """Scan, try and price each workload, and write what was found."""
    set_threads(int(os.environ.get("GENCOMP_THREADS", "1")))
    store = Store(f"sqlite:///{Path(os.environ.get('GENCOMP_DEMO_STORE', 'runs/demo.db')).resolve()}")
    folder = DEMO_FOLDER / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or WORKLOADS:
        steps = _prepared(store, name)
        while True:
            try:
                progress = next(steps)
            except StopIteration as finished:
                content = basis_to_bytes(finished.value)
                break
            print(f"{name}: {progress.what} {progress.done} of {progress.total}", file=sys.stderr, flush=True)
        (folder / f"{name}.json.z").write_bytes(content)
        print(f"{name}: {len(content):,} bytes", flush=True)


def _prepared(store: Store, name: str) -> Generator[Progress, None, PlanBasis]:
    workload = load_workload(name)
    basis = yield from prepare(store, workload)
    return (yield from prepare_speed(store, workload, basis))


if __name__ == "__main__":
    main()
