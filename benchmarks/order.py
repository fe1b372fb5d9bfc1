"""Does the order of pruning and quantizing matter? Both orders of the same two stages, against each other.

Run as `python -m benchmarks.order [WORKLOAD ...] [--cache FOLDER]`; prints one Markdown table a workload, kept in
docs/order.md. Both orders are packed, reloaded and sampled from the same seeds, so that their difference is paired;
where its 95 % interval holds 0 they tie. With a cache folder it goes on where it stopped. About 15 minutes on one core.
"""

import argparse
from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.kept import Result, kept
from benchmarks.toolbox import N_SAMPLES, Stages, interval, prune, quantize
from gencomp_core.analysis.judging import judge_for
from gencomp_core.analysis.measurement import Shipped, make_request
from gencomp_core.analysis.samples import Drawer
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import FIDELITIES, METRICS
from gencomp_core.runtime_env import set_threads
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload


def channels(ratio: float, **fields: Any) -> Stages:
    """One stage that removes channels."""
    return [{"kind": "channel-pruning", "pruning_ratio": ratio, **fields}]


PAIRS: list[tuple[Stages, Stages]] = [
    *((prune("magnitude", sparsity), quantize(bits)) for sparsity, bits in ((0.3, 8), (0.5, 4), (0.6, 3), (0.5, 2))),
    *((prune("sparsegpt", sparsity), quantize(bits)) for sparsity, bits in ((0.5, 4), (0.6, 3))),
    (prune("magnitude", 0.5), quantize(4, rounding="gptq")),
    *((channels(ratio), quantize(bits)) for ratio, bits in ((0.1, 8), (0.3, 8), (0.3, 4))),
    (channels(0.3, refit=False), quantize(8)),
]
"""Removing and rounding stages, from mild to harsh."""


def finished(steps: Generator[Any, None, Any]) -> Any:
    """What a generator of progress returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def compared(workload: Workload, first: Recipe, second: Recipe, *, n_samples: int) -> Result:
    """Bytes, quality and drift from dense of two recipes, and the paired difference of the second to the first."""
    request = make_request(workload, first, n_samples=n_samples)
    judge = judge_for(workload, request.extractor)
    drawer = Drawer(workload, seed=request.seed, settings=request.settings, judge=judge)
    dense = finished(drawer.dense(n_samples))
    shipped = [Shipped.of(workload, recipe) for recipe in (first, second)]
    samples = [finished(drawer.draw(own.model, n_samples, what="sampling")) for own in shipped]
    quality, _, difference = judge.quality(samples[1], samples[0])
    return {
        "size_bytes": [own.packed.size_bytes for own in shipped],
        "quality": [judge.quality(samples[0], dense)[0].model_dump(), quality.model_dump()],
        "dense": judge.quality(dense, dense)[0].model_dump(),
        "drift": [judge.drift(own.model, seen, dense).model_dump() for own, seen in zip(shipped, samples, strict=True)],
        "difference": difference.model_dump(),
    }


def verdict(difference: dict[str, float], better: str) -> str:
    """Which order is better, told only where the interval of the difference tells it."""
    if difference["low"] <= 0 <= difference["high"]:
        return "tie"
    second_wins = (difference["value"] < 0) == (better == "lower")
    return "round first" if second_wins else "remove first"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", default=["fashion-vae", "verses-transformer"])
    parser.add_argument("--cache", type=Path, help="folder that keeps each comparison")
    arguments = parser.parse_args()
    set_threads(1)
    for name in arguments.workloads:
        workload = load_workload(name)
        facts, n_samples = METRICS[workload.metric], N_SAMPLES[workload.metric]
        drift = FIDELITIES[facts.drift].title
        heading = (
            "A, B", f"A → B: {facts.title}", drift, "bytes", f"B → A: {facts.title}", drift, "bytes",
            f"{facts.title} of B → A less A → B", "better",
        )  # fmt: skip
        print(f"\n`{name}`, n = {n_samples}\n\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|")
        for removing, rounding in PAIRS:
            first, second = (Recipe.from_dict({"stages": own}) for own in (removing + rounding, rounding + removing))
            signatures = [make_request(workload, own, n_samples=n_samples).signature for own in (first, second)]
            found = kept(
                arguments.cache,
                f"order-{name}-{'-'.join(signatures)}",
                lambda first=first, second=second, workload=workload, n=n_samples: compared(
                    workload, first, second, n_samples=n
                ),
            )
            cells = [first.title().replace(" → ", ", ")]
            for quality, drifted, size in zip(found["quality"], found["drift"], found["size_bytes"], strict=True):
                cells += [interval(quality), f"{drifted['value']:.3g}", f"{size:,}"]
            cells += [interval(found["difference"]), verdict(found["difference"], facts.better)]
            print(f"| {' | '.join(cells)} |", flush=True)
        print(f"\nDense: {interval(found['dense'])}.", flush=True)


if __name__ == "__main__":
    main()
