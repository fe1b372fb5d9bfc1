"""Seconds to apply, pack and unpack recipes on the bundled models, one thread.

Run as `python -m benchmarks.compression`; prints one Markdown table. Times are medians of seven, and
ratios are against copying the dense model in the same round, because the machine is shared.
"""

import copy
import statistics
import time
from collections.abc import Callable

import torch

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import compress
from gencomp_core.workloads import CATALOG, load_workload

ROUNDS = 7
RECIPES = [
    "stages: [{kind: magnitude-pruning, sparsity: 0.5}]",
    "stages: [{kind: magnitude-pruning, sparsity: 0.5, scope: global}]",
    "stages: [{kind: weight-quantization, bits: 4}]",
    "stages: [{kind: weight-quantization, bits: 4, group_size: 64, symmetric: false}]",
    "stages: [{kind: weight-quantization, bits: 4, clipping: mse}]",
    "stages: [{kind: magnitude-pruning, sparsity: 0.5}, {kind: weight-quantization, bits: 4, group_size: 64}]",
]


def seconds(action: Callable[[], object]) -> float:
    """CPU seconds of one action."""
    started = time.process_time()
    action()
    return time.process_time() - started


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("| workload | recipe | copy s | apply s | pack s | unpack s | apply / copy |\n|---|---|---|---|---|---|---|")
    for name in CATALOG:
        workload = load_workload(name)
        for text in RECIPES:
            recipe = Recipe.from_text(text)
            variant = compress(workload, recipe)
            content = pack(variant.model, variant.quantized).content
            network = workload.empty_network()
            actions: list[Callable[[], object]] = [
                lambda workload=workload: copy.deepcopy(workload.model),
                lambda workload=workload, recipe=recipe: compress(workload, recipe),
                lambda variant=variant: pack(variant.model, variant.quantized),
                lambda content=content, network=network: unpack_into(content, network),
            ]
            rounds = [[seconds(action) for action in actions] for _ in range(ROUNDS)]
            medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
            ratio = statistics.median(apply / max(dense, 1e-6) for dense, apply, *_ in rounds)
            times = " | ".join(f"{value:.3f}" for value in medians)
            print(f"| {name} | {recipe.title()} | {times} | {ratio:.0f} |", flush=True)


if __name__ == "__main__":
    main()
