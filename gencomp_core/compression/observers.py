"""Ranges of activations: what calibration saw, and which part of it the integers cover."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gencomp_core.recipes.formats import IntegerFormat

N_BINS = 2048  # as torch's HistogramObserver
SHRINKS = torch.linspace(1 / 32, 1, 32, dtype=torch.float64)
SMALLEST_SCALE = torch.finfo(torch.float32).eps  # as torch's observers


class ValueRange(NamedTuple):
    """Ends of a range that contains 0."""

    low: float
    high: float

    def around(self, other: "ValueRange") -> "ValueRange":
        """The range that holds both."""
        return ValueRange(min(self.low, other.low), max(self.high, other.high))

    def mirrored(self) -> "ValueRange":
        """The symmetric range that holds this one."""
        largest = max(-self.low, self.high)
        return ValueRange(-largest, largest)


def range_of(values: Tensor) -> ValueRange:
    """Smallest range that holds all values and 0."""
    low, high = values.aminmax()
    return ValueRange(min(float(low), 0.0), max(float(high), 0.0))


def quantization_parameters(low: Tensor, high: Tensor, format: IntegerFormat) -> tuple[Tensor, Tensor]:
    """Step size and zero point of ranges, as torch's observers choose them.

    Args:
        low, high: float32 of one shape, low <= 0 <= high.

    Returns:
        Scale (float32, > 0) and zero point (int32, a code of the format), in that shape.

    Source: Krishnamoorthi 2018 (arXiv:1806.08342), sections 2.1 and 2.2.
    """
    if format.symmetric:
        scale = (torch.maximum(-low, high) / format.highest).clamp_min(SMALLEST_SCALE)
        return scale, torch.zeros_like(scale, dtype=torch.int32)
    scale = ((high - low) / format.highest).clamp_min(SMALLEST_SCALE)
    zero_point = (-low / scale).round().clamp(format.lowest, format.highest)
    return scale, zero_point.to(torch.int32)


def row_parameters(rows: Tensor, format: IntegerFormat) -> tuple[Tensor, Tensor | None]:
    """`quantization_parameters` of each row's own range: (n, columns) -> (n,), and (n,) or None for zeros."""
    if format.symmetric:
        largest = torch.linalg.vector_norm(rows, torch.inf, dim=1)
        return largest.div_(format.highest).clamp_min_(SMALLEST_SCALE), None
    low, high = rows.aminmax(dim=1)
    return quantization_parameters(low.clamp_max(0), high.clamp_min(0), format)


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, format: IntegerFormat) -> Tensor:
    """Round to the integers of a format and back, with one scale: torch's own fake quantization.

    That op also makes a mask for gradients. In inference mode nobody wants them, and plain arithmetic gives the
    same bits in a tenth of the time.

    Args:
        x: any shape, float32.
        scale, zero_point: one number each.
    """
    if not torch.is_inference_mode_enabled():
        zero = zero_point.to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, format.lowest, format.highest)
    if x.is_cpu:  # numbers cost less than tensors of one element; elsewhere reading them would wait for the device
        step, zero_code = scale.item(), zero_point.item()
        codes = x.mul(1 / step).round_().clamp_(format.lowest - zero_code, format.highest - zero_code)
        return codes.add_(0.0).mul_(step)  # as in torch, no zero is negative
    return _round(x, scale, zero_point, format)


def fake_quantize_rows(rows: Tensor, scale: Tensor, zero_point: Tensor | None, format: IntegerFormat) -> Tensor:
    """Like `fake_quantize` with a scale for each row.

    Args:
        rows: (n, columns) float32.
        scale: (n,).
        zero_point: (n,); None where all are 0.
    """
    if torch.is_inference_mode_enabled():
        return _round(rows, scale[:, None], None if zero_point is None else zero_point[:, None], format)
    zeros = torch.zeros_like(scale, dtype=torch.int32) if zero_point is None else zero_point
    return torch.fake_quantize_per_channel_affine(rows, scale, zeros, 0, format.lowest, format.highest)


def _round(x: Tensor, scale: Tensor, zero_point: Tensor | None, format: IntegerFormat) -> Tensor:
    codes = x.mul(scale.reciprocal()).round_()
    if zero_point is None:
        return codes.clamp_(format.lowest, format.highest).add_(0.0).mul_(scale)
    return codes.add_(zero_point).clamp_(format.lowest, format.highest).sub_(zero_point).mul_(scale)


@dataclass(eq=False)
class Histogram:
    """How many values fell into each of 2,048 equal bins.

    Counts are integers, so that the order of batches does not matter.

    Attributes:
        span: of all bins together; holds every value.
        counts: (2048,) int64.
    """

    span: ValueRange
    counts: Tensor

    @classmethod
    def over(cls, span: ValueRange) -> "Histogram":
        """Empty histogram."""
        return cls(span, torch.zeros(N_BINS, dtype=torch.int64))

    def add_(self, values: Tensor) -> None:
        """Count values of any shape."""
        width = (self.span.high - self.span.low) / N_BINS
        bins = values.flatten().sub(self.span.low).div_(max(width, SMALLEST_SCALE)).clamp_(0, N_BINS - 1).long()
        self.counts += bins.bincount(minlength=N_BINS).cpu()

    def edges(self) -> Tensor:
        """Borders of the bins: (2049,) float64."""
        return torch.linspace(self.span.low, self.span.high, N_BINS + 1, dtype=torch.float64)


def percentile_range(seen: Histogram, percentile: float, *, symmetric: bool) -> ValueRange:
    """Range between two percentiles; where a symmetric range is wanted, the percentile of |x|.

    Values count as spread evenly within their bin, so that the ends are exact to 1/2048 of the span.
    """
    edges, share = seen.edges(), percentile / 100
    if symmetric:  # the span is mirrored: bins fold onto each other
        folded = seen.counts[N_BINS // 2 :] + seen.counts[: N_BINS // 2].flip(0)
        largest = _quantile(folded, edges[N_BINS // 2 :], share)
        return ValueRange(-largest, largest)
    low, high = _quantile(seen.counts, edges, 1 - share), _quantile(seen.counts, edges, share)
    return ValueRange(min(low, 0.0), max(high, 0.0))


def _quantile(counts: Tensor, edges: Tensor, share: float) -> float:
    """Value below which `share` of all counts lie."""
    below = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).double()
    wanted = share * float(below[-1])
    last = int(torch.searchsorted(below, wanted))
    first = max(last - 1, 0)
    within = (wanted - float(below[first])) / max(float(below[last] - below[first]), 1)
    return float(edges[first] + min(within, 1) * (edges[last] - edges[first]))


def least_error_range(seen: Histogram, format: IntegerFormat) -> ValueRange:
    """Range with the least squared rounding error, among 32 lengths of each side of the span.

    Every value counts as the centre of its bin. Source: the search of torch's HistogramObserver, over a fixed grid.
    """
    edges = seen.edges()
    met = seen.counts > 0
    centres, weights = ((edges[1:] + edges[:-1]) / 2)[met], seen.counts[met].double()
    highs = SHRINKS * seen.span.high
    lows = -highs[None] if format.symmetric else (SHRINKS * seen.span.low)[:, None].expand(-1, len(highs))
    best, least = seen.span, float("inf")
    for row in lows if seen.span.low < 0 else lows[-1:]:
        scale, zero_point = quantization_parameters(row[:, None], highs[:, None], format)
        codes = ((centres / scale).round() + zero_point).clamp(format.lowest, format.highest)
        errors = ((codes - zero_point) * scale - centres).square() @ weights  # (32,)
        error, index = errors.min(0)
        if float(error) < least:
            best, least = ValueRange(float(row[index]), float(highs[index])), float(error)
    return best
