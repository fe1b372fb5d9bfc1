"""What a recipe with training recovers from, how, and how far it has come on the way. No torch."""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from gencomp_core.analysis.recovered import gap_recovered
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.learned_masks import MaskTraining
from gencomp_core.recipes.pruning import MagnitudePruning
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.recovery import FineTuning, QuantizationAwareTraining, TuningStage
from gencomp_core.records import Estimate, TrainingRecord
from gencomp_core.records.recovery import Damage, RecoveryPoint, RecoveryRun

RUNGS = {
    "norms-and-biases": "norms and biases",
    "low-rank": "low-rank additions",
    "all": "everything",
}
"""Of fine-tuning, cheapest first."""
QAT = "quantization-aware training"
RESTRUCTURING = {"channel-pruning", "head-pruning", "block-removal", "low-rank-factorization"}
QUANTIZING = {"weight-quantization", "activation-quantization", "float-format"}
PRUNING = {"magnitude-pruning", "wanda-pruning", "sparsegpt-pruning", "gradient-pruning", "adaptive-pruning"}


def trains(recipe: Recipe) -> bool:
    """Whether a recipe has a stage that trains, which takes minutes."""
    return any(isinstance(stage, TuningStage) for stage in recipe.stages)


def check_trains(recipe: Recipe) -> None:
    """Refuse a recipe that trains nothing.

    Raises:
        RecipeError: it has no such stage.
    """
    if not trains(recipe):
        raise RecipeError(
            f"A recovery study needs a stage that trains, got {recipe.title()}. Add a fine-tune or a "
            "quantization-aware-training, or measure it with 'gencomp evaluate'."
        )


def damage_of(recipe: Recipe) -> Recipe:
    """The recipe that compresses as much and trains nothing: masks that are learned become those of magnitude."""
    stages = []
    for stage in recipe.stages:
        if isinstance(stage, MaskTraining):
            fields = {"sparsity": stage.sparsity, "scope": stage.scope}
            layers = {name: _mask_fields(own) for name, own in stage.layers.items()}
            stages.append(MagnitudePruning.model_validate({**fields, "layers": layers}).model_dump(mode="json"))
        elif not isinstance(stage, TuningStage):
            stages.append(stage.model_dump(mode="json"))
    return Recipe.from_dict({"stages": stages})


def _mask_fields(override: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in override.items() if name in ("sparsity", "skip")}


def damaged_by(damage: Recipe) -> Damage:
    """What kind of damage a recipe without training does."""
    kinds = {stage.kind for stage in damage.stages}
    if kinds & RESTRUCTURING:
        return "restructured"
    quantizes = bool(kinds & QUANTIZING)
    if quantizes:
        return "pruned and quantized" if kinds & PRUNING else "quantized"
    return "pruned" if kinds & PRUNING else "none"


def rung_of(recipe: Recipe) -> str:
    """What of the model the recipe trains at last, and how, without amounts: equal rungs can be compared."""
    stages = [stage for stage in recipe.stages if isinstance(stage, TuningStage)]
    last = stages[-1]
    if isinstance(last, FineTuning):
        name = RUNGS[last.trainable]
    else:
        name = QAT if isinstance(last, QuantizationAwareTraining) else last.kind.replace("-", " ")
    if len(stages) > 1:
        name += f" after {len(stages) - 1} more"
    if not last.distillation:
        name += ", no teacher"
    return name if last.match == "outputs" else f"{name}, {last.match} matched"


def points_of(curves: Iterable[Iterable[TrainingRecord]]) -> tuple[RecoveryPoint, ...]:
    """Curves of all training of a recipe, one after the other.

    A point counts from when the last stage trains, and when the sparsity is the one of the end.
    """
    tunings = [list(curve) for curve in curves]
    ends = [
        (0, 0.0),
        *accumulate(((t[-1].step, t[-1].seconds) for t in tunings), lambda a, b: (a[0] + b[0], a[1] + b[1])),
    ]
    points = []
    for number, (tuning, (steps, seconds)) in enumerate(zip(tunings, ends, strict=False)):
        final = tuning[-1].figures.get("sparsity")
        for record in tuning:
            figures = record.figures
            reached = final is None or figures.get("sparsity", 0.0) >= final - 1e-6
            points.append(
                RecoveryPoint(
                    step=steps + record.step, seconds=seconds + record.seconds, held_out=figures["held_out"],
                    sparsity=figures.get("sparsity"), bits=figures.get("bits"),
                    counts=reached and number == len(tunings) - 1,
                )
            )  # fmt: skip
        steps, seconds = steps + tuning[-1].step, seconds + tuning[-1].seconds
    return tuple(points)


def held_out_gap(run: RecoveryRun) -> list[tuple[float, float]]:
    """(seconds, share of the held-out damage that is gone) of the best state so far, where it counts.

    Empty where the damage does not show in the held-out figure.
    """
    lost = run.damaged_held_out - run.dense_held_out
    if lost <= 0:
        return []
    counted = [point for point in run.points if point.counts]
    best = accumulate((point.held_out for point in counted), min)
    return [(own.seconds, (run.damaged_held_out - value) / lost) for own, value in zip(counted, best, strict=True)]


def gap_of(run: RecoveryRun) -> Estimate | None:
    """Share of the lost quality that came back; None where nothing was surely lost."""
    return gap_recovered(run.damaged, run.recovered) if run.damaged else None


def gap_per_minute(run: RecoveryRun) -> Estimate | None:
    """The same for each minute of processor time."""
    gap, minutes = gap_of(run), run.seconds / 60
    if gap is None or not minutes:
        return None
    return Estimate(value=gap.value / minutes, low=gap.low / minutes, high=gap.high / minutes)
