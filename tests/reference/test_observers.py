"""Ranges and rounding of activations against torch's own observers and fake quantization."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.ao.quantization import HistogramObserver, MinMaxObserver
from torch.nn import functional as F

from gencomp_core.compression.observers import (
    N_BINS,
    Histogram,
    ValueRange,
    fake_quantize,
    fake_quantize_rows,
    least_error_range,
    percentile_range,
    quantization_parameters,
    range_of,
)
from gencomp_core.recipes.formats import IntegerFormat
from tests.tiny import same_bits


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_outliers() -> Tensor:
    values = noise(3, 64, 500)
    values[0, :8] *= 12
    return values


DATA = {
    "normal": noise(0, 64, 500),
    "shifted": noise(1, 64, 500) * 0.3 + 2,
    "relu": noise(2, 64, 500).relu(),
    "silu": F.silu(noise(4, 64, 500) * 3),
    "outliers": with_outliers(),
}
of_data = pytest.mark.parametrize("values", DATA.values(), ids=DATA)
of_width = pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
of_sign = pytest.mark.parametrize("symmetric", [False, True])


def theirs(observer: type, integers: IntegerFormat) -> torch.nn.Module:
    scheme, dtype = (
        (torch.per_tensor_symmetric, torch.qint8) if integers.symmetric else (torch.per_tensor_affine, torch.quint8)
    )
    return observer(dtype=dtype, qscheme=scheme, quant_min=integers.lowest, quant_max=integers.highest)


def parameters(span: ValueRange, integers: IntegerFormat) -> tuple[Tensor, Tensor]:
    return quantization_parameters(torch.tensor([span.low]), torch.tensor([span.high]), integers)


def counted(values: Tensor, *, symmetric: bool) -> Histogram:
    span = range_of(values)
    seen = Histogram.over(span.mirrored() if symmetric else span)
    for batch in values:
        seen.add_(batch)
    return seen


def squared_error(values: Tensor, scale: Tensor, zero_point: Tensor, integers: IntegerFormat) -> float:
    return float((fake_quantize(values, scale, zero_point, integers) - values).double().square().sum())


@of_data
@of_width
@of_sign
def test_min_max_is_torchs_bit_for_bit(values: Tensor, bits: int, symmetric: bool) -> None:
    integers = IntegerFormat(bits, symmetric)
    observer = theirs(MinMaxObserver, integers)
    observer(values)
    scale, zero_point = observer.calculate_qparams()
    own_scale, own_zero_point = parameters(range_of(values), integers)
    assert same_bits(own_scale, scale)
    assert torch.equal(own_zero_point, zero_point.to(torch.int32))


@of_data
@of_width
def test_least_error_is_at_least_as_good_as_torchs_search(values: Tensor, bits: int) -> None:
    integers = IntegerFormat(bits, symmetric=False)
    observer = theirs(HistogramObserver, integers)
    observer(values)
    reference = squared_error(values, *observer.calculate_qparams(), integers)
    own = squared_error(
        values, *parameters(least_error_range(counted(values, symmetric=False), integers), integers), integers
    )
    plain = squared_error(values, *parameters(range_of(values), integers), integers)
    assert own <= 1.03 * reference
    assert own <= 1.01 * plain


@pytest.mark.parametrize(("bits", "step"), [(4, 0.3352), (5, 0.1881), (6, 0.1041), (7, 0.0569), (8, 0.0308)])
def test_least_error_finds_the_best_step_for_normal_values(bits: int, step: float) -> None:
    """Max 1960, Quantizing for minimum distortion, table II; from 6 bits on Jayant & Noll 1984, table 4.2."""
    integers = IntegerFormat(bits, symmetric=False)
    found, _ = parameters(least_error_range(counted(noise(7, 64, 5000), symmetric=False), integers), integers)
    assert float(found) == pytest.approx(step, rel=0.05)


def test_least_error_finds_about_torchs_scale_at_8_bits() -> None:
    integers = IntegerFormat(8, symmetric=False)
    observer = theirs(HistogramObserver, integers)
    observer(DATA["normal"])
    scale, _ = observer.calculate_qparams()
    found, _ = parameters(least_error_range(counted(DATA["normal"], symmetric=False), integers), integers)
    assert float(found) == pytest.approx(float(scale), rel=0.1)


@of_sign
def test_least_error_is_that_of_an_exhaustive_search_over_the_values_themselves(symmetric: bool) -> None:
    integers, values = IntegerFormat(4, symmetric), DATA["outliers"]
    found = least_error_range(counted(values, symmetric=symmetric), integers)
    span = range_of(values)
    best = min(
        squared_error(values, *parameters(ValueRange(low * span.low, high * span.high), integers), integers)
        for low in torch.linspace(0.1, 1, 19).tolist()
        for high in torch.linspace(0.1, 1, 19).tolist()
    )
    assert squared_error(values, *parameters(found, integers), integers) <= 1.02 * best


@of_data
@pytest.mark.parametrize("percentile", [95.0, 99.0, 99.9])
def test_percentiles_are_numpys_to_a_bin(values: Tensor, percentile: float) -> None:
    span = range_of(values)
    found = percentile_range(counted(values, symmetric=False), percentile, symmetric=False)
    width, one_value = (span.high - span.low) / N_BINS, 100 / values.numel()
    shares = [
        100 - percentile - one_value,
        100 - percentile + one_value,
        percentile - one_value,
        percentile + one_value,
    ]
    ends = np.percentile(values.numpy(), shares)
    assert min(ends[0], 0) - width <= found.low <= min(ends[1], 0) + width
    assert max(ends[2], 0) - width <= found.high <= max(ends[3], 0) + width


def test_a_symmetric_percentile_is_that_of_the_size() -> None:
    values = DATA["silu"]
    found = percentile_range(counted(values, symmetric=True), 99.0, symmetric=True)
    width = 2 * range_of(values).high / N_BINS
    assert found.high == pytest.approx(float(np.percentile(values.abs().numpy(), 99)), abs=2 * width)
    assert found.low == -found.high


@of_data
@of_sign
def test_the_hundredth_percentile_is_min_max(values: Tensor, symmetric: bool) -> None:
    span = range_of(values)
    expected = span.mirrored() if symmetric else span
    assert percentile_range(counted(values, symmetric=symmetric), 100.0, symmetric=symmetric) == pytest.approx(expected)


def test_a_histogram_counts_like_numpys() -> None:
    values = DATA["normal"]
    seen = counted(values, symmetric=False)
    expected, _ = np.histogram(values.double().numpy(), bins=N_BINS, range=range_of(values))
    assert int(seen.counts.sum()) == values.numel()
    assert np.abs(np.cumsum(seen.counts.numpy()) - np.cumsum(expected)).max() <= 3  # values on an edge


finite = st.floats(-1e4, 1e4, width=32)


@settings(deadline=None)
@given(
    st.lists(finite, min_size=1, max_size=40),
    st.floats(2**-16, 1024, width=32),
    st.integers(0, 255),
    st.integers(4, 8),
    st.booleans(),
)
def test_rounding_is_torchs_bit_for_bit_with_and_without_gradients(
    values: list[float], scale: float, zero: int, bits: int, symmetric: bool
) -> None:
    integers = IntegerFormat(bits, symmetric)
    zero = 0 if symmetric else min(zero, integers.highest)
    x, step, point = torch.tensor(values), torch.tensor(scale), torch.tensor(float(zero))
    expected = torch.fake_quantize_per_tensor_affine(x, scale, zero, integers.lowest, integers.highest)
    assert same_bits(fake_quantize(x, step, point, integers), expected)
    with torch.inference_mode():
        assert same_bits(fake_quantize(x, step, point, integers), expected)


@of_width
@of_sign
def test_rounding_rows_is_torchs_bit_for_bit(bits: int, symmetric: bool) -> None:
    integers, rows = IntegerFormat(bits, symmetric), noise(bits, 9, 31) * torch.logspace(-3, 3, 9)[:, None]
    low, high = rows.amin(1), rows.amax(1)
    scale, zero_point = quantization_parameters(low.clamp_max(0), high.clamp_min(0), integers)
    expected = torch.stack(
        [
            torch.fake_quantize_per_tensor_affine(row, float(s), int(z), integers.lowest, integers.highest)
            for row, s, z in zip(rows, scale, zero_point, strict=True)
        ]
    )
    assert same_bits(fake_quantize_rows(rows, scale, zero_point, integers), expected)
    with torch.inference_mode():
        assert same_bits(fake_quantize_rows(rows, scale, zero_point, integers), expected)


def test_values_halfway_between_two_codes_go_where_torch_sends_them() -> None:
    integers = IntegerFormat(8, symmetric=False)
    for scale in torch.rand(200, generator=torch.Generator().manual_seed(0)):
        x = (torch.arange(-128, 127) + 0.5) * scale
        expected = torch.fake_quantize_per_tensor_affine(x, float(scale), 128, 0, 255)
        with torch.inference_mode():
            assert same_bits(fake_quantize(x, scale, torch.tensor(128.0), integers), expected)
