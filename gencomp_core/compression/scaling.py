"""Scales per channel that make weights round better and leave the function of the network as it is.

AWQ multiplies the columns of a weight and divides the input; cross-layer equalization moves scales from one
layer to the next through what lies between them.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from gencomp_core.compression.activations import quantizer_of
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.gptq import layer_error
from gencomp_core.compression.layers import is_transposed, layers_for, n_inputs, over_weight, weight_layers, weight_of
from gencomp_core.compression.low_rank import has_branch
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.compression.smoothing import (
    BUFFER,
    SmoothedInputs,
    quantized_like,
)
from gencomp_core.errors import RecipeError
from gencomp_core.models.diffusion import AttentionBlock
from gencomp_core.models.seq2seq import Attention, FeedForward
from gencomp_core.recipes.quantization import CrossLayerEqualization

AWQ_SHARES = torch.linspace(0, 1, 21)
Pair = tuple[str, str]


# AWQ


def awq_scale(rows: Tensor, gram: Tensor, n: int, quantize: Callable[[Tensor], QuantizedWeight]) -> Tensor:
    """Scale of each input channel with the least error of the layer's output: s = rms(x)^α, over √(max s · min s).

    With α = 0 among the choices, the error is never above that without scales.

    Args:
        rows: weights (out, columns) float32.
        gram: second moments of the inputs (columns, columns) float32.
        n: input channels; the columns of each follow one another.
        quantize: rounds rows to nearest.

    Returns:
        (n,) float32, > 0; 1 for a channel without input.

    Source: Lin 2023 (arXiv:2306.00978), equations 4 and 5; the error is taken over calibration inputs.
    """
    rms = gram.diagonal().clamp_min(0).view(n, -1).mean(1).sqrt()
    alive = rms > 0
    best, least = torch.ones_like(rms), torch.inf
    for share in AWQ_SHARES:
        scale = torch.where(alive, rms.clamp_min(torch.finfo(rms.dtype).tiny) ** share, 1.0)
        if bool(alive.any()):
            scale = torch.where(alive, scale / (scale[alive].max() * scale[alive].min()).sqrt(), 1.0)
        columns = scale.repeat_interleave(rows.shape[1] // n)
        difference = quantize(rows * columns).dequantize() / columns - rows
        error = float(layer_error(difference, gram).double().sum())
        if error < least:
            best, least = scale, error
    return best


def scale_inputs_(draft: Draft, scales: Mapping[str, Tensor]) -> None:
    """Divide the inputs of layers by scales, over those that they are divided by already."""
    draft.change_(SmoothedInputs(tuple(scales)))
    for name, scale in scales.items():
        buffer: Tensor = getattr(draft.layers[name], BUFFER)
        buffer.mul_(scale)


# Cross-layer equalization


@runtime_checkable
class HasHomogeneousPairs(Protocol):
    """A network that names layers which follow one another through positively homogeneous operations alone."""

    def homogeneous_pairs(self) -> list[Pair]:
        """Names of the first and of the second layer; the outputs of the first reach nothing else."""


_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout)


def homogeneous_pairs(model: nn.Module) -> list[Pair]:
    """Pairs of layers between which a scale per channel can move: f(s x) = s f(x) for all that lies between.

    These are: the two layers of a feed-forward with ReLU; values and projection of an attention, which sums
    values over positions, channel by channel; layers in an `nn.Sequential` with nothing, ReLU, LeakyReLU or
    dropout between; and what a network declares. Normalisation and other activations (SiLU, GELU, sigmoid)
    are in no pair. A layer with groups, or that shares its weight, is in none either.
    """
    found: list[Pair] = []
    for prefix, module in model.named_modules():
        if isinstance(module, HasHomogeneousPairs):
            found += [(_joined(prefix, first), _joined(prefix, second)) for first, second in module.homogeneous_pairs()]
        elif isinstance(module, FeedForward):
            found.append((_joined(prefix, "inner"), _joined(prefix, "outer")))
        elif isinstance(module, Attention | AttentionBlock):
            found.append((_joined(prefix, "v"), _joined(prefix, "proj")))
        elif type(module) is nn.Sequential:
            found += [(_joined(prefix, first), _joined(prefix, second)) for first, second in _in_sequence(module)]
    layers = weight_layers(model)
    users = [id(own) for module in model.modules() for own in module._parameters.values() if own is not None]

    def fits(name: str) -> bool:
        layer = layers.get(name)
        if layer is None or isinstance(layer, nn.Embedding) or getattr(layer, "groups", 1) != 1:
            return False
        return users.count(id(layer.weight)) == 1

    return [pair for pair in dict.fromkeys(found) if all(map(fits, pair)) and _joins(layers, pair)]


def _in_sequence(sequence: nn.Sequential) -> Iterator[Pair]:
    before: str | None = None
    for name, module in sequence.named_children():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            if before is not None:
                yield before, name
            before = name
        elif not isinstance(module, _HOMOGENEOUS):
            before = None


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _joins(layers: Mapping[str, nn.Module], pair: Pair) -> bool:
    first, second = (layers[name] for name in pair)
    return _n_outputs(first) == n_inputs(second)


def _n_outputs(layer: nn.Module) -> int:
    return cast(int, layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


@torch.no_grad()
def equalize_(draft: Draft, stage: CrossLayerEqualization) -> None:
    """Give the channels between two layers equal ranges in both; the function stays the same.

    Raises:
        RecipeError: no pair, or one whose inputs or outputs another stage has worked on.
    """
    chosen = layers_for(stage, draft.layers, owner=draft.owner)
    if not chosen:
        return
    pairs = homogeneous_pairs(draft.model)
    if not pairs:
        raise RecipeError(
            f"cross-layer-equalization needs layers with ReLU or nothing between them, and {draft.owner} has none: "
            "norms or other activations lie between all of its layers. Leave the stage out."
        )
    pairs = [pair for pair in pairs if all(name in chosen for name in pair)]
    for first, second in pairs:
        if quantizer_of(draft.layers[second]) or has_branch(draft.layers[first]) or has_branch(draft.layers[second]):
            raise RecipeError(
                f"cross-layer-equalization must come before activation-quantization and low-rank-correction, got "
                f"{first} and {second} after one of them. Move this stage up."
            )
    reference = copy.deepcopy(draft.reference)
    for pair, scale in equalization_scales(draft.layers, pairs, rounds=stage.rounds).items():
        equalize_pair_(draft.model, pair, scale)
        if _same_shapes(draft.model, reference, pair):
            equalize_pair_(reference, pair, scale)
    draft.reference = reference
    for name in {name for pair in pairs for name in pair} & draft.quantized.keys():
        weight = weight_of(draft.layers[name]).clone()
        draft.quantize_(name, quantized_like(draft.quantized[name], weight), of=weight)


def equalization_scales(layers: Mapping[str, nn.Module], pairs: list[Pair], *, rounds: int) -> dict[Pair, Tensor]:
    """Scales that the outputs of each first layer are divided by: {pair: (channels,) float32, > 0}.

    s = √(r1 / r2) makes the largest weights of channel i equal, r1 / s = r2 · s, with r1 those that make it and
    r2 those that read it. In a chain of layers this is repeated until all pairs agree.

    Source: Nagel 2019 (arXiv:1906.04721), equation 11, and section 4.1.2.
    """
    made = {name: weight_of(layers[name]).abs() for pair in pairs for name in pair}
    scales = {pair: torch.ones(_n_outputs(layers[pair[0]]), device=made[pair[0]].device) for pair in pairs}
    for _ in range(rounds):
        furthest = 0.0
        for pair in pairs:
            first, second = (layers[name] for name in pair)
            ahead = made[pair[0]].movedim(_output_dim(first), 0).flatten(1).amax(1)
            behind = made[pair[1]].movedim(_input_dim(second), 0).flatten(1).amax(1)
            both = (ahead > 0) & (behind > 0)
            step = torch.where(both, ahead / behind.where(both, torch.ones_like(behind)), 1.0).sqrt()
            made[pair[0]] = made[pair[0]] / _over_outputs(first, step)
            made[pair[1]] = made[pair[1]] * over_weight(second, step)
            scales[pair] = scales[pair] * step
            furthest = max(furthest, float((step - 1).abs().max()))
        if furthest < 1e-3:
            break
    return scales


def equalize_pair_(model: nn.Module, pair: Pair, scale: Tensor) -> None:
    """Divide the outputs of the first layer by scales, and multiply the columns of the second by them."""
    first, second = (model.get_submodule(name) for name in pair)
    weight_of(first).div_(_over_outputs(first, scale))
    if first.bias is not None:
        cast(Tensor, first.bias).detach().div_(scale)
    weight_of(second).mul_(over_weight(second, scale))


def _same_shapes(model: nn.Module, reference: nn.Module, pair: Pair) -> bool:
    known = dict(reference.named_modules())
    return all(
        name in known and weight_of(known[name]).shape == weight_of(model.get_submodule(name)).shape for name in pair
    )


def _output_dim(layer: nn.Module) -> int:
    return 1 if is_transposed(layer) else 0


def _input_dim(layer: nn.Module) -> int:
    return 0 if is_transposed(layer) else 1


def _over_outputs(layer: nn.Module, per_channel: Tensor) -> Tensor:
    """(channels,) -> broadcastable to the layer's weight along its outputs."""
    shape = [1] * weight_of(layer).ndim
    shape[_output_dim(layer)] = -1
    return per_channel.view(shape)
