"""How much of the quality that compression takes comes back by training, and what it costs.

Run as `python -m benchmarks.recovery [WORKLOAD ...] [--steps N] [--samples N] [--cache FOLDER]`; prints one Markdown
table a workload. "Gap recovered" is (damaged - recovered) / (damaged - dense), from differences to dense at the same
seeds; its ends pair the far ends of both intervals. The dense control is the dense model with the same training. With a
cache folder each row is kept as it is finished. 300 steps of the diffusion model take four CPU-minutes.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.kept import Result, kept
from gencomp_core.analysis.recovered import gap_recovered
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Estimate
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.measuring import measure
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload

WORKLOADS = ("fashion-vae", "fashion-diffusion", "verses-transformer")
CHECKS = 6
N_SAMPLES = {"fid": 1000, "bleu": 500}
Stages = list[dict[str, Any]]

W4A8: Stages = [{"kind": "weight-quantization", "bits": 4}, {"kind": "activation-quantization"}]
W3A8: Stages = [{"kind": "weight-quantization", "bits": 3}, {"kind": "activation-quantization"}]
PRUNED: Stages = [{"kind": "magnitude-pruning", "sparsity": 0.7}]


def tuned(steps: int, **fields: Any) -> Stages:
    """Fine-tuning of so many steps."""
    return [{"kind": "fine-tune", "steps": steps, "checks": CHECKS, **fields}]


def qat(steps: int, **fields: Any) -> Stages:
    """Quantization-aware training of so many steps."""
    return [{"kind": "quantization-aware-training", "steps": steps, "checks": CHECKS, **fields}]


def iterative(steps: int, **fields: Any) -> Stages:
    """70 % pruned on the way of so many steps."""
    return [{"kind": "iterative-pruning", "sparsity": 0.7, "steps": steps, "checks": CHECKS, **fields}]


def every_way(steps: int) -> list[Stages]:
    """Each stage and each rung, from 70 % zeros or on the way to them; for a model that trains fast."""
    names = ("growing", "l1", "group-lasso")
    movement = {"kind": "movement-pruning", "sparsity": 0.7, "steps": steps, "checks": CHECKS}
    regularized = {**movement, "kind": "regularized-pruning"}
    regrowth = {"kind": "regrowth", "steps": steps, "checks": CHECKS}
    return [
        *([*PRUNED, *tuned(steps, **fields)] for fields in ({}, {"distillation": 0})),
        *([*PRUNED, regrowth], iterative(steps), [movement]),
        *([{**regularized, "penalty": name}] for name in names),
        *([*PRUNED, *tuned(steps, trainable=rung)] for rung in ("low-rank", "norms-and-biases")),
        [*PRUNED, *tuned(steps, match="features")],
        *(iterative(steps, rewind=rewind) for rewind in ("rate", "weights")),
    ]


def configurations(workload: str, steps: int) -> list[tuple[Stages, list[Stages]]]:
    """What damages, with the ways to recover from it."""
    if workload == "fashion-vae":
        rounded = [[*W3A8, *qat(steps)], [*W3A8, *tuned(steps)]]
        return [(PRUNED, every_way(steps)), (W3A8, rounded), ([], [tuned(steps)])]
    quantized = W3A8 if workload.startswith("verses") else W4A8  # 4 bits cost the verse model nothing that shows
    return [
        (
            quantized,
            [[*quantized, *more] for more in (qat(steps), qat(steps, distillation=0), tuned(steps))]
            + by_reward(workload, steps),
        ),
        (PRUNED, [[*PRUNED, *more] for more in (tuned(steps), tuned(steps, distillation=0))] + [iterative(steps)]),
        ([], [tuned(steps)]),
    ]


def few_steps(workload: str, steps: int) -> list[tuple[Stages, dict[str, int]]]:
    """Dense and taught to sample in a quarter of the steps, with the settings that each is sampled with."""
    if workload != "fashion-diffusion":
        return []
    taught = {"kind": "step-distillation", "sampler_steps": 4, "steps": steps, "checks": CHECKS}
    return [([], {"steps": 4}), ([], {"steps": 8}), ([taught], {"steps": 4})]


def by_reward(workload: str, steps: int) -> list[Stages]:
    """Self-critical tuning after 3-bit rounding; a step of it costs as much as eight others."""
    stage = {"kind": "self-critical-tuning", "steps": max(1, steps // 8), "batch_size": 16, "checks": 3}
    return [[*W3A8, stage]] if workload.startswith("verses") else []


def result_of(
    workload: Workload, stages: Stages, *, n_samples: int, settings: Mapping[str, int] | None = None
) -> Result:
    """The measurement of a recipe, and the CPU seconds of its training."""
    recipe = Recipe.from_dict({"stages": stages})
    variant = compress(workload, recipe)
    seconds = sum(curve[-1].seconds for curve in variant.curves)
    measured = measure(workload, recipe, n_samples=n_samples, runtimes=(), settings=settings)
    return {**measured.summary(), "tuning_seconds": seconds}


def row(found: Result, damaged: Result | None) -> str:
    """One line of the table."""
    quality, change = found["quality"], Estimate(**found["quality_change"])
    cells = [found["title"], f"{found['tuning_seconds']:.0f}"]
    cells.append(f"{quality['value']:.2f} [{quality['low']:.2f}, {quality['high']:.2f}]")
    cells.append(f"{change.value:+.2f} [{change.low:.2f}, {change.high:.2f}]")
    gap = gap_recovered(Estimate(**damaged["quality_change"]), change) if damaged else None
    cells.append(f"{gap.value:.0%} [{gap.low:.0%}, {gap.high:.0%}]" if gap else "–")
    return f"| {' | '.join([*cells, format(found['size_bytes'], ',')])} |"


def print_few_steps(workload: Workload, steps: int, n: int, cache: Path | None) -> None:
    """Quality at few sampler steps, before and after a model was taught them."""
    rows = few_steps(workload.name, steps)
    if rows:
        print("\n| recipe | sampler steps | CPU s | fid |\n|---|---|---|---|")
    for stages, settings in rows:
        recipe = Recipe.from_dict({"stages": stages})
        key = f"recovery-{workload.name}-{recipe.signature}-{n}-{settings['steps']}"
        found = kept(
            cache, key, lambda stages=stages, own=settings: result_of(workload, stages, n_samples=n, settings=own)
        )
        quality, seconds = found["quality"], found["tuning_seconds"]
        fid = f"{quality['value']:.2f} [{quality['low']:.2f}, {quality['high']:.2f}]"
        print(f"| {recipe.title()} | {settings['steps']} | {seconds:.0f} | {fid} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=WORKLOADS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--cache", type=Path)
    chosen = parser.parse_args()
    set_threads(1)
    for name in chosen.workloads:
        workload = load_workload(name)
        n = chosen.samples or N_SAMPLES[workload.metric]

        def found(stages: Stages, workload: Workload = workload, n: int = n) -> Result:
            key = f"recovery-{workload.name}-{Recipe.from_dict({'stages': stages}).signature}-{n}"
            return kept(chosen.cache, key, lambda: result_of(workload, stages, n_samples=n))

        dense = found([])["quality"]["value"]
        print(f"\n{name}, {chosen.steps} steps, dense {workload.metric} {dense:.2f}, n = {n}\n")
        print(f"| recipe | CPU s | {workload.metric} | to dense | gap recovered | bytes |\n|---|---|---|---|---|---|")
        for damage, ways in configurations(name, chosen.steps):
            damaged = found(damage) if damage else None
            if damaged:
                print(row(damaged, None), flush=True)
            for stages in ways:
                print(row(found(stages), damaged), flush=True)
        print_few_steps(workload, chosen.steps, n, chosen.cache)


if __name__ == "__main__":
    main()
