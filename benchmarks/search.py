"""How much of an exhaustive grid's hypervolume a search finds, and for how much of its time.

Run as `python -m benchmarks.search [WORKLOAD ...] --cache FOLDER`; `benchmarks.search_grid` measures the grid into the
same folder. The search is the product's own; its evaluations are read from the grid, and each is charged the processor
seconds that it took there: every rung in full, nothing reused from a lower one. What the search itself computes is
charged as well.
"""

import argparse
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kept import Result
from benchmarks.search_grid import N_FULL, measured
from gencomp_core.analysis.pareto import hypervolume, reference_point
from gencomp_core.analysis.search.loop import SearchPlan, search
from gencomp_core.analysis.search.space import Space, default_grid
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS, Estimate, Screening
from gencomp_core.workloads import card_of

RUNGS = {"fid": 50, "bleu": 20}
SEEDS = (0, 1, 2)


@dataclass
class Replay:
    """The grid as an evaluator, with its clock.

    Attributes:
        results: by recipe signature.
        seconds: charged so far, by what they were for.
    """

    workload: str
    results: dict[str, Result]
    n_full: int
    asks_quality: bool
    seconds: dict[str, float] = field(default_factory=lambda: {"screening": 0.0, "measuring": 0.0, "searching": 0.0})

    def screen(self, recipe: Recipe, n_samples: int) -> Screening:
        """What the grid found over the first samples."""
        result = self.results[recipe.signature]
        rung = result["rungs"][str(n_samples)]
        judged = self.asks_quality
        seconds = result["ship_seconds"] + rung["damage_seconds"]
        seconds += rung["draw_seconds"] + rung["quality_seconds"] if judged else 0.0
        self.seconds["screening"] += seconds
        return self._found(result, n_samples, seconds, rung, judged)

    def measure(self, recipe: Recipe) -> Screening:
        """What the grid found over all samples."""
        result = self.results[recipe.signature]
        rung = result["rungs"][str(self.n_full)]
        seconds = full_seconds(result, self.n_full)
        self.seconds["measuring"] += seconds
        return self._found(result, self.n_full, seconds, rung, judged=True)

    def _found(self, result: Result, n: int, seconds: float, rung: dict[str, Any], judged: bool) -> Screening:
        return Screening(
            signature=f"{n}",
            workload=self.workload,
            title=result["title"],
            n_samples=n,
            costs={"size_bytes": result["size_bytes"]},
            quality=Estimate(**rung["quality"]) if judged else None,
            change=Estimate(**rung["change"]) if judged else None,
            damage=Estimate(**rung["damage"]) if "damage" in rung else None,
            seconds=seconds,
        )


def full_seconds(result: Result, n_full: int) -> float:
    """Processor seconds of one full evaluation: compress, pack, unpack, sample, judge."""
    rung = result["rungs"][str(n_full)]
    return float(result["ship_seconds"] + rung["draw_seconds"] + rung["quality_seconds"])


@dataclass(frozen=True)
class Grid:
    """Cost and quality of every configuration, and the area that they dominate."""

    results: dict[str, Result]
    metric: str
    n_full: int

    def arrays(self, signatures: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """log2 of the bytes, and quality."""
        chosen = [self.results[signature] for signature in signatures]
        cost = np.log2([result["size_bytes"] for result in chosen])
        return cost, np.array([result["rungs"][str(self.n_full)]["quality"]["value"] for result in chosen])

    def references(self) -> dict[str, tuple[float, float]]:
        """What the area is counted up to: ten usual losses of the dense quality, and the worst of the grid."""
        facts = METRICS[self.metric]
        cost, quality = self.arrays(list(self.results))
        dense = float(quality[np.argmax(cost)])
        near = reference_point(cost, dense_quality=dense, usual_loss=facts.usual_loss, better=facts.better)
        worst = quality.max() if facts.better == "lower" else quality.min()
        return {"ten usual losses": near, "worst of the grid": (near[0], float(worst))}

    def share(self, signatures: list[str], reference: tuple[float, float], *, capped: bool = False) -> float:
        """Hypervolume of some configurations as a share of that of all.

        Args:
            capped: count a quality above dense's as dense's.
        """
        better = METRICS[self.metric].better
        cost, quality = self.arrays(list(self.results))
        dense = quality[np.argmax(cost)]
        areas = []
        for names in (signatures, list(self.results)):
            own_cost, own = self.arrays(names)
            if capped:
                own = np.maximum(own, dense) if better == "lower" else np.minimum(own, dense)
            areas.append(hypervolume(own_cost, own, reference=reference, better=better))
        return areas[0] / areas[1]

    def shares(self, signatures: list[str]) -> dict[str, float]:
        """Shares up to each reference, and up to the near one without credit for being better than dense."""
        found = {name: self.share(signatures, reference) for name, reference in self.references().items()}
        near = self.references()["ten usual losses"]
        return {**found, "ten usual losses, capped at dense": self.share(signatures, near, capped=True)}

    @property
    def seconds(self) -> float:
        """Of measuring everything."""
        return sum(full_seconds(result, self.n_full) for result in self.results.values())


@dataclass(frozen=True)
class Run:
    """What one search found, and what it cost."""

    signatures: list[str]
    n_screened: int
    seconds: dict[str, float]


def searched(grid: Grid, name: str, plan: SearchPlan) -> Run:
    """Replay one search."""
    replay = Replay(name, grid.results, grid.n_full, asks_quality=grid.metric == "fid")
    started = time.process_time()
    steps = list(search(Space.of(default_grid("size_bytes")), replay, plan))
    replay.seconds["searching"] = time.process_time() - started
    full = [Recipe.from_dict(step.recipe).signature for step in steps if step.verdict == "full"]
    screened = {step.number for step in steps if step.rung < len(plan.rungs) - 1}
    return Run(full, len(screened), replay.seconds)


def random_in(grid: Grid, seconds: float, *, seed: int) -> list[str]:
    """Dense, and full evaluations of configurations drawn at random, as many as there is time for."""
    names = list(grid.results)
    drawn = names[1:]
    np.random.default_rng(seed).shuffle(drawn)
    chosen, left = [names[0]], seconds - full_seconds(grid.results[names[0]], grid.n_full)
    for name in drawn:
        left -= full_seconds(grid.results[name], grid.n_full)
        if left < 0:
            break
        chosen.append(name)
    return chosen


def load(name: str, cache: Path) -> Grid:
    """The grid of a workload from the cache; measured where it is missing."""
    metric = card_of(name).metric
    results = {Recipe.from_dict(result["recipe"]).signature: result for result in measured(name, cache)}
    return Grid(results, metric, N_FULL[metric])


def report(name: str, grid: Grid, plan: SearchPlan) -> None:
    """Print the rows of one workload."""
    references = grid.references()
    print(f"\n{name}: {len(grid.results)} configurations, {grid.seconds:.0f} s for all; reference {references}\n")
    names = grid.shares(list(grid.results))
    heading = ("search", "seed", "tried", "measured", "time", "of it the search itself", *names)
    print(f"| {' | '.join(heading)} |\n{'|---' * len(heading)}|")
    for seed in SEEDS:
        run = searched(grid, name, replace(plan, seed=seed))
        spent = sum(run.seconds.values())
        _row(plan.sampler, seed, run.n_screened, run.signatures, spent, run.seconds["searching"], grid)
        drawn = random_in(grid, spent, seed=seed)
        _row("random, full count", seed, 0, drawn, spent, 0.0, grid)


def _row(label: str, seed: int, tried: int, found: list[str], spent: float, own: float, grid: Grid) -> None:
    shares = [f"{share:.2%}" for share in grid.shares(found).values()]
    cells = [label, seed, tried, len(found), f"{spent / grid.seconds:.2%}", f"{own / grid.seconds:.2%}", *shares]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", default=["fashion-gan", "verses-transformer"])
    parser.add_argument("--cache", type=Path, required=True, help="folder with the measured grid")
    parser.add_argument("--trials", type=int, default=100, help="configurations that a search may try")
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random"], help="of Optuna: tpe, gp, random")
    arguments = parser.parse_args()
    for name in arguments.workloads:
        grid = load(name, arguments.cache)
        rungs = (RUNGS[grid.metric], grid.n_full)
        for sampler in arguments.samplers:
            report(name, grid, SearchPlan(grid.metric, "size_bytes", rungs, trials=arguments.trials, sampler=sampler))


if __name__ == "__main__":
    main()
