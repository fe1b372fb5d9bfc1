"""Workload + recipe + seed -> variant: the stages in order, one dispatch from type to function."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from gencomp_core.compression.activations import quantize_activations_
from gencomp_core.compression.adaptive_pruning import prune_adaptively_
from gencomp_core.compression.blocks import remove_blocks_
from gencomp_core.compression.changes import Change
from gencomp_core.compression.channels import prune_channels_, prune_heads_
from gencomp_core.compression.corrections import correct_biases_
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.factorization import factorize_
from gencomp_core.compression.low_rank import correct_by_low_rank_
from gencomp_core.compression.pruning import (
    prune_by_gradient_,
    prune_by_magnitude_,
    prune_by_sparsegpt_,
    prune_by_wanda_,
)
from gencomp_core.compression.quantization import cast_weights_, quantize_weights_
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.compression.scaling import equalize_
from gencomp_core.compression.smoothing import smooth_
from gencomp_core.recipes.activations import ActivationQuantization, SmoothQuant
from gencomp_core.recipes.factorization import LowRankFactorization
from gencomp_core.recipes.learned_masks import (
    HardConcretePruning,
    IterativePruning,
    MovementPruning,
    Regrowth,
    RegularizedPruning,
)
from gencomp_core.recipes.pruning import (
    AdaptivePruning,
    GradientPruning,
    MagnitudePruning,
    SparseGPTPruning,
    WandaPruning,
)
from gencomp_core.recipes.quantization import (
    BiasCorrection,
    CrossLayerEqualization,
    FloatCast,
    LowRankCorrection,
    WeightQuantization,
)
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.recovery import FineTuning, QuantizationAwareTraining
from gencomp_core.recipes.special_tuning import SelfCriticalTuning, StepDistillation
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.structure import BlockRemoval, ChannelPruning, HeadPruning
from gencomp_core.records import Progress, TrainingRecord
from gencomp_core.recovery.stages import (
    distil_steps_,
    fine_tune_,
    prune_while_training_,
    regrow_,
    train_quantized_,
    tune_for_bleu_,
)
from gencomp_core.workloads.base import Workload

APPLY: dict[type[Stage], Callable[[Draft, Any], Iterator[Progress] | None]] = {
    MagnitudePruning: prune_by_magnitude_,
    WandaPruning: prune_by_wanda_,
    SparseGPTPruning: prune_by_sparsegpt_,
    GradientPruning: prune_by_gradient_,
    AdaptivePruning: prune_adaptively_,
    WeightQuantization: quantize_weights_,
    FloatCast: cast_weights_,
    LowRankCorrection: correct_by_low_rank_,
    BiasCorrection: correct_biases_,
    CrossLayerEqualization: equalize_,
    SmoothQuant: smooth_,
    ActivationQuantization: quantize_activations_,
    ChannelPruning: prune_channels_,
    HeadPruning: prune_heads_,
    BlockRemoval: remove_blocks_,
    LowRankFactorization: factorize_,
    FineTuning: fine_tune_,
    QuantizationAwareTraining: train_quantized_,
    IterativePruning: prune_while_training_,
    MovementPruning: prune_while_training_,
    HardConcretePruning: prune_while_training_,
    RegularizedPruning: prune_while_training_,
    Regrowth: regrow_,
    StepDistillation: distil_steps_,
    SelfCriticalTuning: tune_for_bleu_,
}
"""Function of each stage type; what takes minutes yields its progress."""


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
        calibration: samples that it was calibrated with, by stage of the generation and by class or length.
        curves: held-out figures of each tuning, in order.
        tunings: names of the folders in which they are kept.
    """

    workload: Workload
    recipe: Recipe
    seed: int
    model: nn.Module
    quantized: dict[str, QuantizedWeight]
    changes: tuple[Change, ...] = ()
    calibration: dict[str, dict[str, int]] = field(default_factory=dict)
    curves: tuple[tuple[TrainingRecord, ...], ...] = ()
    tunings: tuple[str, ...] = ()


def compress(workload: Workload, recipe: Recipe, *, seed: int = 0) -> Variant:
    """Apply a recipe's stages in order to a copy of the dense model.

    Raises:
        RecipeError: a stage names a layer that the workload does not have.
    """
    steps = compression_steps(workload, recipe, seed=seed)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            variant: Variant = finished.value
            return variant


def compression_steps(workload: Workload, recipe: Recipe, *, seed: int = 0) -> Generator[Progress, None, Variant]:
    """`compress`, yielding progress: stages that train take minutes.

    A tuning that was stopped goes on where it was, and one that was finished is read from GenComp's home.
    """
    draft = Draft.of(workload, seed=seed)
    for stage in recipe.stages:
        yield from APPLY[type(stage)](draft, stage) or ()
    return Variant(
        workload,
        recipe,
        seed,
        draft.model.eval(),
        draft.quantized,
        tuple(draft.changes),
        draft.calibration,
        tuple(draft.curves),
        tuple(draft.tunings),
    )
