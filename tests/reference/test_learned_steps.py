"""Gradients of learned step sizes against torch's own learnable fake quantization."""

import pytest
import torch
from torch import Tensor

from gencomp_core.compression.quantizers import quantize_weight
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.recovery.grids import grid_of
from gencomp_core.recovery.ranges import _LearnedRounding
from tests.tiny import noise


def per_channel(weight: Tensor, scale: Tensor, point: Tensor, integers: IntegerFormat) -> Tensor:
    """torch's learnable fake quantization, whose scale has the gradient of LSQ."""
    return torch._fake_quantize_learnable_per_channel_affine(  # type: ignore[attr-defined,no-any-return]
        weight, scale, point, 0, integers.lowest, integers.highest, 1.0
    )


@pytest.mark.parametrize("integers", [IntegerFormat(4, True), IntegerFormat(3, False), IntegerFormat(8, True)], ids=str)
def test_weights_and_scales_have_the_gradients_of_torch(integers: IntegerFormat) -> None:
    weight, target = 3 * noise(5, 24, seed=1), noise(5, 24, seed=2)
    quantized = quantize_weight(weight, integers, clip_mse=True)  # so that some weights lie outside of the range
    grid = grid_of(quantized, learn_scale=True)
    own = weight.clone().requires_grad_(True)
    log_ratio = grid.tensors()["scale"].requires_grad_(True)
    (grid.value(own) * target).sum().backward()

    scale = quantized.scale.float()[:, 0].clone().requires_grad_(True)
    point = torch.zeros(5) if quantized.zero_point is None else quantized.zero_point[:, 0].float()
    theirs = weight.clone().requires_grad_(True)
    value = per_channel(theirs, scale, point, integers)
    (value * target).sum().backward()
    assert torch.equal(grid.value(own), value)
    torch.testing.assert_close(own.grad, theirs.grad)
    assert scale.grad is not None
    assert log_ratio.grad is not None
    torch.testing.assert_close(log_ratio.grad[:, 0], scale.grad * scale.detach(), rtol=1e-3, atol=1e-4)
    assert bool((own.grad == 0).any()) == (integers.bits < 8)


@pytest.mark.parametrize("integers", [IntegerFormat(8, False), IntegerFormat(4, True)], ids=str)
def test_ranges_of_activations_have_the_gradients_of_torch(integers: IntegerFormat) -> None:
    x, target = noise(7, 11, seed=3), noise(7, 11, seed=4)
    point = 0.0 if integers.symmetric else 100.0
    scale = torch.tensor(0.01).requires_grad_(True)
    own = x.clone().requires_grad_(True)
    out = _LearnedRounding.apply(own, scale, torch.tensor(point), integers.lowest, integers.highest)  # type: ignore
    (out * target).sum().backward()

    theirs, their_scale = x.clone().requires_grad_(True), torch.tensor([0.01]).requires_grad_(True)
    value = torch._fake_quantize_learnable_per_tensor_affine(  # type: ignore[attr-defined]
        theirs, their_scale, torch.tensor([point]), integers.lowest, integers.highest, 1.0
    )
    (value * target).sum().backward()
    assert torch.equal(out, value)
    torch.testing.assert_close(own.grad, theirs.grad)
    assert their_scale.grad is not None
    torch.testing.assert_close(scale.grad, their_scale.grad[0], rtol=1e-3, atol=1e-4)
