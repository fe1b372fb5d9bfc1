"""Record what training brings back, for the Recover page and the recovery planner: curves, figures, samples.

Run as `python -m tools.record_recovery [WORKLOAD ...]`; writes `assets/demo/recovery/`. A run that is there already is
not made again. About an hour of one core for all.
"""

import gzip
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records.recovery import RecoveryRun
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.recoveries import ALONG, ALONG_TEXTS, FOLDER, RUNS_FILE, recorded
from gencomp_core.services.recovering import recover
from gencomp_core.store import Store

Stages = list[dict[str, Any]]
CHECKS = 8
PRUNED: Stages = [{"kind": "magnitude-pruning", "sparsity": 0.7}]
HALF: Stages = [{"kind": "magnitude-pruning", "sparsity": 0.5}]
W3A8: Stages = [{"kind": "weight-quantization", "bits": 3}, {"kind": "activation-quantization"}]
W4A8: Stages = [{"kind": "weight-quantization", "bits": 4}, {"kind": "activation-quantization"}]


def stage(kind: str, steps: int, **fields: Any) -> Stages:
    """One stage that trains, looked at eight times."""
    return [{"kind": kind, "steps": steps, "checks": CHECKS, **fields}]


def rungs(damage: Stages, steps: int) -> list[Stages]:
    """Every rung after the same damage."""
    return [
        [*damage, *stage("fine-tune", steps, **fields)]
        for fields in ({}, {"distillation": 0}, {"trainable": "low-rank"}, {"trainable": "norms-and-biases"})
    ]


def wanted() -> dict[str, list[tuple[Stages, int]]]:
    """Recipes and seeds of each workload."""
    qat = "quantization-aware-training"
    vae = [
        *rungs(PRUNED, 200),
        stage("iterative-pruning", 200, sparsity=0.7),
        [*W3A8, *stage(qat, 200)],
        [*W3A8, *stage("fine-tune", 200)],
        [*PRUNED, *stage("fine-tune", 200, match="features")],
        [*PRUNED, *W4A8, *stage(qat, 200)],
    ]
    return {
        "fashion-vae": [
            *((stages, 0) for stages in vae),
            *((stages, 1) for stages in [*rungs(PRUNED, 200), *vae[4:6]]),
            *((stages, 0) for stages in [*rungs(HALF, 200), *([*W4A8, *stage(qat, 200)],)]),
        ],
        "fashion-gan": [(stages, 0) for stages in (rungs(PRUNED, 100)[0], [*W3A8, *stage(qat, 100)])],
        "verses-transformer": [
            (stages, 0)
            for stages in (
                [*W3A8, *stage(qat, 80)],
                rungs(PRUNED, 80)[0],
                rungs(PRUNED, 80)[1],
                stage("iterative-pruning", 80, sparsity=0.7),
            )
        ],
        "fashion-diffusion": [
            (stages, 0)
            for stages in (
                rungs(PRUNED, 240)[0],
                [*W4A8, *stage(qat, 160)],
                rungs(PRUNED, 240)[1],
                stage("iterative-pruning", 240, sparsity=0.7),
            )
        ],
    }


def main() -> None:
    """Make and write what is not recorded yet."""
    set_threads(int(os.environ.get("GENCOMP_THREADS", "1")))
    store = Store(f"sqlite:///{Path(os.environ.get('GENCOMP_DEMO_STORE', 'runs/recovery.db')).resolve()}")
    everything = wanted()
    for name in sys.argv[1:] or everything:
        for stages, seed in everything[name]:
            recipe = Recipe.from_dict({"stages": stages})
            known = [run for run in recorded() if run.workload == name and run.seed == seed]
            if any(run.recipe == recipe.to_dict() for run in known):
                continue
            run = made(store, {"workload": name, "recipe": recipe.to_dict(), "seed": seed})
            write(store, run)
            print(f"{name}: {run.title}, seed {seed}, {run.seconds:.0f} s", flush=True)


def made(store: Store, parameters: Mapping[str, Any]) -> RecoveryRun:
    """Carry out one study, told on stderr."""
    steps = recover(store, parameters)
    while True:
        try:
            progress = next(steps)
        except StopIteration as finished:
            return RecoveryRun.model_validate(finished.value)
        told = f"{parameters['workload']}: {progress.what} {progress.done} of {progress.total}"
        print(told, file=sys.stderr, flush=True)


def write(store: Store, run: RecoveryRun) -> None:
    """Add a run and its samples to what ships."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    runs = {own.id: own for own in (*recorded(), run)}
    lines = "".join(own.model_dump_json() + "\n" for own in sorted(runs.values(), key=lambda own: own.workload))
    RUNS_FILE.write_bytes(gzip.compress(lines.encode(), mtime=0))
    recorded.cache_clear()
    for kind, ending in ((ALONG, "webp"), (ALONG_TEXTS, "json.gz")):
        content = store.picture(run.signature, kind)
        if content is not None:
            (FOLDER / f"{run.id}.{ending}").write_bytes(content)


if __name__ == "__main__":
    main()
