"""Which values a tuned weight may take, and how gradients pass the rounding to them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from gencomp_core.compression.float_formats import encode, largest_value
from gencomp_core.compression.layers import from_rows, to_rows
from gencomp_core.compression.quantizers import LARGEST_SCALE, SMALLEST_SCALE, QuantizedWeight, nearest_codes
from gencomp_core.recipes.formats import FloatFormat, IntegerFormat

INSIDE = 0.499  # of a step: how far a weight starts from its code at most


class _Straight(torch.autograd.Function):
    """Gives other values in the forward pass, and the gradient unchanged in the backward pass.

    Source: Bengio 2013 (arXiv:1308.3432), section 4, the straight-through estimator.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        """x, value of the same shape -> value."""
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient goes to x."""
        return gradients[0], None


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """`value`, with the gradient of `x`."""
    out: Tensor = _Straight.apply(x, value)  # type: ignore[no-untyped-call]
    return out


class Grid(Protocol):
    """What rounds one weight."""

    def tensors(self) -> dict[str, Tensor]:
        """What is trained beside the weight, by name."""

    def value(self, weight: Tensor) -> Tensor:
        """The rounded weight; its gradient reaches `weight` and `tensors`."""

    def quantized(self, weight: Tensor) -> QuantizedWeight:
        """Codes and scales of `value(weight)`."""

    def start(self, weight: Tensor) -> Tensor:
        """The float weight nearest to `weight` that is rounded to the codes that the grid came with."""


def grid_of(quantized: QuantizedWeight, *, learn_scale: bool = False) -> Grid:
    """The grid of a quantized weight; scales of floats and of one-bit weights are never learned."""
    if isinstance(quantized.format, FloatFormat):
        return FloatGrid(quantized)
    return IntegerGrid(quantized, learn_scale=learn_scale)


class IntegerGrid:
    """Integers with fixed or learned scales.

    A learned scale is s = s₀ · exp(θ), rounded to float16 as it is stored. Its gradient is that of LSQ: for
    a weight w inside of the range round(w / s) - w / s, outside the end of the range.

    Source: Esser 2020 (arXiv:1902.08153), equation 3; logarithms, so that Adam's step is relative to the
    scale: Jain 2020 (arXiv:1903.08066), section 3.
    """

    def __init__(self, quantized: QuantizedWeight, *, learn_scale: bool) -> None:
        self._take_(quantized)
        self.log_ratio = torch.zeros_like(quantized.scale, dtype=torch.float32) if learn_scale else None

    def _take_(self, quantized: QuantizedWeight) -> None:
        assert isinstance(quantized.format, IntegerFormat)
        self.format, self.own = quantized.format, quantized
        no_point = torch.zeros_like(quantized.scale, dtype=torch.float32)
        self.point = quantized.spread(no_point if quantized.zero_point is None else quantized.zero_point.float())

    def replace_(self, quantized: QuantizedWeight) -> None:
        """Go on with other integers of as many scales, which are trained from where they are now."""
        self._take_(quantized)
        if self.log_ratio is not None:
            with torch.no_grad():
                self.log_ratio.zero_()

    def state(self) -> dict[str, Tensor]:
        """Width, scales and zero points that training goes on from."""
        own = {"bits": torch.tensor(self.format.bits), "scale": self.own.scale.clone()}
        return own if self.own.zero_point is None else own | {"zero_point": self.own.zero_point.clone()}

    def load_(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`; codes follow from the weight."""
        width = IntegerFormat(int(state["bits"]), self.format.symmetric)
        where = self.own.scale.device
        point = state["zero_point"].to(where) if "zero_point" in state else None
        self._take_(replace(self.own, format=width, scale=state["scale"].to(where), zero_point=point))

    def tensors(self) -> dict[str, Tensor]:
        """The logarithm of each scale over what it was."""
        return {} if self.log_ratio is None else {"scale": self.log_ratio}

    def value(self, weight: Tensor) -> Tensor:
        """(out, ...) float32 -> the same shape, each a code times its scale."""
        rows, scale = to_rows(weight, transposed=self.own.transposed), self._scale()
        spread = self.own.spread(scale)
        ratio = rows / spread
        ends = self.format.lowest - self.point - 0.5, self.format.highest - self.point + 0.5
        inside = ratio.clamp(*ends)  # what is not rounded to an end from beyond passes its gradient on
        codes = nearest_codes(rows, spread, self.point, self.format).detach() - self.point
        values = straight_through(inside, codes) * spread
        return from_rows(values, self.own.shape, transposed=self.own.transposed)

    @torch.no_grad()
    def quantized(self, weight: Tensor) -> QuantizedWeight:
        """Codes and scales of `value(weight)`."""
        rows, scale = to_rows(weight, transposed=self.own.transposed), self._scale()
        codes = nearest_codes(rows, self.own.spread(scale), self.point, self.format)
        return replace(self.own, codes=codes.to(torch.int16), scale=scale.half())

    def start(self, weight: Tensor) -> Tensor:
        """The nearest float weight whose code is the grid's own."""
        own = self.own
        rows, scale = to_rows(weight, transposed=own.transposed), own.spread(own.scale).float()
        centre = (own.codes.float() - self.point) * scale
        if self.format.is_binary:
            signs = torch.where(own.codes != 0, own.codes.float() * rows.abs().clamp_min(1e-3 * scale), rows)
            return from_rows(signs, own.shape, transposed=own.transposed)
        lowest = torch.where(own.codes == self.format.lowest, -torch.inf, centre - INSIDE * scale)
        highest = torch.where(own.codes == self.format.highest, torch.inf, centre + INSIDE * scale)
        return from_rows(rows.clamp(lowest, highest), own.shape, transposed=own.transposed)

    def _scale(self) -> Tensor:
        """(rows, n_groups) float32, every one exactly a float16."""
        scale = self.own.scale.float()
        if self.log_ratio is None:
            return scale
        wanted = scale * self.log_ratio.exp()
        return straight_through(wanted, wanted.detach().clamp(SMALLEST_SCALE, LARGEST_SCALE).half().float())


class FloatGrid:
    """Shorter floats, with the scales that they have."""

    def __init__(self, quantized: QuantizedWeight) -> None:
        self.own = quantized

    def tensors(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def value(self, weight: Tensor) -> Tensor:
        """(out, ...) float32 -> the same shape, rounded."""
        return straight_through(weight, self.quantized(weight).dequantize())

    @torch.no_grad()
    def quantized(self, weight: Tensor) -> QuantizedWeight:
        """Codes of `value(weight)`, with the scales that there were."""
        assert isinstance(self.own.format, FloatFormat)
        rows = to_rows(weight.detach(), transposed=self.own.transposed)
        largest = largest_value(self.own.format)
        codes = encode((rows / self.own.spread(self.own.scale).float()).clamp(-largest, largest), self.own.format)
        return replace(self.own, codes=codes)

    def start(self, weight: Tensor) -> Tensor:
        """The float weight where it rounds to the grid's codes, else the rounded one."""
        rounded = self.own.dequantize()
        return torch.where(self.quantized(weight).dequantize() == rounded, weight, rounded)
