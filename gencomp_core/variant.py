"""Workload + recipe + seed -> variant: the stages in order, one dispatch from type to function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from gencomp_core.compression.changes import Change
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.pruning import prune_by_magnitude_
from gencomp_core.compression.quantization import quantize_weights_
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.recipes.pruning import MagnitudePruning
from gencomp_core.recipes.quantization import WeightQuantization
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stage import Stage
from gencomp_core.workloads.base import Workload

APPLY: dict[type[Stage], Callable[[Draft, Any], None]] = {
    MagnitudePruning: prune_by_magnitude_,
    WeightQuantization: quantize_weights_,
}


@dataclass(frozen=True)
class Variant:
    """A workload compressed by a recipe with a seed.

    Attributes:
        workload: what was compressed.
        recipe: what was done.
        seed: of stages that draw random numbers.
        model: runs with the compressed weights (fake-quantized); treat as read-only.
        quantized: integers behind the quantized weights, by layer name.
        changes: what was done to the network beyond its weights, in order.
    """

    workload: Workload
    recipe: Recipe
    seed: int
    model: nn.Module
    quantized: dict[str, QuantizedWeight]
    changes: tuple[Change, ...] = ()


def compress(workload: Workload, recipe: Recipe, *, seed: int = 0) -> Variant:
    """Apply a recipe's stages in order to a copy of the dense model.

    Raises:
        RecipeError: a stage names a layer that the workload does not have.
    """
    draft = Draft.of(workload, seed=seed)
    for stage in recipe.stages:
        APPLY[type(stage)](draft, stage)
    return Variant(workload, recipe, seed, draft.model.eval(), draft.quantized, tuple(draft.changes))
