"""GPTQ, AdaRound, AWQ and low-rank branches against closed forms and full enumeration on small problems."""

import itertools
from functools import partial

import pytest
import torch
from torch import Tensor

from gencomp_core.compression.adaround import round_by_adaround
from gencomp_core.compression.gptq import layer_error, round_by_gptq
from gencomp_core.compression.low_rank import low_rank_factors
from gencomp_core.compression.quantizers import QuantizedWeight, find_steps, quantize_weight
from gencomp_core.compression.scaling import awq_scale
from gencomp_core.recipes.formats import IntegerFormat
from tests.tiny import same_bits

THREE = IntegerFormat(3, symmetric=True)
SCHEMES = [
    {"format": THREE},
    {"format": IntegerFormat(4, symmetric=False)},
    {"format": THREE, "granularity": "tensor"},
    {"format": THREE, "granularity": "group", "group_size": 10},
    {"format": IntegerFormat(3, symmetric=False), "granularity": "group", "group_size": 200},
    {"format": IntegerFormat(1, symmetric=True)},
    {"format": IntegerFormat(2, symmetric=True), "ternary": True},
]
of_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: "-".join(map(str, s.values())))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated_gram(n: int, seed: int = 0) -> Tensor:
    """Second moments of inputs that share a few directions."""
    x = noise(8 * n, 3, seed=seed) @ noise(3, n, seed=seed + 1) + 0.3 * noise(8 * n, n, seed=seed + 2)
    return x.T @ x / len(x)


def error(weight: Tensor, rounded: QuantizedWeight, gram: Tensor) -> float:
    return float(layer_error(rounded.dequantize() - weight, gram).sum())


def test_the_error_of_a_layer_is_that_of_its_outputs() -> None:
    x, difference = noise(50, 6), noise(4, 6, seed=1)
    expected = (x @ difference.T).square().mean(0)
    torch.testing.assert_close(layer_error(difference, x.T @ x / 50), expected)


# GPTQ


@of_scheme
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_with_uncorrelated_inputs_is_rounding_to_nearest(scheme: dict, act_order: bool) -> None:
    if scheme.get("ternary"):
        pytest.skip("ternary rounds at a threshold of its own")
    weight = noise(5, 300)
    nearest = quantize_weight(weight, **scheme)
    ours = round_by_gptq(weight, torch.eye(300), nearest, act_order=act_order)
    assert torch.equal(ours.codes, nearest.codes)
    assert same_bits(ours.dequantize(), nearest.dequantize())


@of_scheme
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_has_a_lower_layer_error_than_nearest(scheme: dict, act_order: bool) -> None:
    weight, gram = noise(16, 300), correlated_gram(300)
    nearest = quantize_weight(weight, **scheme)
    options = {"ternary": True} if scheme.get("ternary") else {}
    ours = round_by_gptq(weight, gram, nearest, act_order=act_order, **options)
    assert error(weight, ours, gram) < 0.8 * error(weight, nearest, gram)
    assert ours.codes.min() >= ours.format.lowest
    assert ours.codes.max() <= ours.format.highest


@pytest.mark.parametrize("seed", range(20))
def test_gptq_takes_the_best_second_weight_for_its_first(seed: int) -> None:
    """One row and two columns: w1 is rounded to nearest, and w2 to what enumeration finds best beside it."""
    weight = noise(1, 2, seed=seed)
    gram = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    nearest = quantize_weight(weight, THREE)
    ours = round_by_gptq(weight, gram, nearest, damping=1e-9)
    assert ours.codes[0, 0] == nearest.codes[0, 0]
    candidates = []
    for code in range(THREE.lowest, THREE.highest + 1):
        rounded = torch.tensor([[float(nearest.codes[0, 0]), float(code)]]) * nearest.scale.float()
        candidates.append((float(layer_error(rounded - weight, gram)), code))
    assert int(ours.codes[0, 1]) == min(candidates)[1]


def test_gptq_finds_scales_of_groups_as_it_goes() -> None:
    weight, gram = noise(4, 40), correlated_gram(40)
    nearest = quantize_weight(weight, THREE, granularity="group", group_size=10)
    ours = round_by_gptq(weight, gram, nearest)
    assert torch.equal(ours.scale[:, 0], nearest.scale[:, 0])
    assert not torch.equal(ours.scale[:, 1:], nearest.scale[:, 1:])
    ordered = round_by_gptq(weight, gram, nearest, act_order=True)
    assert torch.equal(ordered.scale, nearest.scale)


def test_pruned_weights_have_no_part_in_the_scales_that_gptq_finds() -> None:
    weight, gram = noise(4, 40), correlated_gram(40)
    weight[:, 10:20] = 0.0
    nearest = quantize_weight(weight, THREE, granularity="group", group_size=10)
    ours = round_by_gptq(weight, gram, nearest)
    assert (ours.scale[:, 1] == 2.0**-14).all()
    assert (ours.scale[:, 2] > 0.01).all()


def test_gptq_by_act_order_begins_with_the_largest_input() -> None:
    weight, gram = noise(6, 8), correlated_gram(8)
    gram[5] *= 30
    gram[:, 5] *= 30
    nearest = quantize_weight(weight, THREE)
    ours = round_by_gptq(weight, gram, nearest, act_order=True)
    assert torch.equal(ours.codes[:, 5], nearest.codes[:, 5])
    assert not torch.equal(ours.codes, nearest.codes)


@pytest.mark.parametrize("group_size", [None, 48])
def test_gptq_does_not_depend_on_its_blocks(group_size: int | None) -> None:
    """Equations 2 and 3 of the paper column by column, without any factorization; block ends lie inside groups."""
    weight, gram = noise(3, 200), correlated_gram(200)
    granularity = "channel" if group_size is None else "group"
    nearest = quantize_weight(weight, THREE, granularity=granularity, group_size=group_size)
    damped = gram.double() + 0.01 * gram.double().diagonal().mean() * torch.eye(200, dtype=torch.float64)
    inverse, current = torch.linalg.inv(damped), weight.double()
    codes, scale = torch.zeros(3, 200), nearest.scale[:, 0].double()
    for i in range(200):
        if group_size is not None and i % group_size == 0:
            group = current[:, None, i : i + group_size].float()
            scale = find_steps(group, THREE)[0][:, 0].double()
        codes[:, i] = (current[:, i] / scale).round().clamp(-3, 3)
        lost = (current[:, i] - codes[:, i] * scale) / inverse[i, i]
        current = current - lost[:, None] * inverse[i]
        inverse = inverse - inverse[:, i : i + 1] @ inverse[i : i + 1] / inverse[i, i]
        inverse[i, i] = 1.0
    assert (round_by_gptq(weight, gram, nearest).codes != codes).sum() == 0


# AdaRound


@of_scheme
def test_adaround_is_never_worse_than_nearest_in_any_row(scheme: dict) -> None:
    weight, gram = noise(16, 48), correlated_gram(48)
    nearest = quantize_weight(weight, **scheme)
    for iterations in (1, 30, 400):
        ours = round_by_adaround(weight, gram, nearest, iterations=iterations)
        before, after = (layer_error(q.dequantize() - weight, gram) for q in (nearest, ours))
        assert (after <= before * (1 + 1e-5)).all()
    assert after.sum() < 0.8 * before.sum()


def test_a_row_that_adaround_makes_worse_keeps_the_nearest_codes() -> None:
    """On this problem two of 200 rows end in a worse place when they are not compared."""
    weight, gram = noise(200, 6, seed=16), correlated_gram(6, 16)
    nearest = quantize_weight(weight, THREE)
    ours = round_by_adaround(weight, gram, nearest, iterations=60)
    before, after = (layer_error(q.dequantize() - weight, gram) for q in (nearest, ours))
    assert (after <= before * (1 + 1e-5)).all()


@of_scheme
def test_adaround_stays_next_to_the_weight(scheme: dict) -> None:
    weight, gram = noise(8, 40), correlated_gram(40)
    nearest = quantize_weight(weight, **scheme)
    ours = round_by_adaround(weight, gram, nearest, iterations=300)
    assert torch.equal(ours.scale, nearest.scale)
    if not scheme.get("ternary") and ours.format.bits > 1:
        step = ours.spread(ours.scale).float()
        assert ((ours.dequantize() - weight).abs() <= step * 1.0001).all()
    assert ours.codes.min() >= ours.format.lowest
    assert ours.codes.max() <= ours.format.highest


def test_adaround_finds_the_best_of_all_roundings_in_most_small_problems() -> None:
    n_problems, n_columns = 40, 8
    weight, gram = noise(n_problems, n_columns), correlated_gram(n_columns) + torch.eye(n_columns)
    nearest = quantize_weight(weight, IntegerFormat(4, symmetric=True))
    ours = layer_error(round_by_adaround(weight, gram, nearest).dequantize() - weight, gram)
    scale = nearest.scale.float()
    below = (weight / scale).floor()
    choices = torch.tensor(list(itertools.product((0.0, 1.0), repeat=n_columns)))
    every = torch.stack([layer_error((below + up).clamp(-7, 7) * scale - weight, gram) for up in choices])
    least = every.min(0).values
    nearest_error = layer_error(nearest.dequantize() - weight, gram)
    found = (ours <= least * (1 + 1e-4)).float().mean()
    assert found > 0.8
    assert (nearest_error <= least * (1 + 1e-4)).float().mean() < 0.4
    assert (ours.sum() - least.sum()) < 0.1 * (nearest_error.sum() - least.sum())


def test_no_single_flip_makes_an_adarounded_row_better() -> None:
    weight, gram = noise(6, 12), correlated_gram(12)
    nearest = quantize_weight(weight, IntegerFormat(4, symmetric=True))
    ours = round_by_adaround(weight, gram, nearest, iterations=100)
    scale, least = nearest.scale.float(), layer_error(ours.dequantize() - weight, gram)
    below = (weight / scale).floor()
    for i in range(12):
        flipped = ours.codes.float()
        flipped[:, i] = 2 * below[:, i] + 1 - flipped[:, i]
        assert (layer_error(flipped * scale - weight, gram) >= least * (1 - 1e-4)).all()


# Zeros


@of_scheme
@pytest.mark.parametrize("rounding", [round_by_gptq, partial(round_by_adaround, iterations=200)])
def test_exact_zeros_stay_exact_zeros(scheme: dict, rounding) -> None:
    weight = noise(8, 40)
    keep = noise(8, 40, seed=5) > 0
    weight.masked_fill_(~keep, 0.0)
    ours = rounding(weight, correlated_gram(40), quantize_weight(weight, **scheme))
    zeros = ours.dequantize()[~keep]
    assert same_bits(zeros, torch.zeros_like(zeros))
    assert (ours.dequantize() != 0).any()


# AWQ


def test_awq_never_has_a_larger_layer_error_than_nearest() -> None:
    weight = noise(16, 24)
    x = noise(500, 24, seed=1) * torch.tensor([20.0] + [1.0] * 11).repeat(2)
    gram = x.T @ x / 500
    quantize = partial(quantize_weight, format=THREE)
    scale = awq_scale(weight, gram, 24, quantize)
    scaled = quantize(weight * scale).dequantize() / scale
    before, after = (layer_error(w - weight, gram).sum() for w in (quantize(weight).dequantize(), scaled))
    assert after < 0.7 * before
    rms = gram.diagonal().sqrt()
    for power in (0.25, 0.5, 0.75, 1.0):
        other = rms**power / ((rms**power).max() * (rms**power).min()).sqrt()
        assert after <= layer_error(quantize(weight * other).dequantize() / other - weight, gram).sum() * (1 + 1e-5)
    assert scale[0] > scale[1]
    assert scale[12] > scale[13]


def test_awq_scales_are_those_of_input_channels_and_one_where_there_is_no_input() -> None:
    weight, gram = noise(6, 12), torch.diag(torch.tensor([0.0, 0, 0, 400, 400, 400, 1, 1, 1, 1, 1, 1]))
    scale = awq_scale(weight, gram, 4, partial(quantize_weight, format=THREE))
    assert scale.shape == (4,)
    assert scale[0] == 1
    assert scale[1] > 1 > scale[2]
    assert scale[1] * scale[2] == pytest.approx(1)
    assert torch.equal(awq_scale(weight, torch.eye(12), 4, partial(quantize_weight, format=THREE)), torch.ones(4))


# Low rank


@pytest.mark.parametrize("rank", [1, 3, 9])
def test_what_a_branch_leaves_are_the_other_singular_values(rank: int) -> None:
    """Eckart & Young 1936."""
    difference = noise(9, 14)
    wide, thin = low_rank_factors(difference, rank)
    assert wide.shape == (9, rank)
    assert thin.shape == (rank, 14)
    left = (difference - wide @ thin).square().sum()
    tail = torch.linalg.svdvals(difference)[rank:].square().sum()
    torch.testing.assert_close(left, tail, atol=1e-5, rtol=1e-4)


def test_a_weighted_branch_leaves_the_other_singular_values_of_the_output_error() -> None:
    difference, gram = noise(9, 14), correlated_gram(14)
    root = torch.linalg.cholesky(gram.double()).float()
    wide, thin = low_rank_factors(difference, 3, gram)
    left = layer_error(difference - wide @ thin, gram).sum()
    tail = torch.linalg.svdvals(difference @ root)[3:].square().sum()
    torch.testing.assert_close(left, tail, atol=1e-4, rtol=1e-3)
    plain_wide, plain_thin = low_rank_factors(difference, 3)
    assert left < layer_error(difference - plain_wide @ plain_thin, gram).sum()


# NNCF


def test_scales_and_zero_points_are_those_of_nncf() -> None:
    """Computed with NNCF 2.19.0 on the same weights; ours are rounded up to float16.

    Affine: `do_integer_quantization` in mode INT8_ASYM; symmetric: `calculate_quantizer_parameters` with a narrow
    range, of the ranges of |w|.
    """
    weight = noise(4, 16) + 0.1
    affine = quantize_weight(weight, IntegerFormat(8, symmetric=False))
    steps = torch.tensor([0.013148538768291473, 0.013917401432991028, 0.015250565484166145, 0.019379163160920143])
    assert (affine.scale.float()[:, 0] >= steps).all()
    assert (affine.scale.float()[:, 0] <= steps * (1 + 2**-10)).all()
    assert affine.zero_point is not None
    assert affine.zero_point[:, 0].tolist() == [153, 115, 97, 74]
    assert affine.codes[0].tolist() == [75, 73, 142, 128, 225, 213, 137, 0, 185, 65, 187, 184, 170, 255, 246, 142]
    symmetric = quantize_weight(weight, IntegerFormat(8, symmetric=True)).scale.float()[1:, 0]
    steps = torch.tensor([0.015378001146018505, 0.018915001302957535, 0.02764175273478031])
    assert (symmetric >= steps).all()
    assert (symmetric <= steps * (1 + 2**-10)).all()
