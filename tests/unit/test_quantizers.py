import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from gencomp_core.compression.quantizers import QuantizedWeight, quantize_weight
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.formats import IntegerFormat
from tests.tiny import same_bits

shapes = hnp.array_shapes(min_dims=2, max_dims=4, max_side=7)
numbers = st.floats(-1000, 1000, width=32) | st.floats(-1, 1, width=32) | st.just(0.0)
weights = hnp.arrays("float32", shapes, elements=numbers).map(torch.from_numpy)
formats = st.builds(IntegerFormat, st.integers(2, 8), st.booleans())
symmetric_formats = st.builds(IntegerFormat, st.integers(2, 8), st.just(True))
layouts = st.fixed_dictionaries(
    {
        "granularity": st.sampled_from(["tensor", "channel", "group"]),
        "group_size": st.integers(2, 9),
        "transposed": st.booleans(),
    }
)


def scale_per_weight(quantized: QuantizedWeight) -> Tensor:
    """The scale of every weight, in the weight's shape."""
    ones = torch.ones_like(quantized.codes)
    plain = QuantizedWeight(
        ones, quantized.scale, None, quantized.format, quantized.group_size, quantized.shape, quantized.transposed
    )
    return plain.dequantize()


@given(weights, formats, layouts)
def test_the_error_is_at_most_half_a_step(weight: Tensor, format: IntegerFormat, layout: dict) -> None:
    quantized = quantize_weight(weight, format, **layout)
    error = (quantized.dequantize() - weight).abs()
    half_step = scale_per_weight(quantized) / 2
    assert (error <= half_step + 1e-6 * weight.abs()).all()


@given(weights, formats, layouts, st.booleans())
def test_codes_stay_in_their_range(weight: Tensor, format: IntegerFormat, layout: dict, clip_mse: bool) -> None:
    quantized = quantize_weight(weight, format, clip_mse=clip_mse, **layout)
    assert quantized.codes.min() >= format.lowest
    assert quantized.codes.max() <= format.highest
    if quantized.zero_point is not None:
        assert quantized.zero_point.min() >= 0
        assert quantized.zero_point.max() <= format.highest


@given(weights, formats, layouts, st.booleans())
def test_zeros_stay_exact(weight: Tensor, format: IntegerFormat, layout: dict, clip_mse: bool) -> None:
    quantized = quantize_weight(weight, format, clip_mse=clip_mse, **layout)
    zeros = quantized.dequantize()[weight == 0]
    assert same_bits(zeros, torch.zeros_like(zeros))


@given(weights, formats, layouts)
def test_clipping_never_adds_squared_error(weight: Tensor, format: IntegerFormat, layout: dict) -> None:
    plain = quantize_weight(weight, format, **layout).dequantize()
    clipped = quantize_weight(weight, format, clip_mse=True, **layout).dequantize()
    plain_error, clipped_error = ((each - weight).double().square().sum() for each in (plain, clipped))
    assert clipped_error <= plain_error * (1 + 1e-5) + 1e-12


def test_clipping_pays_where_one_weight_sticks_out() -> None:
    weight = torch.cat([torch.linspace(-1, 1, 1001), torch.tensor([2.0])])[None]
    errors = [
        (quantize_weight(weight, IntegerFormat(3, True), clip_mse=clip).dequantize() - weight).square().sum()
        for clip in (False, True)
    ]
    assert errors[1] < 0.7 * errors[0]


@given(weights, symmetric_formats, layouts)
def test_what_is_quantized_quantizes_to_itself(weight: Tensor, format: IntegerFormat, layout: dict) -> None:
    once = quantize_weight(weight, format, **layout)
    twice = quantize_weight(once.dequantize(), format, **layout)
    assert torch.equal(twice.codes, once.codes)
    assert same_bits(twice.dequantize(), once.dequantize())


@given(weights, st.integers(2, 8), st.booleans())
def test_affine_weights_that_fill_the_range_quantize_to_themselves(weight: Tensor, bits: int, transposed: bool) -> None:
    integers = IntegerFormat(bits, symmetric=False)
    once = quantize_weight(weight, integers, transposed=transposed)
    assume((once.codes.amin(1) == 0).all() and (once.codes.amax(1) == integers.highest).all())
    twice = quantize_weight(once.dequantize(), integers, transposed=transposed)
    assert torch.equal(twice.codes, once.codes)
    assert same_bits(twice.dequantize(), once.dequantize())


@given(weights, formats, layouts)
def test_shapes_follow_the_rows(weight: Tensor, format: IntegerFormat, layout: dict) -> None:
    quantized = quantize_weight(weight, format, **layout)
    n_rows = weight.shape[1 if layout["transposed"] else 0]
    n_columns = weight.numel() // n_rows
    n_groups = -(-n_columns // min(layout["group_size"], n_columns))
    expected = {"tensor": (1, 1), "channel": (n_rows, 1), "group": (n_rows, n_groups)}[layout["granularity"]]
    assert quantized.codes.shape == (n_rows, n_columns)
    assert quantized.scale.shape == expected
    assert quantized.scale.dtype == torch.float16
    assert (quantized.scale > 0).all()
    assert quantized.dequantize().shape == weight.shape
    assert (quantized.zero_point is None) == format.symmetric


@given(weights, formats, layouts, st.integers(0, 2**32))
def test_masked_weights_are_zero_and_the_others_stay(
    weight: Tensor, format: IntegerFormat, layout: dict, seed: int
) -> None:
    keep = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    quantized = quantize_weight(weight, format, **layout)
    masked = quantized.with_zeros(keep)
    expected = quantized.dequantize().masked_fill(~keep, 0.0)
    assert same_bits(masked.dequantize(), expected)
    assert int(masked.zero_codes.sum()) == int((expected == 0).sum())


def test_each_row_of_a_transposed_weight_is_one_output_channel() -> None:
    weight = torch.ones(3, 2, 4, 4)  # in, out, height, width
    weight[:, 1] *= 100
    scale = quantize_weight(weight, IntegerFormat(8, True), transposed=True).scale
    assert scale.shape == (2, 1)
    assert scale[1] > 50 * scale[0]


def test_a_channel_of_zeros_has_a_scale() -> None:
    weight = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    for symmetric in (True, False):
        assert quantize_weight(weight, IntegerFormat(4, symmetric)).dequantize()[0].tolist() == [0.0, 0.0]


def test_negated_weights_have_negated_codes() -> None:
    weight = torch.randn(5, 33, generator=torch.Generator().manual_seed(0))
    codes = [quantize_weight(sign * weight, IntegerFormat(4, True)).codes for sign in (1, -1)]
    assert torch.equal(codes[0], -codes[1])


@pytest.mark.parametrize(("symmetric", "lowest", "highest"), [(True, -7, 7), (False, 0, 15)])
def test_four_bits_have_sixteen_integers_or_fifteen_around_zero(symmetric: bool, lowest: int, highest: int) -> None:
    assert (IntegerFormat(4, symmetric).lowest, IntegerFormat(4, symmetric).highest) == (lowest, highest)


@pytest.mark.parametrize("bits", range(2, 8))
def test_one_bit_more_halves_the_error(bits: int) -> None:
    weight = torch.rand(1, 4096, generator=torch.Generator().manual_seed(bits)) * 2 - 1
    rms = [
        (quantize_weight(weight, IntegerFormat(b, True)).dequantize() - weight).square().mean().sqrt()
        for b in (bits, bits + 1)
    ]
    n_steps = [2 ** (b - 1) - 1 for b in (bits, bits + 1)]
    assert rms[0] / rms[1] == pytest.approx(n_steps[1] / n_steps[0], rel=0.05)


def test_the_weight_is_left_alone() -> None:
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    before = weight.clone()
    quantize_weight(weight, IntegerFormat(2, False), clip_mse=True, granularity="group", group_size=2)
    assert torch.equal(weight, before)


def test_weights_beyond_a_float16_scale_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"must be at most 65,504 \(float16\), got 100,000. Skip the layer"):
        quantize_weight(torch.tensor([[1e5, 1.0]]), IntegerFormat(2, True))


# --- one bit, and ternary

signs = st.builds(IntegerFormat, st.just(1), st.just(True))


@given(weights, signs, layouts)
def test_one_bit_is_the_sign_and_the_mean(weight: Tensor, format: IntegerFormat, layout: dict) -> None:
    """Rastegari 2016, equation 6."""
    quantized = quantize_weight(weight, format, **layout)
    assert same_bits(quantized.dequantize().sign(), weight.sign() + 0.0)
    if layout["granularity"] == "tensor" and (weight != 0).any():
        mean = weight.abs().double().sum() / (weight != 0).sum()
        assert float(quantized.scale) == pytest.approx(max(float(mean), 2**-14), rel=2**-10)


@given(weights, signs, layouts)
def test_a_binary_weight_quantizes_to_itself(weight: Tensor, format: IntegerFormat, layout: dict) -> None:
    once = quantize_weight(weight, format, **layout)
    assert same_bits(quantize_weight(once.dequantize(), format, **layout).dequantize(), once.dequantize())


def test_the_mean_is_the_scale_with_the_least_error_for_signs() -> None:
    weight = torch.randn(1, 500, generator=torch.Generator().manual_seed(0))
    best = float(quantize_weight(weight, IntegerFormat(1, True)).scale)
    errors = {f: float((weight.sign() * best * f - weight).square().sum()) for f in (0.97, 1.0, 1.03)}
    assert min(errors, key=errors.__getitem__) == 1.0


@given(weights, st.booleans(), layouts)
def test_binary_weights_can_be_pruned_afterwards(weight: Tensor, symmetric: bool, layout: dict) -> None:
    quantized = quantize_weight(weight, IntegerFormat(1, symmetric), **layout)
    keep = weight > 0
    expected = quantized.dequantize().masked_fill(~keep, 0.0)
    assert same_bits(quantized.with_zeros(keep).dequantize(), expected)


def test_ternary_follows_its_threshold_and_its_mean() -> None:
    """Li & Liu 2016, equations 4 and 6, computed by hand: mean 2.85 / 4, threshold 0.499."""
    weight = torch.tensor([[0.2, -0.45, 1.2, -1.0]])
    quantized = quantize_weight(weight, IntegerFormat(2, True), ternary=True)
    assert quantized.codes.tolist() == [[0, 0, 1, -1]]
    assert float(quantized.scale) == pytest.approx(1.1, rel=2**-11)
    nearest = quantize_weight(weight, IntegerFormat(2, True))
    assert float(nearest.scale) == pytest.approx(1.2, rel=2**-10)


def test_pruned_weights_do_not_lower_the_ternary_threshold() -> None:
    weight = torch.tensor([[0.2, -0.45, 1.2, -1.0, 0.0, 0.0, 0.0, 0.0]])
    assert quantize_weight(weight, IntegerFormat(2, True), ternary=True).codes.tolist() == [[0, 0, 1, -1, 0, 0, 0, 0]]


@given(weights, layouts)
def test_ternary_keeps_zeros_and_signs(weight: Tensor, layout: dict) -> None:
    values = quantize_weight(weight, IntegerFormat(2, True), ternary=True, **layout).dequantize()
    assert same_bits(values[weight == 0], torch.zeros_like(values[weight == 0]))
    assert (values * weight >= 0).all()


def test_ternary_has_a_lower_error_than_two_bits_by_the_largest_weight() -> None:
    weight = torch.randn(8, 500, generator=torch.Generator().manual_seed(0))
    errors = [
        (quantize_weight(weight, IntegerFormat(2, True), ternary=ternary).dequantize() - weight).square().sum()
        for ternary in (False, True)
    ]
    assert errors[1] < 0.5 * errors[0]
