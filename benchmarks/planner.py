"""Does a plan beat one setting for all layers at the same bytes, and does it pay to prune and round together?

Run as `python -m benchmarks.planner [WORKLOAD ...] [--cache FOLDER]`; prints one Markdown table a workload, kept in
docs/benchmarks.md. For each uniform recipe three plans get its bytes as their budget: with all options, with rounding
only, with zeroing only. All are packed, reloaded and sampled from the same seeds, so that differences are paired. The
layers are scanned first where the store has no scan. With a cache folder it goes on where it stopped. About an hour on
one core.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.kept import Result, kept
from benchmarks.order import finished
from benchmarks.toolbox import interval
from gencomp_core.analysis.judging import Judge, judge_for
from gencomp_core.analysis.measurement import Shipped, make_request
from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.analysis.planning.instance import Instance
from gencomp_core.analysis.planning.planner import make_plan
from gencomp_core.analysis.samples import Drawer
from gencomp_core.errors import PlanError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS, LayerOption
from gencomp_core.records.plans import Budgets
from gencomp_core.runtime_env import set_threads
from gencomp_core.services import library
from gencomp_core.services.planning import plan
from gencomp_core.services.predictions import basis_of, instance_of
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload

N_SAMPLES = {"fid": 1000, "bleu": 500}
UNIFORM: list[dict[str, Any]] = [
    {"kind": "magnitude-pruning", "sparsity": 0.7},
    {"kind": "weight-quantization", "bits": 4, "group_size": 64},
    {"kind": "weight-quantization", "bits": 4},
    {"kind": "weight-quantization", "bits": 3, "group_size": 64},
    {"kind": "weight-quantization", "bits": 3},
    {"kind": "weight-quantization", "bits": 2, "group_size": 16, "symmetric": False, "clipping": "mse"},
    {"kind": "weight-quantization", "bits": 2, "group_size": 64, "symmetric": False, "clipping": "mse"},
    {"kind": "weight-quantization", "bits": 2, "symmetric": False},
]
"""One setting for all layers, from mild to harsh."""

KINDS: dict[str, Callable[[LayerOption], bool]] = {
    "joint": lambda option: True,
    "rounding only": lambda option: not option.sparsity,
    "zeroing only": lambda option: option.bits is None,
}


def instances(store: library.Store, name: str) -> dict[str, Instance]:
    """What each kind of plan chooses from."""
    whole = instance_of(store, name)
    basis = basis_of(store, name)
    return {
        kind: replace(whole, damages=Damages.of((s for s in basis.scores if may(s.option)), basis.anchors))
        for kind, may in KINDS.items()
    }


class Bench:
    """Samples of a workload from the same seeds, each drawn once."""

    def __init__(self, workload: Workload, n_samples: int) -> None:
        self.workload, self.n = workload, n_samples
        request = make_request(workload, Recipe(), n_samples=n_samples)
        self.judge: Judge[Any] = judge_for(workload, request.extractor)
        self.drawer = Drawer(workload, seed=request.seed, settings=request.settings, judge=self.judge)

    @cached_property
    def dense(self) -> Any:
        """Samples of the dense model, drawn when something is first compared with them."""
        return finished(self.drawer.dense(self.n))

    def measured(self, recipe: Recipe) -> tuple[Any, Result]:
        """Samples of a recipe, and what is told of them."""
        shipped = Shipped.of(self.workload, recipe)
        samples = finished(self.drawer.draw(shipped.model, self.n, what="sampling"))
        quality = self.judge.quality(samples, self.dense)[0]
        return samples, {"size_bytes": shipped.packed.size_bytes, "quality": quality.model_dump()}


def compared(bench: Bench, choices: dict[str, Instance], uniform: Recipe) -> Result:
    """A uniform recipe and the plans that get its bytes."""
    base, found = bench.measured(uniform)
    plans: dict[str, Result] = {}
    joint = None
    for kind, instance in choices.items():
        try:
            made = make_plan(instance, Budgets(size_bytes=found["size_bytes"]))
        except PlanError as error:
            plans[kind] = {"reason": str(error)}
            continue
        samples, told = bench.measured(Recipe.from_dict(made.recipe))
        joint = samples if joint is None else joint
        quality = made.predicted.quality
        plans[kind] = told | {
            "predicted_bytes": made.predicted.size_bytes,
            "predicted": quality.model_dump() if quality else None,
            "difference": bench.judge.quality(samples, base)[2].model_dump(),
            "of_joint": bench.judge.quality(joint, samples)[2].model_dump(),
        }
    return {"uniform": found, "plans": plans}


def row(title: str, found: Result, better: str) -> list[str]:
    """Cells of one uniform recipe and its plans."""
    cells = [title, f"{found['uniform']['size_bytes']:,}", interval(found["uniform"]["quality"])]
    for kind, told in found["plans"].items():
        if "reason" in told:
            cells += ["no such plan", ""]
            continue
        difference = told["difference" if kind == "joint" else "of_joint"]
        cells += [interval(told["quality"]), f"{interval(difference)} {verdict(difference, better)}"]
    return cells


def verdict(difference: Result, better: str) -> str:
    """Whether a paired difference is a gain."""
    if difference["low"] <= 0 <= difference["high"]:
        return "tie"
    return "better" if (difference["value"] < 0) == (better == "lower") else "worse"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", default=["fashion-diffusion", "verses-transformer"])
    parser.add_argument("--cache", type=Path, help="folder that keeps each comparison")
    arguments = parser.parse_args()
    set_threads(1)
    store = library.open_store()
    for name in arguments.workloads:
        plan(store, name, Budgets(size_bytes=10**12))  # scans where that was not done
        workload = load_workload(name)
        facts, n_samples = METRICS[workload.metric], N_SAMPLES[workload.metric]
        choices = instances(store, name)
        heading = ["uniform", "bytes", facts.title]
        for kind in KINDS:
            heading += [f"{kind}: {facts.title}", "joint less uniform" if kind == "joint" else f"joint less {kind}"]
        print(f"\n`{name}`, n = {n_samples}\n\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|", flush=True)
        bench = Bench(workload, n_samples)
        for fields in UNIFORM:
            uniform = Recipe.from_dict({"stages": [fields]})
            key = f"planner-{name}-{n_samples}-{uniform.signature}"
            found = kept(arguments.cache, key, lambda b=bench, c=choices, uniform=uniform: compared(b, c, uniform))
            print(f"| {' | '.join(row(uniform.title(), found, facts.better))} |", flush=True)


if __name__ == "__main__":
    main()
