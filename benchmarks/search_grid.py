"""An exhaustive grid of configurations, each measured once at every number of samples that a search may ask for.

Run as `python -m benchmarks.search_grid WORKLOAD --cache FOLDER`; run again, it goes on where it stopped. One thread;
all times are processor seconds. `benchmarks.search` replays searches over what this leaves in the folder.
"""

import argparse
import time
from collections.abc import Callable, Generator
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.kept import Result, kept
from gencomp_core.analysis.judging import judge_for
from gencomp_core.analysis.measurement import Shipped, make_request
from gencomp_core.analysis.samples import Drawer
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Progress
from gencomp_core.runtime_env import set_threads
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload, makes_texts

N_FULL = {"fid": 1000, "bleu": 200}
N_QUALITY = {"fid": (50, 100, 250), "bleu": (40, 100)}
N_DAMAGE = {"fid": (50, 100), "bleu": (20, 40)}
T = TypeVar("T")


def grid() -> list[Recipe]:
    """Magnitude pruning within layers or over the network, times rounding by width, group and clipping: 407."""
    pruned: list[list[dict[str, Any]]] = [[]]
    pruned += [
        [{"kind": "magnitude-pruning", "scope": scope, "sparsity": sparsity}]
        for scope, sparsity in product(("layer", "global"), (0.3, 0.5, 0.6, 0.7, 0.8))
    ]
    rounded: list[list[dict[str, Any]]] = [[]]
    for bits, group, clipping in product((8, 6, 5, 4, 3, 2), (None, 64, 32), ("none", "mse")):
        stage = {"kind": "weight-quantization", "bits": bits, "clipping": clipping}
        rounded.append([stage | ({"group_size": group} if group else {})])
    return [Recipe.from_dict({"stages": first + second}) for first, second in product(pruned, rounded)]


def timed(make: Callable[[], T]) -> tuple[T, float]:
    """What a function returns, and its processor seconds."""
    started = time.process_time()
    found = make()
    return found, time.process_time() - started


def last(steps: Generator[Progress, None, T]) -> T:
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value


class Grid:
    """Measures recipes of one workload.

    Attributes:
        n_full: samples of a full evaluation.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.n_full = N_FULL[workload.metric]
        self.request = make_request(workload, Recipe(), n_samples=self.n_full)
        self.judge = judge_for(workload, self.request.extractor)
        self.drawer = Drawer(workload, seed=0, settings=self.request.settings, judge=self.judge)
        self.dense = last(self.drawer.dense(self.n_full))
        for n in N_QUALITY[workload.metric] + (self.n_full,):
            self.judge.quality(self.dense.first(n), self.dense.first(n))  # references and baselines are read once

    def measure(self, recipe: Recipe) -> Result:
        """Bytes, quality and damage of a recipe at each number of samples, with the seconds of each step."""
        shipped, seconds = timed(lambda: Shipped.of(self.workload, recipe))
        found: Result = {
            "recipe": recipe.to_dict(),
            "title": recipe.title(),
            "size_bytes": shipped.packed.size_bytes,
            "ship_seconds": seconds,
            "rungs": {},
        }
        metric, samples, drawing = self.workload.metric, None, 0.0
        for n in (*N_QUALITY[metric], self.n_full):
            start = len(samples) if samples else 0
            more, seconds = timed(
                lambda n=n, start=start: last(self.drawer.draw(shipped.model, n, what="", start=start))
            )
            drawing += seconds
            samples = samples.then(more) if samples else more
            (quality, _, change), judging = timed(
                lambda samples=samples, n=n: self.judge.quality(samples, self.dense.first(n))
            )
            found["rungs"][n] = {
                "draw_seconds": drawing,
                "quality_seconds": judging,
                "quality": {"value": quality.value, "low": quality.low, "high": quality.high},
                "change": change.model_dump(),
            }
        for n in N_DAMAGE[metric]:
            first = self.dense.first(n) if makes_texts(self.workload) else samples.first(n)
            damage, seconds = timed(
                lambda n=n, first=first: self.judge.damage(shipped.model, first, self.dense.first(n))
            )
            found["rungs"].setdefault(n, {}).update(damage=damage.model_dump(), damage_seconds=seconds)
        return found


def measured(name: str, cache: Path | None) -> list[Result]:
    """The whole grid of a workload, dense first; what is missing in the cache is measured."""
    made: list[Grid] = []

    def measure(recipe: Recipe) -> Result:
        if not made:
            made.append(Grid(load_workload(name)))
        return made[0].measure(recipe)

    recipes = grid()
    found = []
    for number, recipe in enumerate(recipes):
        found.append(kept(cache, f"{name}-{recipe.signature}", lambda recipe=recipe: measure(recipe)))
        if made:
            print(f"{number + 1} of {len(recipes)}: {recipe.title()}", flush=True)
    return found


def main() -> None:
    """Fill the cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps each configuration's result")
    arguments = parser.parse_args()
    set_threads(1)
    results = measured(arguments.workload, arguments.cache)
    print(f"{len(results)} configurations in {arguments.cache}")


if __name__ == "__main__":
    main()
