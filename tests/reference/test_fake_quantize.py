"""Against torch's own fake quantization, given our scale and zero point."""

import pytest
import torch
from torch import Tensor

from gencomp_core.compression.quantizers import quantize_weight
from gencomp_core.recipes.formats import IntegerFormat
from tests.tiny import same_bits


def normal_weight(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) + 0.1


@pytest.mark.parametrize("clip_mse", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(("shape", "axis"), [((7, 13), 0), ((6, 5, 3, 3), 0), ((6, 5, 4, 4), 1), ((11, 3, 5), 0)])
def test_per_channel_matches_torch(
    shape: tuple[int, ...], axis: int, bits: int, symmetric: bool, clip_mse: bool
) -> None:
    weight, integers = normal_weight(*shape), IntegerFormat(bits, symmetric)
    ours = quantize_weight(weight, integers, clip_mse=clip_mse, transposed=axis == 1)
    scale = ours.scale.float()[:, 0]
    zero = torch.zeros(len(scale)) if ours.zero_point is None else ours.zero_point[:, 0]
    theirs = torch.fake_quantize_per_channel_affine(
        weight, scale, zero.to(torch.int32), axis, integers.lowest, integers.highest
    )
    assert same_bits(ours.dequantize(), theirs + 0.0)  # torch keeps the sign of a zero


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_per_tensor_matches_torch(bits: int, symmetric: bool) -> None:
    weight, integers = normal_weight(9, 31), IntegerFormat(bits, symmetric)
    ours = quantize_weight(weight, integers, granularity="tensor")
    zero = 0 if ours.zero_point is None else int(ours.zero_point)
    theirs = torch.fake_quantize_per_tensor_affine(weight, float(ours.scale), zero, integers.lowest, integers.highest)
    assert same_bits(ours.dequantize(), theirs + 0.0)


@pytest.mark.parametrize("symmetric", [True, False])
def test_each_group_matches_torch_on_its_own(symmetric: bool) -> None:
    weight, integers = normal_weight(5, 22), IntegerFormat(4, symmetric)
    ours = quantize_weight(weight, integers, granularity="group", group_size=8)
    for group, columns in enumerate([slice(0, 8), slice(8, 16), slice(16, 22)]):
        zero = torch.zeros(5) if ours.zero_point is None else ours.zero_point[:, group]
        theirs = torch.fake_quantize_per_channel_affine(
            weight[:, columns],
            ours.scale.float()[:, group],
            zero.to(torch.int32),
            0,
            integers.lowest,
            integers.highest,
        )
        assert same_bits(ours.dequantize()[:, columns], theirs + 0.0)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch says that quantized tensors will go one day
def test_affine_bytes_match_torch_quantized_tensors() -> None:
    weight = normal_weight(6, 40)
    ours = quantize_weight(weight, IntegerFormat(8, symmetric=False))
    assert ours.zero_point is not None
    scale, zero = ours.scale[:, 0].double(), ours.zero_point[:, 0].long()
    theirs = torch.quantize_per_channel(weight, scale, zero, 0, torch.quint8).int_repr()
    assert torch.equal(ours.codes, theirs.to(torch.int16))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_step_spans_the_range_of_the_weights(bits: int, symmetric: bool) -> None:
    weight, integers = normal_weight(6, 40), IntegerFormat(bits, symmetric)
    extent = weight.abs().amax(1) if symmetric else weight.amax(1) - weight.amin(1)
    step = quantize_weight(weight, integers).scale.float()[:, 0]
    assert (step >= extent / integers.highest).all()
    assert (step <= extent / integers.highest * (1 + 2**-10)).all()  # rounded up to float16
