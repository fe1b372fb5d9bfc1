"""SmoothQuant: outlier channels moved from the input of a layer into its weight."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from gencomp_core.compression.activations import channel_axis, quantizer_of, watch_inputs
from gencomp_core.compression.changes import CHANGES
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.folding import Fold, fold_, folds
from gencomp_core.compression.layers import (
    largest_by_input,
    layers_for,
    n_inputs,
    over_weight,
    shared_layers,
    weight_of,
)
from gencomp_core.compression.quantizers import QuantizedWeight, quantize_weight
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.activations import SmoothQuant
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches

BUFFER = "input_smoothing"
"""(channels,) float32 on a layer: its input is divided by it."""
N_TRIED = 2
"""Samples on which it is tried whether scales can move into norms."""


class InputSmoother:
    """Forward pre-hook that divides each input channel by its scale, which is in the layer's buffer."""

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the layer gets in place of its inputs."""
        x, *rest = inputs
        return (x / along_channels(layer, getattr(layer, BUFFER)), *rest)


@dataclass(frozen=True)
class SmoothedInputs:
    """The change: layers that divide their input by a buffer of scales."""

    kind: ClassVar[str] = "smoothed-inputs"
    layers: tuple[str, ...]

    def apply_(self, network: nn.Module) -> None:
        """Add hooks and buffers of ones, where there are none; KeyError where a layer is missing."""
        found = dict(network.named_modules())
        for name in self.layers:
            layer = found[name]
            if BUFFER not in layer._buffers:
                layer.register_buffer(BUFFER, weight_of(layer).new_ones(n_inputs(layer)))
                layer.register_forward_pre_hook(InputSmoother())

    def fields(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"layers": list(self.layers)}

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `fields`; KeyError, TypeError or ValueError where they are damaged."""
        return cls(tuple(fields["layers"]))


CHANGES.add(SmoothedInputs.kind)(SmoothedInputs)


def along_channels(layer: nn.Module, per_channel: Tensor) -> Tensor:
    """(channels,) -> broadcastable to the layer's input."""
    return per_channel.view(-1, *[1] * (-1 - channel_axis(layer)))


def smoothing_scale(largest_input: Tensor, largest_weight: Tensor, *, alpha: float) -> Tensor:
    """Scale of each channel: s = max|x|^α / max|w|^(1 - α); 1 where a channel carries nothing.

    Args:
        largest_input, largest_weight: (channels,) float32, >= 0.

    Source: Xiao 2022 (arXiv:2211.10438), equation 4.
    """
    smallest = torch.finfo(torch.float32).tiny
    scale = largest_input.clamp_min(smallest) ** alpha / largest_weight.clamp_min(smallest) ** (1 - alpha)
    return torch.where((largest_input > 0) & (largest_weight > 0), scale, 1.0)


@torch.no_grad()
def smooth_(draft: Draft, stage: SmoothQuant) -> None:
    """Divide inputs and multiply weights by the scales of their channels; the function stays the same."""
    chosen = _chosen(draft, stage)
    if not chosen:
        return
    batches = list(forward_batches(draft.workload, stage.calibration_samples, seed=draft.seed))
    largest = largest_inputs(draft.model, chosen, batches)
    draft.calibrated_with_(batches)
    folded = _fold_(draft, {name: chosen[name] for name in largest}, largest)
    alone = tuple(name for name in largest if name not in folded)
    if alone:
        draft.change_(SmoothedInputs(alone))
    for name in alone:
        layer = draft.layers[name]
        scale = smoothing_scale(largest[name], largest_by_input(layer), alpha=chosen[name].alpha)
        smoother: Tensor = getattr(layer, BUFFER)
        smoother.mul_(scale)
        weight_of(layer).mul_(over_weight(layer, scale))
    for name in largest.keys() & draft.quantized.keys():
        draft.quantize_(name, quantized_like(draft.quantized[name], weight_of(draft.layers[name])))


def _fold_(draft: Draft, chosen: Mapping[str, SmoothQuant], largest: Mapping[str, Tensor]) -> set[str]:
    """Move the scales of layers that read a norm into it, the same scale for all of them; the names of these layers.

    The reference is changed alike, so that its layers still see the inputs of the draft's.
    """
    run = next(forward_batches(draft.workload, N_TRIED, seed=draft.seed)).run
    reference = copy.deepcopy(draft.reference)
    known = {fold.norm: fold for fold in folds(reference, run)}
    folded: set[str] = set()
    for fold in folds(draft.model, run):
        if fold.norm not in known or not _share_a_scale(fold, chosen):
            continue
        loudest = torch.stack([largest[name] for name in fold.readers]).amax(0)
        strongest = torch.stack([largest_by_input(draft.layers[name]) for name in fold.readers]).amax(0)
        scale = smoothing_scale(loudest, strongest, alpha=chosen[fold.readers[0]].alpha)
        if len(scale) != len(cast(Tensor, reference.get_submodule(fold.norm).weight)):
            continue  # channels were removed
        fold_(draft.model, fold, scale)
        fold_(reference, known[fold.norm], scale)
        folded |= set(fold.readers)
    if folded:
        draft.reference = reference
    return folded


def _share_a_scale(fold: Fold, chosen: Mapping[str, SmoothQuant]) -> bool:
    """Whether all readers are smoothed by the same α."""
    alphas = {chosen[name].alpha if name in chosen else None for name in fold.readers}
    return len(alphas) == 1 and None not in alphas


def _chosen(draft: Draft, stage: SmoothQuant) -> dict[str, SmoothQuant]:
    """The stage as it holds for each layer that can be smoothed.

    Raises:
        RecipeError: a layer whose input is quantized already.
    """
    shared = shared_layers(draft.model)
    chosen = {}
    for name, own in layers_for(stage, draft.layers, owner=draft.owner).items():
        layer = draft.layers[name]
        if isinstance(layer, nn.Embedding) or name in shared:
            continue
        if quantizer_of(layer) is not None:
            raise RecipeError(
                f"smooth-quant must come before activation-quantization, got {name} with a quantized input. "
                "Swap the two stages."
            )
        chosen[name] = cast(SmoothQuant, own)
    return chosen


def largest_inputs(model: nn.Module, names: Iterable[str], batches: Iterable[CalibrationBatch]) -> dict[str, Tensor]:
    """Largest |x| of each input channel of the layers that were met, in the order given: {layer: (channels,)}.

    Raises:
        RecipeError: an input that is not finite.
    """
    layers, largest = dict(model.named_modules()), dict[str, Tensor]()

    def see(name: str, x: Tensor, place: str) -> None:
        by_channel = x.abs().movedim(channel_axis(layers[name]), -1).flatten(0, -2).amax(0)
        if not by_channel.isfinite().all():
            raise RecipeError(f"Inputs of {name} at {place} must be finite to be smoothed. Compress less before.")
        largest[name] = torch.maximum(by_channel, largest.get(name, by_channel))

    names = list(names)
    watch_inputs(model, names, batches, see)
    return {name: largest[name] for name in names if name in largest}


def quantized_like(known: QuantizedWeight, weight: Tensor) -> QuantizedWeight:
    """A weight as integers of the same format and granularity."""
    rows, columns = known.codes.shape
    per_tensor = known.scale.numel() == 1 and rows > 1
    granularity = "tensor" if per_tensor else "group" if known.group_size < columns else "channel"
    return quantize_weight(
        weight, known.format, granularity=granularity, group_size=known.group_size, transposed=known.transposed
    )
