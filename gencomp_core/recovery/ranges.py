"""Ranges of quantized activations while their network is trained: learned, or observed until half time."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from gencomp_core.compression.activations import BUFFER, InputQuantizer, channel_axis, quantizer_of
from gencomp_core.compression.observers import SMALLEST_SCALE, quantization_parameters

MOMENTUM = 0.01  # of the moving average of ranges (Jacob 2018, section 3.1)


class _LearnedRounding(torch.autograd.Function):
    """Fake quantization whose step size has a gradient.

    Source: Esser 2020 (arXiv:1902.08153), equations 1 to 3, with a fixed zero point.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, lowest: int, highest: int) -> Tensor:
        """x of any shape, one scale, one zero point -> x rounded, in the type of x."""
        ratio = x.float() / scale
        codes = (ratio.round() + zero_point).clamp(lowest, highest) - zero_point
        inside = (ratio >= lowest - zero_point - 0.5) & (ratio <= highest - zero_point + 0.5)
        ctx.save_for_backward(inside, torch.where(inside, codes - ratio, codes).to(x.dtype))
        return (codes * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Straight through inside of the range; ∂/∂s = round(x / s) - x / s there, the end of the range outside."""
        inside, slope = ctx.saved_tensors
        of_scale = (gradients[0].float() * slope.float()).sum()
        return gradients[0] * inside, of_scale, None, None, None


class TrainedRange:
    """Stands in for the quantizer of one layer's input while the network is trained.

    In evaluation mode it is the quantizer itself, on the layer's buffer.

    Args:
        layer: with a static quantizer.
        learned: train the logarithm of each scale; otherwise follow the range that is met, as a moving average.
    """

    def __init__(self, layer: nn.Module, *, learned: bool) -> None:
        quantizer = quantizer_of(layer)
        assert quantizer is not None
        self.layer, self.quantizer, self.learned, self.frozen = layer, quantizer, learned, False
        self.first = self._buffer.clone()
        self.log_ratio = torch.zeros_like(self.first[:, 0])
        _replace_(layer, quantizer, self)

    def tensors(self) -> dict[str, Tensor]:
        """What is trained: (parts,) logarithms of scales over what they were."""
        return {"range": self.log_ratio} if self.learned else {}

    @torch.no_grad()
    def write_(self) -> None:
        """Put learned scales into the layer's buffer."""
        if self.learned:
            self._buffer[:, 0] = self._scales()

    def release_(self) -> None:
        """Give the layer its quantizer back."""
        _replace_(self.layer, self, self.quantizer)

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """What the layer gets in place of its inputs."""
        x, *rest = inputs
        if not layer.training or not torch.is_grad_enabled() or not x.is_floating_point() or not x.numel():
            return self.quantizer(layer, inputs)
        if not self.learned:
            self._follow_(x)
            return self.quantizer(layer, inputs)
        lowest, highest = self.quantizer.format.lowest, self.quantizer.format.highest
        own = zip(self.quantizer.parts(layer, x), self._scales(), self.first[:, 1], strict=True)
        rounded: list[Tensor] = [
            _LearnedRounding.apply(part, scale, zero, lowest, highest)  # type: ignore[no-untyped-call]
            for part, scale, zero in own
        ]
        return (rounded[0] if len(rounded) == 1 else torch.cat(rounded, dim=channel_axis(layer)), *rest)

    @property
    def _buffer(self) -> Tensor:
        return cast(Tensor, getattr(self.layer, BUFFER))

    def _scales(self) -> Tensor:
        return (self.first[:, 0] * self.log_ratio.exp()).clamp_min(SMALLEST_SCALE)

    @torch.no_grad()
    def _follow_(self, x: Tensor) -> None:
        """Move the range a little towards the one of this input."""
        if self.frozen:
            return
        integers, (scale, zero) = self.quantizer.format, self._buffer.T.clone()
        low, high = (integers.lowest - zero) * scale, (integers.highest - zero) * scale
        parts = [part.aminmax() for part in self.quantizer.parts(self.layer, x.detach().float())]
        low += MOMENTUM * (torch.stack([part.min for part in parts]).clamp_max(0) - low)
        high += MOMENTUM * (torch.stack([part.max for part in parts]).clamp_min(0) - high)
        self._buffer.copy_(torch.stack(quantization_parameters(low, high, integers), dim=1))


def static_inputs(model: nn.Module) -> dict[str, nn.Module]:
    """Layers whose input has a fixed range, by name."""
    found = {}
    for name, layer in model.named_modules():
        quantizer = quantizer_of(layer)
        if quantizer is not None and not quantizer.dynamic:
            found[name] = layer
    return found


def _replace_(layer: nn.Module, hook: object, by: InputQuantizer | TrainedRange) -> None:
    """Put another hook in the place of one, so that the order of all stays."""
    hooks = cast(dict[int, Any], layer._forward_pre_hooks)
    key = next(key for key, own in hooks.items() if own is hook)
    hooks[key] = by
