"""Weights as shorter floats, against torch's own casts and the published NF4 codebook."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import norm
from torch import Tensor

from gencomp_core.compression.float_formats import NF4_LEVELS, decode, encode
from gencomp_core.compression.quantizers import quantize_weight
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.formats import FloatFormat, IntegerFormat
from gencomp_core.variant import compress
from tests.tiny import TinyDiffusion, TinyGAN, TinyVAE, TinyVerses, pruning, quantization, recipe, same_bits

NAMES = ("float16", "bfloat16", "float8_e4m3fn", "nf4")
of_name = pytest.mark.parametrize("name", NAMES)
shapes = hnp.array_shapes(min_dims=2, max_dims=4, max_side=7)
numbers = st.floats(-1000, 1000, width=32) | st.floats(-1, 1, width=32) | st.just(0.0)
weights = hnp.arrays("float32", shapes, elements=numbers).map(torch.from_numpy)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@given(weight=weights, transposed=st.booleans())
def test_halves_are_torchs_own_cast(name: str, weight: Tensor, transposed: bool) -> None:
    ours = quantize_weight(weight, FloatFormat(name), transposed=transposed).dequantize()
    assert same_bits(ours, weight.to(getattr(torch, name)).float() + 0.0)  # ours has no -0.0


@given(weight=weights)
def test_fp8_is_torchs_own_cast_of_the_scaled_weight(weight: Tensor) -> None:
    ours = quantize_weight(weight, FloatFormat("float8_e4m3fn"))
    scale = ours.scale.float().view(-1, *[1] * (weight.ndim - 1))
    assert same_bits(ours.dequantize(), (weight / scale).to(torch.float8_e4m3fn).float() * scale + 0.0)
    largest = weight.abs().flatten(1).amax(1)
    assert (largest / ours.scale[:, 0].float() <= 448).all()


def test_fp8_uses_its_whole_range() -> None:
    ours = quantize_weight(noise(6, 50), FloatFormat("float8_e4m3fn"))
    assert (ours.codes & 0x7F).amax(1).tolist() == [0x7E] * 6  # 448, the largest number; 0x7F is not a number


def test_the_codebook_is_the_published_one() -> None:
    """QLoRA, appendix E: quantiles of a normal distribution, seven below zero and eight above, over the largest."""
    offset = 0.9677083
    above = norm.ppf(torch.linspace(offset, 0.5, 9)[:-1].double().numpy()).tolist()
    below = (-norm.ppf(torch.linspace(offset, 0.5, 8)[:-1].double().numpy())).tolist()
    levels = torch.tensor(sorted([*above, 0.0, *below]))
    torch.testing.assert_close(torch.tensor(NF4_LEVELS), levels / levels.max(), atol=1e-6, rtol=0)
    assert len(NF4_LEVELS) == 16
    assert NF4_LEVELS[1] == -0.6961928009986877
    assert NF4_LEVELS[14] == 0.7229568362236023


def test_nf4_takes_the_nearest_level() -> None:
    values = torch.linspace(-1, 1, 1001)
    codes = encode(values, FloatFormat("nf4"))
    nearest = (values[:, None] - torch.tensor(NF4_LEVELS)).abs().argmin(1)
    assert torch.equal(codes.long(), nearest)


def test_nf4_scales_each_block_of_64_by_its_largest() -> None:
    weight = noise(3, 150)
    ours = quantize_weight(weight, FloatFormat("nf4"))
    blocks = [weight[:, :64], weight[:, 64:128], weight[:, 128:]]
    expected = torch.stack([block.abs().amax(1) for block in blocks], dim=1)
    assert ours.scale.shape == (3, 3)
    assert (ours.scale.float() >= expected).all()
    assert (ours.scale.float() <= expected * (1 + 2**-10)).all()


@of_name
@given(weight=weights)
def test_zeros_stay_exact_and_no_zero_is_negative(name: str, weight: Tensor) -> None:
    values = quantize_weight(weight, FloatFormat(name)).dequantize()
    assert same_bits(values[weight == 0], torch.zeros_like(values[weight == 0]))
    assert not torch.signbit(values[values == 0]).any()


@of_name
@given(weight=weights, seed=st.integers(0, 99))
def test_masked_weights_are_zero_and_the_others_stay(name: str, weight: Tensor, seed: int) -> None:
    keep = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    quantized = quantize_weight(weight, FloatFormat(name))
    masked = quantized.with_zeros(keep)
    assert same_bits(masked.dequantize(), quantized.dequantize().masked_fill(~keep, 0.0))
    assert int(masked.zero_codes.sum()) == int((masked.dequantize() == 0).sum())


@of_name
def test_every_code_of_a_number_comes_back(name: str) -> None:
    own = FloatFormat(name)
    codes = torch.arange(1 << own.bits).to(torch.int16)
    values = decode(codes, own)
    usable = values.isfinite() & ~((values == 0) & torch.signbit(values))
    assert torch.equal(encode(values[usable], own), codes[usable])
    assert int(usable.sum()) == {"float16": 63_487, "bfloat16": 65_279, "float8_e4m3fn": 253, "nf4": 16}[name]


def test_longer_formats_have_smaller_errors() -> None:
    weight = noise(16, 128)
    errors = [(quantize_weight(weight, FloatFormat(name)).dequantize() - weight).square().mean() for name in NAMES]
    assert errors[0] < errors[1] < errors[2] < errors[3]


def test_weights_beyond_float16_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"must be at most 65,504 to be float16, got 100,000. Use bfloat16"):
        quantize_weight(torch.tensor([[1e5, 1.0]]), FloatFormat("float16"))
    assert quantize_weight(torch.tensor([[1e5, 1.0]]), FloatFormat("bfloat16")).dequantize()[0, 0] > 9e4


# The stage


@of_name
@pytest.mark.parametrize("workload", [TinyDiffusion(), TinyGAN(), TinyVAE(), TinyVerses()], ids=lambda w: w.name)
def test_it_works_on_every_workload_and_between_other_stages(workload, name: str) -> None:
    pruned = compress(workload, recipe(pruning(0.5)))
    variant = compress(workload, recipe(pruning(0.5), {"kind": "float-format", "format": name}, pruning(0.7)))
    for layer, quantized in variant.quantized.items():
        weight = variant.model.get_submodule(layer).weight
        assert quantized.format == FloatFormat(name)
        assert same_bits(weight, quantized.dequantize())
        assert (weight[pruned.model.get_submodule(layer).weight == 0] == 0).all()
        assert int((weight == 0).sum()) >= round(0.7 * weight.numel())


def test_sensitive_layers_stay_wider() -> None:
    """Hybrid integer and float: all layers in four bits, but one in FP8."""
    integers = quantization(4, layers={"out": {"skip": True}})
    floats = {
        "kind": "float-format",
        "format": "nf4",
        "layers": {"*": {"skip": True}, "out": {"format": "float8_e4m3fn"}},
    }
    variant = compress(TinyDiffusion(), recipe(integers, floats))
    assert variant.quantized.pop("out").format == FloatFormat("float8_e4m3fn")
    assert {own.format for own in variant.quantized.values()} == {IntegerFormat(4, symmetric=True)}
