"""A model made ready for graph compilers: scales as fake-quantize operations, norms in a form that compiles well."""

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from gencomp_core.compression.activations import BUFFER, InputQuantizer, quantizer_of, release_
from gencomp_core.compression.layers import from_rows, is_transposed, weight_layers, weight_of
from gencomp_core.compression.quantizers import QuantizedWeight, quantize_weight
from gencomp_core.recipes.formats import IntegerFormat

INT8 = IntegerFormat(8, symmetric=True)


class ChannelNorm(nn.Module):
    """Group norm from sums over each channel, so that no tensor is reshaped into groups.

    The variance of a group is E[x²] − E[x]²: 7 correct digits of x² are enough where |mean| is not far above the
    spread, as in every network that normalises often. Compilers keep channels last and fuse all of it with what
    follows.

    Source: Wu & He 2018 (arXiv:1803.08494), equations 2 and 7, rearranged.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        size = norm.num_channels // norm.num_groups
        self.eps = norm.eps
        same_group = torch.arange(norm.num_channels) // size
        self.register_buffer("mean_of_group", (same_group[:, None] == same_group) / size)
        self.register_buffer("weight", norm.weight.detach().clone() if norm.affine else torch.ones(norm.num_channels))
        self.register_buffer("bias", norm.bias.detach().clone() if norm.affine else torch.zeros(norm.num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, ...) -> (n, c, ...), with one further axis or more."""
        groups, places = cast(Tensor, self.mean_of_group), tuple(range(2, x.ndim))
        mean, square = x.mean(places) @ groups, (x * x).mean(places) @ groups
        scale = (square - mean * mean + self.eps).rsqrt() * cast(Tensor, self.weight)
        shift = cast(Tensor, self.bias) - mean * scale
        over = (..., *(None for _ in places))
        return x * scale[over] + shift[over]


class RoundedWeight(nn.Module):
    """Parametrization of a weight that lies on a grid of 8-bit integers: it stays as it is and shows its grid."""

    def __init__(self, scale: Tensor, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", torch.zeros(len(scale), dtype=torch.int32))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, ...) -> the same numbers."""
        scale, zero_point = cast(Tensor, self.scale), cast(Tensor, self.zero_point)
        rounded: Tensor = torch.fake_quantize_per_channel_affine(
            weight, scale, zero_point, self.axis, INT8.lowest, INT8.highest
        )
        return rounded


class IntegerWeight(nn.Module):
    """Parametrization of a weight that is integers and scales: graph compilers store it like that, and may run it."""

    def __init__(self, own: QuantizedWeight) -> None:
        super().__init__()
        rows, n_columns = own.codes.shape
        self.shape, self.transposed, self.n_columns = own.shape, own.transposed, n_columns
        kind = torch.int8 if own.zero_point is None else torch.uint8
        codes = F.pad(own.codes, (0, -n_columns % own.group_size))
        self.register_buffer("codes", codes.view(rows, -1, own.group_size).to(kind))
        self.register_buffer("scale", own.scale.float().expand(rows, -1)[:, :, None].contiguous())
        zero = None if own.zero_point is None else own.zero_point.expand(rows, -1)[:, :, None].to(kind)
        self.register_buffer("zero_point", zero)

    def forward(self, weight: Tensor) -> Tensor:
        """What the integers stand for, whatever `weight` is."""
        values = cast(Tensor, self.codes).float()
        if self.zero_point is not None:
            values = values - cast(Tensor, self.zero_point).float()
        rows = (values * cast(Tensor, self.scale)).flatten(1)
        if rows.shape[1] > self.n_columns:
            rows = rows[:, : self.n_columns]
        return from_rows(rows, self.shape, transposed=self.transposed)


def rewritten(model: nn.Module, quantized: Mapping[str, QuantizedWeight]) -> tuple[nn.Module, Counter[str]]:
    """A copy of a model, on the CPU, in which graph compilers find integers, and how many layers run in which way.

    Where the inputs of a layer are integers too, symmetric integers with one scale a channel (or tensor) keep their
    scales, also below 8 bits, and others are rounded once more, to 8 bits a channel. Where only weights are integers,
    all keep their scales, in 4 bits where those are enough; convolutions widen them before they run.
    """
    made = copy.deepcopy(model).cpu()
    ways: Counter[str] = Counter()
    for name, layer in weight_layers(made).items():
        rounds_input = _show_input_scales_(layer)
        own = quantized.get(name)
        if own is not None and rounds_input:
            way = _round_for_integer_inputs_(layer, own)
        elif own is not None and is_integers(layer, own):
            parametrize.register_parametrization(layer, "weight", IntegerWeight(own.cpu()), unsafe=True)
            way = _stored_way(layer, own)
        else:
            way = "float"
        ways[way] += 1
    show_norms_(made)
    return made.eval().requires_grad_(False), ways


def show_norms_(model: nn.Module) -> None:
    """Put norms that compile well in the place of group norms."""
    for parent in list(model.modules()):
        for key, child in list(parent.named_children()):
            if type(child) is nn.GroupNorm:
                setattr(parent, key, ChannelNorm(child))


def _round_for_integer_inputs_(layer: nn.Module, own: QuantizedWeight) -> str:
    """Show the grid of a weight whose inputs are integers; in which way it runs."""
    shown, way = integers_for_integer_inputs(layer, own)
    if shown is not own:
        weight_of(layer).copy_(shown.dequantize())
    axis = 1 if is_transposed(layer) else 0
    per_channel = shown.scale.float().flatten().expand(weight_of(layer).shape[axis]).contiguous()
    parametrize.register_parametrization(layer, "weight", RoundedWeight(per_channel, axis), unsafe=True)
    return way


def integers_for_integer_inputs(layer: nn.Module, own: QuantizedWeight) -> tuple[QuantizedWeight, str]:
    """The integers that meet integer inputs, and in which way they run.

    Symmetric ones with one scale a channel (or tensor) are kept, also below 8 bits; others are rounded once more.
    """
    is_symmetric = isinstance(own.format, IntegerFormat) and own.format.symmetric
    if is_symmetric and own.zero_point is None and own.scale.shape[1] == 1:
        return own, "int8" if own.format.bits == 8 else f"int8 (from {own.format.bits} bits)"
    again = quantize_weight(weight_of(layer), INT8, transposed=is_transposed(layer))
    return again, "int8 (weights rounded once more)"


def is_integers(layer: nn.Module, own: QuantizedWeight) -> bool:
    """Whether a weight is what its integers stand for, and nothing was added to it."""
    return isinstance(own.format, IntegerFormat) and torch.equal(own.cpu().dequantize(), weight_of(layer))


def _stored_way(layer: nn.Module, own: QuantizedWeight) -> str:
    """In which way a layer runs of which only the weight is integers."""
    width = 4 if own.format.bits <= 4 else 8
    if not isinstance(layer, nn.Linear | nn.Embedding) or own.codes.shape[1] % own.group_size:
        return f"float (weights stored in {width} bits)"
    return f"int{width} weights" + ("" if own.format.bits == width else f" (from {own.format.bits} bits)")


def _show_input_scales_(layer: nn.Module) -> bool:
    """Put plain operations in place of the hook that rounds a layer's input; whether it has a static range."""
    quantizer = quantizer_of(layer)
    if quantizer is None or quantizer.dynamic:
        return False
    ranges = getattr(layer, BUFFER).tolist()
    release_(layer)
    layer.register_forward_pre_hook(_rounding(quantizer, ranges))
    return True


def _rounding(quantizer: InputQuantizer, ranges: list[list[float]]) -> Callable[..., tuple[Tensor, ...]]:
    lowest, highest = quantizer.format.lowest, quantizer.format.highest
    # OpenVINO 2026.4 rounds inputs of 255 levels wrongly: 2 % off where 256 levels are exact to 0.01 %. The code that
    # this adds stands for values beyond the range that was calibrated.
    lowest -= quantizer.symmetric

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = inputs
        parts = [
            torch.fake_quantize_per_tensor_affine(part, scale, int(zero), lowest, highest)
            for part, (scale, zero) in zip(quantizer.parts(layer, x), ranges, strict=True)
        ]
        axis = -1 if isinstance(layer, nn.Linear) else 1
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=axis), *rest)

    return hook
