"""The stages that train, applied to a draft."""

from collections.abc import Collection, Mapping
from typing import cast

from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import layers_for
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.learned_masks import (
    HardConcretePruning,
    IterativePruning,
    MaskTraining,
    MovementPruning,
    Regrowth,
    RegularizedPruning,
)
from gencomp_core.recipes.recovery import FineTuning, QuantizationAwareTraining, TuningStage
from gencomp_core.recipes.special_tuning import SelfCriticalTuning, StepDistillation
from gencomp_core.recovery.gates import Gate
from gencomp_core.recovery.grids import grid_of
from gencomp_core.recovery.mask_programs import (
    Exchange,
    HardConcrete,
    Iterative,
    Movement,
    Regularized,
    RisingSparsity,
    rounds_of,
)
from gencomp_core.recovery.programs import FreezeRanges
from gencomp_core.recovery.ranges import TrainedRange, static_inputs
from gencomp_core.recovery.reallocation import Reallocated
from gencomp_core.recovery.tuning import Prepare, Steps, tune_
from gencomp_core.recovery.weights import Trainee, trainee_of


def fine_tune_(draft: Draft, stage: FineTuning) -> Steps:
    """Train what the stage names; zeros and integers stay what they are."""
    chosen = _chosen(draft, stage)
    if not chosen:
        return

    def prepare(draft: Draft) -> Trainee:
        return trainee_of(
            draft,
            chosen.__contains__,
            lambda name: grid_of(draft.quantized[name]),
            with_weights=stage.trainable != "norms-and-biases",
            rank=stage.rank,
            seed=draft.seed,
        )

    yield from tune_(draft, stage, prepare)


def train_quantized_(draft: Draft, stage: QuantizationAwareTraining) -> Steps:
    """Train weights under their rounding, with scales and ranges.

    Raises:
        RecipeError: nothing is quantized.
    """
    chosen = _chosen(draft, stage)
    if not chosen:
        return
    inputs = {name: layer for name, layer in static_inputs(draft.model).items() if name in chosen}
    if not inputs and not chosen & draft.quantized.keys():
        raise RecipeError(
            f"{stage.kind} must come after a stage that quantizes weights or activations, got none of {draft.owner} "
            "quantized. Put a weight-quantization before it, or use fine-tune."
        )

    def prepare(draft: Draft) -> Trainee:
        learned = stage.scales == "learned"
        trainee = trainee_of(
            draft, chosen.__contains__, lambda name: grid_of(draft.quantized[name], learn_scale=learned)
        )
        if stage.ranges != "kept":
            for name, layer in inputs.items():
                trainee.ranges[name] = TrainedRange(layer, learned=stage.ranges == "learned")
        return trainee

    program = Reallocated(stage.steps, stage.reallocations) if stage.reallocations else FreezeRanges(stage.steps)
    yield from tune_(draft, stage, prepare, program)


def prune_while_training_(draft: Draft, stage: MaskTraining) -> Steps:
    """Zero weights while the others are trained; on integers the scales are trained too."""
    chosen = _chosen(draft, stage)
    targets = {
        name: cast(MaskTraining, own).sparsity
        for name, own in layers_for(stage, draft.layers, owner=draft.owner).items()
        if draft.layers[name]._parameters.get("weight") is not None
    }
    if targets:
        prepare = _with_scales(chosen)
        if isinstance(stage, HardConcretePruning):
            prepare = _with_gates(prepare, targets)
        yield from tune_(draft, stage, prepare, _mask_program(stage, targets))


def regrow_(draft: Draft, stage: Regrowth) -> Steps:
    """Exchange zeros with weights while these are trained.

    Raises:
        RecipeError: nothing was pruned.
    """
    chosen = _chosen(draft, stage)
    if not chosen:
        return
    if not chosen & draft.pruned:
        raise RecipeError(
            f"{stage.kind} must come after a stage that prunes single weights, got no zeros in {draft.owner}. "
            "Put a magnitude-pruning before it."
        )
    schedule = rounds_of(stage.steps, stage.ramp, stage.rounds)
    yield from tune_(draft, stage, _with_scales(chosen), Exchange(stage.fraction, schedule))


def distil_steps_(draft: Draft, stage: StepDistillation) -> Steps:
    """Train everything for fewer sampler steps."""
    yield from _train_everything(draft, stage)


def tune_for_bleu_(draft: Draft, stage: SelfCriticalTuning) -> Steps:
    """Train everything for the reward."""
    yield from _train_everything(draft, stage)


def _train_everything(draft: Draft, stage: TuningStage) -> Steps:
    chosen = _chosen(draft, stage)
    if chosen:
        yield from tune_(draft, stage, _with_scales(chosen))


def _mask_program(stage: MaskTraining, targets: Mapping[str, float]) -> RisingSparsity:
    overall = stage.scope == "global"
    if isinstance(stage, RegularizedPruning):
        schedule = rounds_of(stage.steps, stage.ramp, 1)
        return Regularized(targets, overall=overall, schedule=schedule, kind=stage.penalty, strength=stage.strength)
    if isinstance(stage, HardConcretePruning):
        schedule = rounds_of(stage.steps, stage.ramp, 1)
        return HardConcrete(targets, overall=overall, schedule=schedule, strength=stage.strength)
    if isinstance(stage, MovementPruning):
        return Movement(targets, overall=overall, schedule=rounds_of(stage.steps, stage.ramp, stage.rounds))
    assert isinstance(stage, IterativePruning)
    schedule = rounds_of(stage.steps, stage.ramp, stage.rounds)
    return Iterative(targets, overall=overall, schedule=schedule, rewind=stage.rewind, min_gain=stage.min_gain)


def _with_scales(chosen: Collection[str]) -> Prepare:
    """Everything is trained, scales of integers too."""

    def prepare(draft: Draft) -> Trainee:
        return trainee_of(draft, chosen.__contains__, lambda name: grid_of(draft.quantized[name], learn_scale=True))

    return prepare


def _with_gates(prepare: Prepare, names: Collection[str]) -> Prepare:
    """The same with a gate in front of each of the named weights."""

    def gated(draft: Draft) -> Trainee:
        trainee = prepare(draft)
        for name in names:
            trainee.weights[name].gate = Gate(trainee.weights[name].base)
        return trainee

    return gated


def _chosen(draft: Draft, stage: TuningStage) -> set[str]:
    """Modules with parameters or ranges of their own that the stage does not skip, by name."""
    own = {name: module for name, module in draft.model.named_modules() if name in draft.layers or module._parameters}
    return set(layers_for(stage, {**draft.layers, **own}, owner=draft.owner))
