"""Uniform weight quantization: scales, rounding, and the integers that are stored."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from gencomp_core.compression.layers import from_rows, to_rows
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.formats import IntegerFormat

SMALLEST_SCALE = 2.0**-14  # smallest normal float16; a channel of zeros gets it
LARGEST_SCALE = torch.finfo(torch.float16).max
MSE_SHRINKS = torch.linspace(1.0, 0.3, 36)


@dataclass(frozen=True)
class QuantizedWeight:
    """One weight as integers with their scales; `dequantize` is what runs.

    Attributes:
        codes: (rows, columns) int16, integers in the format's range.
        scale: (rows, n_groups) float16, > 0, or (1, 1) for one scale per tensor.
        zero_point: like `scale`, int16: the code of exactly 0; None when symmetric.
        format: range of the integers.
        group_size: columns that share a scale; the last group of a row may be shorter.
        shape: of the float weight.
        transposed: whether rows are the weight's dimension 1.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None
    format: IntegerFormat
    group_size: int
    shape: torch.Size
    transposed: bool

    @cached_property
    def zero_codes(self) -> Tensor:
        """(rows, columns) bool: where the weight is exactly 0."""
        return self.codes == (0 if self.zero_point is None else self._spread(self.zero_point))

    def dequantize(self) -> Tensor:
        """The float32 weight that the integers stand for, in its original shape."""
        codes = self.codes.float()
        if self.zero_point is not None:
            codes = codes - self._spread(self.zero_point)
        return from_rows(codes * self._spread(self.scale).float(), self.shape, transposed=self.transposed)

    def with_zeros(self, mask: Tensor) -> "QuantizedWeight":
        """The same weight with exact zeros where `mask` (bool, the weight's shape) is False."""
        keep = to_rows(mask, transposed=self.transposed)
        zero: Tensor | int = 0 if self.zero_point is None else self._spread(self.zero_point)
        return replace(self, codes=torch.where(keep, self.codes, zero).to(torch.int16))

    def cpu(self) -> "QuantizedWeight":
        """The same integers on the CPU."""
        zero_point = None if self.zero_point is None else self.zero_point.cpu()
        return replace(self, codes=self.codes.cpu(), scale=self.scale.cpu(), zero_point=zero_point)

    def _spread(self, per_group: Tensor) -> Tensor:
        """(rows, n_groups) -> broadcastable to (rows, columns)."""
        if per_group.shape[1] == 1:
            return per_group
        return per_group.repeat_interleave(self.group_size, dim=1)[:, : self.codes.shape[1]]


def quantize_weight(
    weight: Tensor,
    format: IntegerFormat,
    *,
    granularity: str = "channel",
    group_size: int | None = None,
    clip_mse: bool = False,
    transposed: bool = False,
) -> QuantizedWeight:
    """Round a weight to the nearest integers of a format.

    Scales are rounded up to float16, which is how they are stored, so that the largest weight is
    never clipped and the error is at most scale / 2 (without MSE clipping).

    Args:
        weight: (out, ...) float32, or (in, out, ...) when `transposed`.
        granularity: `tensor`, `channel` or `group`.
        group_size: columns per scale when the granularity is `group`.
        clip_mse: shrink each range to the one with the least squared error.

    Raises:
        RecipeError: weights so large that their scale is no float16.

    Source: Krishnamoorthi 2018 (arXiv:1806.08342), sections 2.1 and 2.2.
    """
    rows = to_rows(weight.detach().float(), transposed=transposed)
    n_columns = rows.shape[1]
    size = min(group_size or n_columns, n_columns) if granularity == "group" else n_columns
    groups = _grouped(rows, size) if granularity != "tensor" else rows.reshape(1, 1, -1)
    low, high = groups.amin(2).clamp_max(0), groups.amax(2).clamp_min(0)
    if clip_mse:
        shrink = _best_shrink(groups, low, high, format)
        low, high = low * shrink, high * shrink
    scale, zero_point = _affine(low, high, format)
    codes = _round(groups, scale, zero_point, format).flatten(1)
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


def _grouped(rows: Tensor, size: int) -> Tensor:
    """(rows, columns) -> (rows, n_groups, size), the last group filled up with zeros."""
    padding = -rows.shape[1] % size
    return F.pad(rows, (0, padding)).reshape(len(rows), -1, size)


def _affine(low: Tensor, high: Tensor, format: IntegerFormat) -> tuple[Tensor, Tensor]:
    """Scale (float16, rounded up) and zero point (int16) of ranges that contain 0."""
    extent = torch.maximum(-low, high) if format.symmetric else high - low
    exact = extent / format.highest
    if exact.numel() and float(exact.max()) > LARGEST_SCALE:
        raise RecipeError(
            f"Steps between {format.bits}-bit weights must be at most {LARGEST_SCALE:,.0f} (float16), got "
            f"{float(exact.max()):,.0f}. Skip the layer with such large weights."
        )
    scale = _half_rounded_up(exact.clamp_min(SMALLEST_SCALE))
    if format.symmetric:
        return scale, torch.zeros_like(scale, dtype=torch.int16)
    zero_point = (-low / scale.float()).round().clamp(0, format.highest)
    return scale, zero_point.to(torch.int16)


def _half_rounded_up(values: Tensor) -> Tensor:
    """Smallest float16 that is not below each positive float32 value."""
    half = values.half()
    above = (half.view(torch.int16) + 1).view(torch.float16)  # positive floats are ordered like integers
    return torch.where(half.float() < values, above, half)


def _round(groups: Tensor, scale: Tensor, zero_point: Tensor, format: IntegerFormat) -> Tensor:
    """Integers of (rows, n_groups, size) weights: round half to even, shift, clamp."""
    shifted = (groups / scale.float()[:, :, None]).round() + zero_point[:, :, None]
    return shifted.clamp(format.lowest, format.highest)


def _best_shrink(groups: Tensor, low: Tensor, high: Tensor, format: IntegerFormat) -> Tensor:
    """Factor on each range with the least squared rounding error: (rows, n_groups)."""
    best_error = torch.full_like(low, float("inf"))
    best = torch.ones_like(low)
    for shrink in MSE_SHRINKS:
        scale, zero_point = _affine(low * shrink, high * shrink, format)
        codes = _round(groups, scale, zero_point, format) - zero_point[:, :, None]
        error = (codes * scale.float()[:, :, None] - groups).square().sum(2)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best = torch.where(better, shrink, best)
    return best
