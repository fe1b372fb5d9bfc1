"""Pruning stages applied to a draft."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from gencomp_core.compression import importance, masks
from gencomp_core.compression.allocation import erk_counts
from gencomp_core.compression.calibration import loss_gradients, rows_of
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import from_rows, is_transposed, layers_for, to_rows, weight_of
from gencomp_core.compression.moments import input_moments, input_sizes
from gencomp_core.compression.sparsegpt import prune_rows
from gencomp_core.recipes.pruning import (
    GradientPruning,
    MagnitudePruning,
    PatternStage,
    SparseGPTPruning,
    WandaPruning,
)
from gencomp_core.workloads.calibration import CalibrationBatch, loss_batches

Moment = Callable[[Tensor], Tensor]
CRITERIA: dict[str, tuple[Moment, Callable[[Tensor, Tensor], Tensor]]] = {
    "taylor": (torch.abs, importance.taylor),
    "fisher": (torch.square, importance.fisher),
    "snip": (lambda gradient: gradient, importance.snip),
}
"""What is averaged of the gradients, and the score that it gives with the weights."""


class Scores(Mapping[str, Tensor]):
    """Scores of weights by layer name, computed whenever they are asked for: a large model's would fill the memory."""

    def __init__(self, weights: Mapping[str, Tensor], score: Callable[[Tensor], Tensor]) -> None:
        self.weights, self.score = weights, score

    def __getitem__(self, name: str) -> Tensor:
        return self.score(self.weights[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def prune_by_magnitude_(draft: Draft, stage: MagnitudePruning) -> None:
    """Zero the smallest weights of each layer, or of all layers together."""
    layers = draft.layers
    chosen = cast(dict[str, MagnitudePruning], layers_for(stage, layers, owner=draft.owner))
    weights = {name: weight_of(layers[name]) for name in chosen}
    if not weights:
        return
    if stage.scope == "erk":
        counts = erk_counts({name: weight.shape for name, weight in weights.items()}, 1 - stage.sparsity)
        keep = {n: masks.drop_smallest(importance.magnitude(w), w.numel() - counts[n]) for n, w in weights.items()}
    elif stage.scope == "layer":
        keep = {name: _keep(layers[name], importance.magnitude(weights[name]), own) for name, own in chosen.items()}
    else:
        score = importance.lamp if stage.scope == "lamp" else importance.magnitude
        keep = masks.keep_largest_overall(Scores(weights, score), stage.sparsity)
    for name, mask in keep.items():
        draft.mask_(name, mask)


def prune_by_wanda_(draft: Draft, stage: WandaPruning) -> None:
    """Zero the weights that are smallest for their inputs; by magnitude where a layer has no input matrix."""
    layers = draft.layers
    chosen = cast(dict[str, WandaPruning], layers_for(stage, layers, owner=draft.owner))
    if not chosen:
        return
    norms = input_sizes(draft, chosen, stage.calibration_samples, why="prune")
    for name, own in chosen.items():
        if name in norms:
            keep = _keep_wanda(layers[name], norms[name], own, group=own.group)
        else:
            keep = _keep(layers[name], importance.magnitude(weight_of(layers[name])), own)
        draft.mask_(name, keep)


@torch.no_grad()
def prune_by_sparsegpt_(draft: Draft, stage: SparseGPTPruning) -> None:
    """Zero weights and update the others; only mask where there are integers or no input matrix."""
    layers = draft.layers
    chosen = cast(dict[str, SparseGPTPruning], layers_for(stage, layers, owner=draft.owner))
    if not chosen:
        return
    grams = input_moments(draft, chosen, stage.calibration_samples, why="prune")
    for name, own in chosen.items():
        layer = layers[name]
        if name not in grams:
            draft.mask_(name, _keep(layer, importance.magnitude(weight_of(layer)), own))
            continue
        gram = grams.pop(name)
        if name in draft.quantized:
            group = "layer" if isinstance(layer, nn.Embedding) else "row"  # entries differ in how much they are used
            draft.mask_(name, _keep_wanda(layer, gram.diagonal().clamp_min(0).sqrt(), own, group=group))
            continue
        rows = prune_rows(
            rows_of(layer),
            gram,
            sparsity=own.sparsity,
            n_of_m=own.n_of_m,
            block_size=own.block_size,
            damping=own.damping,
        )
        weight = weight_of(layer)
        weight.copy_(from_rows(rows, weight.shape, transposed=is_transposed(layer)))
        draft.mask_(name, weight != 0)


def prune_by_gradient_(draft: Draft, stage: GradientPruning) -> None:
    """Zero the weights whose loss would change the training loss least."""
    layers = draft.layers
    chosen = cast(dict[str, GradientPruning], layers_for(stage, layers, owner=draft.owner))
    if not chosen:
        return
    batches = list(loss_batches(draft.workload, stage.calibration_samples, seed=draft.seed))
    told = informative_batches(draft.model, batches, stage.min_relative_loss)
    draft.calibrated_with_(told)
    moment, score = CRITERIA[stage.criterion]
    means = mean_gradients(draft.model, {name: layers[name] for name in chosen}, told, moment)
    scores = {name: score(weight_of(layers[name]), mean) for name, mean in means.items()}
    if stage.criterion == "snip":
        total = sum(float(own.double().sum()) for own in scores.values()) or 1.0  # no gradient anywhere
        scores = {name: own.double() / total for name, own in scores.items()}
    if stage.scope == "global":
        keep = masks.keep_largest_overall(scores, stage.sparsity)
    else:
        keep = {name: masks.keep_largest(scores[name], own.sparsity) for name, own in chosen.items()}
    for name, mask in keep.items():
        draft.mask_(name, mask)


@torch.no_grad()
def informative_batches(
    model: nn.Module, batches: list[CalibrationBatch], min_relative_loss: float
) -> list[CalibrationBatch]:
    """Batches of the stages whose mean loss is at least a fraction of the largest one's.

    All of them where there is only one stage, or where losses are no errors (some are negative).

    Source: Fang 2023 (arXiv:2305.10924), section 4.2: L_t / L_max against a threshold.
    """
    if len({batch.stage for batch in batches}) < 2:
        return batches
    losses: dict[str, list[float]] = {}
    for batch in batches:
        losses.setdefault(batch.stage, []).append(float(batch.run(model)))
    means = {stage: sum(found) / len(found) for stage, found in losses.items()}
    if min(means.values()) < 0:
        return batches
    least = min_relative_loss * max(means.values())
    return [batch for batch in batches if not means[batch.stage] < least]


def mean_gradients(
    model: nn.Module, layers: dict[str, nn.Module], batches: Iterable[CalibrationBatch], moment: Moment
) -> dict[str, Tensor]:
    """Average of `moment(gradient)` over batches: {layer: the shape of its weight}."""
    means = {name: torch.zeros_like(weight_of(layer)) for name, layer in layers.items()}
    for n_seen, found in enumerate(loss_gradients(model, layers, batches), start=1):
        for name, gradient in found.by_layer.items():
            means[name] += (moment(gradient) - means[name]) / n_seen
    return means


def _keep(layer: nn.Module, scores: Tensor, own: PatternStage) -> Tensor:
    """Mask of a layer from scores in the shape of its weight, which is the shape of the mask."""
    if own.n_of_m is None:
        return masks.keep_largest(scores, own.sparsity)
    transposed = is_transposed(layer)
    keep = masks.keep_n_of_m(to_rows(scores, transposed=transposed), *own.n_of_m)
    return from_rows(keep, scores.shape, transposed=transposed)


def _keep_wanda(layer: nn.Module, norms: Tensor, own: PatternStage, *, group: str = "row") -> Tensor:
    scores = importance.wanda(rows_of(layer), norms)
    if own.n_of_m is not None:
        keep = masks.keep_n_of_m(scores, *own.n_of_m)
    elif group == "row":
        keep = masks.keep_largest_of_rows(scores, own.sparsity)
    else:
        keep = masks.keep_largest(scores, own.sparsity)
    return from_rows(keep, weight_of(layer).shape, transposed=is_transposed(layer))
