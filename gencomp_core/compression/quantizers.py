"""Weight quantization: scales, rounding to nearest, and the codes that are stored."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from gencomp_core.compression.float_formats import NF4_BLOCK, decode, encode, largest_value
from gencomp_core.compression.layers import from_rows, to_rows
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.formats import FloatFormat, IntegerFormat, NumberFormat

SMALLEST_SCALE = 2.0**-14  # smallest normal float16; a channel of zeros gets it
LARGEST_SCALE = torch.finfo(torch.float16).max
MSE_SHRINKS = torch.linspace(1.0, 0.3, 36)
TERNARY_THRESHOLD = 0.7  # of the mean |w|, below which a weight becomes 0


@dataclass(frozen=True)
class QuantizedWeight:
    """One weight as codes with their scales; `dequantize` is what runs.

    Attributes:
        codes: (rows, columns) int16: integers in the format's range, or codes of floats.
        scale: (rows, n_groups) float16, > 0, or (1, 1) for one scale per tensor, or for a format without.
        zero_point: like `scale`, int16: the code of exactly 0; None unless affine.
        format: what the codes stand for.
        group_size: columns that share a scale; the last group of a row may be shorter.
        shape: of the float weight.
        transposed: whether rows are the weight's dimension 1.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None
    format: NumberFormat
    group_size: int
    shape: torch.Size
    transposed: bool

    @cached_property
    def zero_codes(self) -> Tensor:
        """(rows, columns) bool: where the weight is exactly 0."""
        return self.codes == self._zero

    def dequantize(self) -> Tensor:
        """The float32 weight that the codes stand for, in its original shape."""
        if isinstance(self.format, FloatFormat):
            values = decode(self.codes, self.format)
        else:
            values = self.codes.float() - self._zero
        return from_rows(values * self.spread(self.scale).float(), self.shape, transposed=self.transposed)

    def with_zeros(self, mask: Tensor) -> "QuantizedWeight":
        """The same weight with exact zeros where `mask` (bool, the weight's shape) is False."""
        keep = to_rows(mask, transposed=self.transposed)
        return replace(self, codes=torch.where(keep, self.codes, self._zero).to(torch.int16))

    def cpu(self) -> "QuantizedWeight":
        """The same codes on the CPU."""
        zero_point = None if self.zero_point is None else self.zero_point.cpu()
        return replace(self, codes=self.codes.cpu(), scale=self.scale.cpu(), zero_point=zero_point)

    def spread(self, per_group: Tensor) -> Tensor:
        """(rows, n_groups) -> broadcastable to (rows, columns)."""
        if per_group.shape[1] == 1:
            return per_group
        return per_group.repeat_interleave(self.group_size, dim=1)[:, : self.codes.shape[1]]

    @property
    def _zero(self) -> Tensor | int:
        """Code of exactly 0; a binary weight is 0 where its code is, though it is never rounded to it."""
        if isinstance(self.format, FloatFormat):
            return self.format.zero_code
        return 0 if self.zero_point is None else self.spread(self.zero_point)


def quantize_weight(
    weight: Tensor,
    format: NumberFormat,
    *,
    granularity: str = "channel",
    group_size: int | None = None,
    clip_mse: bool = False,
    ternary: bool = False,
    transposed: bool = False,
) -> QuantizedWeight:
    """Round a weight to the nearest numbers of a format; exact zeros stay exact zeros.

    Scales are rounded up to float16, which is how they are stored, so that the largest weight is
    never clipped and the error is at most scale / 2 (without clipping). One symmetric bit is the sign,
    with the mean |w| of the non-zeros for scale.

    Args:
        weight: (out, ...) float32, or (in, out, ...) when `transposed`.
        granularity: `tensor`, `channel` or `group`, for integers; a float format has its own.
        group_size: columns per scale when the granularity is `group`, and of NF4.
        clip_mse: shrink each range to the one with the least squared error.
        ternary: make small weights 0, and the mean |w| of the others the scale (two symmetric bits only).

    Raises:
        RecipeError: weights so large that their scale is no float16.

    Source: Krishnamoorthi 2018 (arXiv:1806.08342), sections 2.1 and 2.2; one bit: Rastegari 2016
    (arXiv:1603.05279), equation 6; ternary: Li & Liu 2016 (arXiv:1605.04711), equations 4 and 6.
    """
    rows = to_rows(weight.detach().float(), transposed=transposed)
    if isinstance(format, FloatFormat):
        return _to_floats(rows, format, group_size, shape=weight.shape, transposed=transposed)
    n_columns = rows.shape[1]
    size = min(group_size or n_columns, n_columns) if granularity == "group" else n_columns
    groups = _grouped(rows, size) if granularity != "tensor" else rows.reshape(1, 1, -1)
    scale, zero_point = find_steps(groups, format, clip_mse=clip_mse, ternary=ternary)
    steps = scale.float()[:, :, None], zero_point[:, :, None]
    if ternary:
        codes = groups.sign() * (groups.abs() > _ternary_threshold(groups)[:, :, None])
    else:
        codes = nearest_codes(groups, *steps, format)
    codes = codes.flatten(1)
    codes = codes.reshape(rows.shape) if granularity == "tensor" else codes[:, :n_columns]
    return QuantizedWeight(
        codes=codes.to(torch.int16),
        scale=scale,
        zero_point=None if format.symmetric else zero_point,
        format=format,
        group_size=size,
        shape=weight.shape,
        transposed=transposed,
    )


def find_steps(
    groups: Tensor, format: IntegerFormat, *, clip_mse: bool = False, ternary: bool = False
) -> tuple[Tensor, Tensor]:
    """Scale (float16, > 0) and zero point (int16) of each group: (rows, n_groups, size) -> two (rows, n_groups)."""
    if format.is_binary:
        return _mean_steps(groups, groups != 0, format)
    if ternary:
        return _mean_steps(groups, groups.abs() > _ternary_threshold(groups)[:, :, None], format)
    low, high = groups.amin(2).clamp_max(0), groups.amax(2).clamp_min(0)
    if clip_mse:
        shrink = _best_shrink(groups, low, high, format)
        low, high = low * shrink, high * shrink
    return _affine(low, high, format)


def nearest_codes(values: Tensor, scale: Tensor, zero_point: Tensor | int, format: IntegerFormat) -> Tensor:
    """Nearest integers: round half to even, shift, clamp; all arguments broadcast. One bit is the sign, 0 stays 0."""
    if format.is_binary:
        return values.sign()
    return ((values / scale).round() + zero_point).clamp(format.lowest, format.highest)


def _to_floats(
    rows: Tensor, format: FloatFormat, group_size: int | None, *, shape: torch.Size, transposed: bool
) -> QuantizedWeight:
    """Rows as floats of 16 bits, as FP8 with a scale per row, or as NF4 with one per block of a row."""
    n_columns = rows.shape[1]
    size = min(group_size or NF4_BLOCK, n_columns) if format.name == "nf4" else n_columns
    groups = _grouped(rows, size)
    if format.is_scaled:
        scale = _half_rounded_up(_in_range(groups.abs().amax(2) / largest_value(format), format))
        groups = groups / scale.float()[:, :, None]
    else:
        scale = torch.ones(1, 1, dtype=torch.float16, device=rows.device)
    codes = encode(groups, format).flatten(1)[:, :n_columns].contiguous()
    return QuantizedWeight(codes, scale, None, format, size, shape, transposed)


def _grouped(rows: Tensor, size: int) -> Tensor:
    """(rows, columns) -> (rows, n_groups, size), the last group filled up with zeros."""
    padding = -rows.shape[1] % size
    return F.pad(rows, (0, padding)).reshape(len(rows), -1, size)


def _affine(low: Tensor, high: Tensor, format: IntegerFormat) -> tuple[Tensor, Tensor]:
    """Scale and zero point of ranges that contain 0: their ends are the outermost integers."""
    extent = torch.maximum(-low, high) if format.symmetric else high - low
    scale = _half_rounded_up(_in_range(extent / format.highest, format))
    if format.symmetric:
        return scale, torch.zeros_like(scale, dtype=torch.int16)
    zero_point = (-low / scale.float()).round().clamp(0, format.highest)
    return scale, zero_point.to(torch.int16)


def _mean_steps(groups: Tensor, chosen: Tensor, format: IntegerFormat) -> tuple[Tensor, Tensor]:
    """The mean |w| of the chosen weights as scale: that with the least squared error for their signs."""
    means = (groups.abs() * chosen).sum(2) / chosen.sum(2).clamp_min(1)
    scale = _in_range(means, format).half()
    return scale, torch.zeros_like(scale, dtype=torch.int16)


def _ternary_threshold(groups: Tensor) -> Tensor:
    """0.7 of the mean |w| of the non-zeros: (rows, n_groups). Pruned weights are no small weights."""
    return TERNARY_THRESHOLD * groups.abs().sum(2) / (groups != 0).sum(2).clamp_min(1)


def _in_range(exact: Tensor, format: NumberFormat) -> Tensor:
    """Steps that float16 can hold."""
    if exact.numel() and float(exact.max()) > LARGEST_SCALE:
        raise RecipeError(
            f"Steps between {format.bits}-bit weights must be at most {LARGEST_SCALE:,.0f} (float16), got "
            f"{float(exact.max()):,.0f}. Skip the layer with such large weights."
        )
    return exact.clamp_min(SMALLEST_SCALE)


def _half_rounded_up(values: Tensor) -> Tensor:
    """Smallest float16 that is not below each positive float32 value."""
    half = values.half()
    above = (half.view(torch.int16) + 1).view(torch.float16)  # positive floats are ordered like integers
    return torch.where(half.float() < values, above, half)


def _best_shrink(groups: Tensor, low: Tensor, high: Tensor, format: IntegerFormat) -> Tensor:
    """Factor on each range with the least squared rounding error: (rows, n_groups)."""
    best_error = torch.full_like(low, float("inf"))
    best = torch.ones_like(low)
    for shrink in MSE_SHRINKS:
        scale, zero_point = _affine(low * shrink, high * shrink, format)
        steps, zeros = scale.float()[:, :, None], zero_point[:, :, None]
        error = ((nearest_codes(groups, steps, zeros, format) - zeros) * steps - groups).square().sum(2)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best = torch.where(better, shrink, best)
    return best
