"""Layers that compute with integers: exactly what fake quantization stands for, without rounding what comes out.

A convolution is one product: the 8-bit inputs that each output sees are laid side by side, channels last. The engines'
own integer convolutions either round their output to 8 bits or run no faster than float32 (`docs/decisions/`
`0018-onnxruntime.md`).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.compression.activations import BUFFER, quantizer_of
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.runtimes.integer_operations import integer_product, quantize, side_by_side

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
SHOWN = ("in_features", "out_features", "in_channels", "out_channels", "kernel_size")
"""What networks read of their layers."""
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class InputRange:
    """How one part of a layer's input becomes codes of 8 bits.

    Attributes:
        first, last: channels of this part, `last` excluded.
        scale, zero_point: of the codes 0..255.
        lowest, highest: codes that the recipe allows.
    """

    first: int
    last: int
    scale: float
    zero_point: int
    lowest: int
    highest: int

    def codes(self, x: Tensor) -> Tensor:
        """float32 -> uint8 of the same shape."""
        codes: Tensor = quantize(x, self.scale, self.zero_point)
        if (self.lowest, self.highest) == (0, 255):
            return codes
        return codes.clamp(self.lowest, self.highest)


def has_integer_form(layer: nn.Module) -> bool:
    """Whether the layer has an integer form here: no groups, zeros at the borders."""
    if isinstance(layer, nn.Linear):
        return True
    if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED)):
        simple = layer.groups == 1 and layer.padding_mode == "zeros"
        return simple and (not isinstance(layer, _TRANSPOSED) or set(layer.dilation) == {1})
    return False


def input_ranges(layer: nn.Module, n_channels: int) -> list[InputRange]:
    """Ranges of a layer's input, which has a static quantizer.

    Symmetric codes are moved up by 128. Those of 8 bits get −128 beside −127, which stands for values beyond the
    calibrated range.
    """
    quantizer = quantizer_of(layer)
    assert quantizer is not None
    lowest, highest = quantizer.format.lowest, quantizer.format.highest
    up = 128 if quantizer.symmetric else 0
    lowest -= quantizer.symmetric and quantizer.bits == 8
    edges = [0, n_channels] if quantizer.seam is None else [0, quantizer.seam, n_channels]
    return [
        InputRange(first, last, scale, int(zero) + up, lowest + up, highest + up)
        for (first, last), (scale, zero) in zip(itertools.pairwise(edges), getattr(layer, BUFFER).tolist(), strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Integers:
    """What a layer computes with.

    Attributes:
        ranges: of the input's parts.
        matrices: (k, out) int8 for each part.
        scales: (out,) float32, steps of the weight codes.
        bias: (out,) float32, or None.
    """

    ranges: Sequence[InputRange]
    matrices: Sequence[Tensor]
    scales: Tensor
    bias: Tensor | None


class IntegerLayer(nn.Module):
    """What is common to layers over codes."""

    def __init__(self, integers: Integers) -> None:
        super().__init__()
        self.ranges = integers.ranges
        self.register_buffer("bias", None if integers.bias is None else integers.bias.detach().clone())
        self.register_buffer("scales", integers.scales)
        for number, matrix in enumerate(integers.matrices):
            self.register_buffer(f"codes{number}", matrix.contiguous())

    def product(self, parts: Sequence[Tensor]) -> Tensor:
        """Sum of the products of the parts, with the bias: (..., k) uint8 each -> (..., out) float32."""
        total, bias = None, cast(Tensor | None, self.bias)
        for number, (part, own) in enumerate(zip(parts, self.ranges, strict=True)):
            codes, scales = getattr(self, f"codes{number}"), cast(Tensor, self.scales)
            product = integer_product(part, own.scale, own.zero_point, codes, scales, None if number else bias)
            total = product if total is None else total + product
        return cast(Tensor, total)


class IntegerLinear(IntegerLayer):
    """A linear layer over codes."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out) float32."""
        return self.product([own.codes(x[..., own.first : own.last]) for own in self.ranges])

    @classmethod
    def of(cls, layer: nn.Linear, weight: QuantizedWeight) -> "IntegerLinear":
        """The layer with these integers."""
        ranges = input_ranges(layer, layer.in_features)
        codes = weight.codes.to(torch.int8)
        matrices = [codes[:, own.first : own.last].T for own in ranges]
        return cls(Integers(ranges, matrices, channel_scales(weight), layer.bias))


class IntegerConvolution(IntegerLayer):
    """A convolution over codes, in any number of dimensions.

    Args:
        kernel, stride, dilation: of each dimension.
        padding: before and after each dimension, alternating.
    """

    def __init__(
        self,
        integers: Integers,
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        padding: Sequence[int],
    ) -> None:
        super().__init__(integers)
        self.kernel, self.stride, self.dilation, self.padding = (
            list(sizes) for sizes in (kernel, stride, dilation, padding)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, ...) -> (n, out, ...) float32."""
        return self.over_channels_last(x).movedim(-1, 1)

    def over_channels_last(self, x: Tensor) -> Tensor:
        """(n, in, ...) -> (n, ..., out) float32."""
        return self.product([self._seen(x, own) for own in self.ranges])

    def _seen(self, x: Tensor, own: InputRange) -> Tensor:
        """Codes that each output sees: (n, in, ...) -> (n, ..., positions of the kernel · channels) uint8."""
        codes = own.codes(x[:, own.first : own.last]).movedim(1, -1)
        if all(size == 1 for size in (*self.kernel, *self.stride)) and not any(self.padding):
            return codes
        seen: Tensor = side_by_side(codes, self.kernel, self.stride, self.dilation, self.padding, own.zero_point)
        return seen

    @classmethod
    def of(cls, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, weight: QuantizedWeight) -> "IntegerConvolution":
        """The layer with these integers."""
        ranges = input_ranges(layer, layer.in_channels)
        codes = weight.codes.to(torch.int8).reshape(weight.shape)  # (out, in, ...)
        matrices = [_as_matrix(codes[:, own.first : own.last]) for own in ranges]
        around = layer._reversed_padding_repeated_twice
        padding = [size for i in range(len(around) - 2, -1, -2) for size in around[i : i + 2]]
        integers = Integers(ranges, matrices, channel_scales(weight), layer.bias)
        return cls(integers, kernel=layer.kernel_size, stride=layer.stride, dilation=layer.dilation, padding=padding)


class IntegerTransposedConvolution(nn.Module):
    """A transposed convolution over codes: a plain one for each place within a stride, woven together.

    Output o = q · stride + r sums input q − m times weight r + m · stride, so that all places r are the channels of one
    convolution. Where the kernel is no multiple of the stride, some of its weights are zero.

    Source: Shi 2016 (arXiv:1609.07009), the equivalence of both.
    """

    def __init__(
        self, plain: IntegerConvolution, *, out_channels: int, stride: Sequence[int], crop: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.plain, self.out_channels, self.stride, self.crop = plain, out_channels, stride, crop

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, ...) -> (n, out, ...) float32."""
        places = self.plain.over_channels_last(x)
        n, *sizes = places.shape[:-1]
        d = len(sizes)
        woven = places.reshape(n, *sizes, self.out_channels, *self.stride)
        order = [axis for i in range(d) for axis in (1 + i, 2 + d + i)]
        woven = woven.permute(0, 1 + d, *order)
        woven = woven.reshape(
            n, self.out_channels, *(size * step for size, step in zip(sizes, self.stride, strict=True))
        )
        for i, (first, beyond) in enumerate(self.crop):
            woven = woven.narrow(2 + i, first, sizes[i] * self.stride[i] - first - beyond)
        return woven

    @classmethod
    def of(
        cls, layer: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d, weight: QuantizedWeight
    ) -> "IntegerTransposedConvolution":
        """The layer with these integers."""
        d, stride = len(layer.kernel_size), layer.stride
        reach = [-(-kernel // step) for kernel, step in zip(layer.kernel_size, stride, strict=True)]
        crop, padding = list[tuple[int, int]](), list[int]()
        for i in range(d):
            before = int(cast(int, layer.padding[i]))
            wanted = layer.kernel_size[i] - before + layer.output_padding[i]  # beyond (size − 1) · stride
            after = max(0, -(-wanted // stride[i]) - 1)
            padding += [reach[i] - 1, after]
            crop.append((before, (after + 1) * stride[i] - wanted))
        codes = _codes_by_place(weight, layer.kernel_size, stride, reach)
        ranges = input_ranges(layer, layer.in_channels)
        matrices = [_as_matrix(codes[:, own.first : own.last]) for own in ranges]
        n_places = codes.shape[0] // layer.out_channels
        bias = None if layer.bias is None else layer.bias.repeat_interleave(n_places)
        integers = Integers(ranges, matrices, channel_scales(weight).repeat_interleave(n_places), bias)
        plain = IntegerConvolution(integers, kernel=reach, stride=[1] * d, dilation=[1] * d, padding=padding)
        return cls(plain, out_channels=layer.out_channels, stride=stride, crop=crop)


def _codes_by_place(
    weight: QuantizedWeight, kernel: Sequence[int], stride: Sequence[int], reach: Sequence[int]
) -> Tensor:
    """Weight codes of the equivalent convolution: (out · places, in, *reach) int8."""
    d = len(kernel)
    n_in, n_out = weight.shape[:2]
    codes = weight.codes.to(torch.int8).reshape(n_out, n_in, *kernel)
    missing = [size for i in reversed(range(d)) for size in (0, reach[i] * stride[i] - kernel[i])]
    codes = F.pad(codes, missing)
    codes = codes.reshape(n_out, n_in, *(size for i in range(d) for size in (reach[i], stride[i])))
    places, taps = [3 + 2 * i for i in range(d)], [2 + 2 * i for i in range(d)]
    codes = codes.permute(0, *places, 1, *taps).flip(tuple(range(2 + d, 2 + 2 * d)))
    return codes.reshape(-1, n_in, *reach)


def _as_matrix(codes: Tensor) -> Tensor:
    """Weight codes in the order of `side_by_side`: (out, in, *kernel) -> (k · in, out)."""
    return codes.permute(0, *range(codes.ndim - 1, 0, -1)).flatten(1).T


def channel_scales(weight: QuantizedWeight) -> Tensor:
    """One scale for each row of codes: (rows,) float32."""
    return weight.scale.float().flatten().expand(len(weight.codes)).contiguous()


def integer_layer(layer: nn.Module, weight: QuantizedWeight) -> nn.Module:
    """The integer form of a layer with a static input quantizer and one scale a channel (or tensor).

    Args:
        layer: one that `has_integer_form`.
        weight: its weight, symmetric integers.
    """
    made: nn.Module
    if isinstance(layer, nn.Linear):
        made = IntegerLinear.of(layer, weight)
    elif isinstance(layer, _TRANSPOSED):
        made = IntegerTransposedConvolution.of(layer, weight)
    else:
        assert isinstance(layer, _CONVOLUTIONS)
        made = IntegerConvolution.of(layer, weight)
    for name in SHOWN:
        if hasattr(layer, name):
            setattr(made, name, getattr(layer, name))
    return made
