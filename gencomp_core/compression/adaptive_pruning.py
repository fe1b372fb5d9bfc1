"""Pruning with a threshold per layer, moved as far as the change of the output allows."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import layers_for, weight_of
from gencomp_core.compression.masks import drop_smallest, drop_smallest_overall
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.pruning import AdaptivePruning
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches

STEPS = 127
"""Positions of the thresholds that bisection chooses from, in 7 looks."""


@torch.no_grad()
def prune_adaptively_(draft: Draft, stage: AdaptivePruning) -> None:
    """Zero as many weights as the allowed change of the output permits.

    Raises:
        RecipeError: earlier stages changed the output by more already.
    """
    layers = draft.layers
    chosen = cast(dict[str, AdaptivePruning], layers_for(stage, layers, owner=draft.owner))
    if not chosen:
        return
    batches = list(forward_batches(draft.workload, stage.calibration_samples, seed=draft.seed))
    draft.calibrated_with_(batches)
    dense = outputs(draft.workload.model, batches)
    before = outputs(draft.model, batches)
    start = relative_change(before, dense)
    if not start <= stage.max_output_change:
        raise RecipeError(
            f"max_output_change must be at least what earlier stages changed, {start:.3g}, got "
            f"{stage.max_output_change:g}. Raise it, or compress less before."
        )
    weights = {name: weight_of(layers[name]) for name in chosen}
    limits = {name: int(own.max_sparsity * weights[name].numel()) for name, own in chosen.items()}
    scores = {}
    for name, weight in weights.items():
        half = _half_way(weight, limits[name])
        with_half = _outputs_with(draft.model, {name: half}, layers, batches)
        scores[name] = _scores(weight, half, limits[name], relative_change(with_half, before))

    def masks_at(step: int) -> dict[str, Tensor]:
        return drop_smallest_overall(scores, round(step / STEPS * sum(limits.values())))

    def allowed(step: int) -> bool:
        found = _outputs_with(draft.model, masks_at(step), layers, batches)
        return relative_change(found, dense) <= stage.max_output_change

    for name, mask in masks_at(furthest(allowed, STEPS)).items():
        draft.mask_(name, mask)


def outputs(model: nn.Module, batches: list[CalibrationBatch]) -> list[Tensor]:
    """What a model gives for each batch, as float32."""
    return [batch.run(model).float() for batch in batches]


def relative_change(found: list[Tensor], reference: list[Tensor]) -> float:
    """Squared difference over all batches, relative to the variance of the reference (each batch about its mean)."""
    difference = sum(float((one - two).double().square().sum()) for one, two in zip(found, reference, strict=True))
    spread = sum(float((own - own.mean()).double().square().sum()) for own in reference)
    return difference / spread if spread > 0 else float(difference > 0)


def furthest(allowed: Callable[[int], bool], n: int) -> int:
    """Bisection for the last step in 0..n that is allowed, where 0 is.

    Looks at no step that depends on the rule, only on its answers: a rule that allows more never
    gives an earlier step, even where the answers are not monotone.
    """
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low


def _half_way(weight: Tensor, limit: int) -> Tensor:
    """Mask with half of the non-zeros gone that may go."""
    n_zero = weight.numel() - int(torch.count_nonzero(weight))
    return drop_smallest(weight.abs(), (n_zero + max(n_zero, limit)) // 2)


def _scores(weight: Tensor, half: Tensor, limit: int, change: float) -> Tensor:
    """Expected change of the output by each weight: what half of the layer did, shared out by w².

    What must stay is out of reach. A layer with nothing to take has zeros and weights that stay.
    """
    taken = float(weight[~half].double().square().sum())
    expected = weight.double().square() * (change / taken if taken > 0 else 1.0)
    return expected.masked_fill(drop_smallest(weight.abs(), limit), torch.inf)


def _outputs_with(
    model: nn.Module, masks: dict[str, Tensor], layers: dict[str, nn.Module], batches: list[CalibrationBatch]
) -> list[Tensor]:
    """Outputs under masks; the weights are put back."""
    kept = {name: weight_of(layers[name]).clone() for name in masks}
    for name, mask in masks.items():
        weight_of(layers[name]).masked_fill_(~mask, 0.0)
    found = outputs(model, batches)
    for name, weight in kept.items():
        weight_of(layers[name]).copy_(weight)
    return found
