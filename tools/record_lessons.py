"""Record what the lesson "One cut, or step by step?" rests on: `python -m tools.record_lessons`.

It goes on where it stopped: what the store has is not measured again. Then it adds its lines and pictures to
`assets/demo/` and leaves all others as they are. Nothing is timed.
"""

import os
from pathlib import Path

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Measurement
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.lessons.recovering import N_SAMPLES, WORKLOAD, recipes
from gencomp_core.services.library import DEMO_FOLDER, SAMPLES
from gencomp_core.services.measuring import measure
from gencomp_core.store import Store
from gencomp_core.workloads import load_workload


def main() -> None:
    """Measure what is missing, then add it to the study."""
    set_threads(int(os.environ.get("GENCOMP_THREADS", "1")))
    scratch = Path(os.environ.get("GENCOMP_DEMO_STORE", "runs/lessons.db")).resolve()
    scratch.parent.mkdir(parents=True, exist_ok=True)
    store = Store(f"sqlite:///{scratch}")
    workload = load_workload(WORKLOAD)
    found = []
    for stages in recipes():
        recipe = Recipe.from_dict({"stages": list(stages)})
        found.append(measure(workload, recipe, store=store, n_samples=N_SAMPLES, runtimes=()))
        print(found[-1].title, found[-1].quality, flush=True)
    add(store, found)


def add(store: Store, found: list[Measurement]) -> None:
    """Add the measurements that the study does not hold yet."""
    path = DEMO_FOLDER / "measurements.jsonl"
    lines = path.read_text().splitlines()
    held = {Measurement.model_validate_json(line).signature for line in lines}
    fresh = [own for own in found if own.signature not in held]
    path.write_text("\n".join(lines + [own.model_dump_json() for own in fresh]) + "\n")
    for own in fresh:
        if content := store.picture(own.signature, SAMPLES):
            (DEMO_FOLDER / "pictures" / f"{own.signature}.webp").write_bytes(content)


if __name__ == "__main__":
    main()
