"""Active units and latent paths against closed forms and scipy's rotations."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor
from torch.nn.functional import normalize

from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.latent import active_units, interpolate, interpolation_latents, unit_variances


def normal(n: int, d: int, *, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# --- active units


def test_variances_of_known_columns() -> None:
    alternating = torch.tensor([-1.0, 1.0] * 50)[:, None]  # variance 100 / 99
    means = alternating * torch.tensor([1.0, 0.05, 0.0, 2.0]) + torch.tensor([0.0, 9.0, 5.0, -3.0])
    assert unit_variances(means).tolist() == pytest.approx([v * 100 / 99 for v in (1, 0.0025, 0, 4)], rel=1e-5)
    assert active_units(means) == [0, 3]


def test_a_unit_is_active_above_one_hundredth() -> None:
    alternating = torch.tensor([-1.0, 1.0] * 5000)[:, None]
    assert active_units(alternating * torch.tensor([0.0999, 0.1001])) == [1]
    assert active_units(alternating * torch.tensor([0.0999, 0.1001]), threshold=0.001) == [0, 1]
    assert active_units(torch.zeros(10, 4)) == []


def test_one_image_has_no_active_units() -> None:
    with pytest.raises(EvaluationError, match="Active units need at least 2 images, got 1. Encode more."):
        active_units(torch.zeros(1, 4))


# --- spherical path


def test_the_ends_are_the_latents_themselves() -> None:
    first, last = normal(6, 32, seed=0), normal(6, 32, seed=1)
    for path in ("spherical", "linear"):
        strip = interpolate(first, last, 5, path=path)
        assert strip.shape == (6, 5, 32)
        assert strip.dtype == torch.float32
        assert torch.equal(strip[:, 0], first)
        assert torch.equal(strip[:, -1], last)


@given(st.integers(2, 40), st.integers(2, 9), st.integers(0, 1000))
def test_unit_vectors_stay_on_the_sphere_and_turn_evenly(d: int, n: int, seed: int) -> None:
    first, last = normalize(normal(2, d, seed=seed).double()).split(1)
    strip = interpolate(first, last, n)[0]
    assert strip.norm(dim=1).tolist() == pytest.approx([1] * n, abs=1e-9)
    turned = [math.acos(max(-1, min(1, float(a @ b)))) for a, b in pairwise(strip)]
    assert turned == pytest.approx([turned[0]] * (n - 1), abs=1e-6)


def test_the_middle_of_unit_vectors_is_their_normalized_sum() -> None:
    first, last = normalize(normal(5, 8, seed=0)), normalize(normal(5, 8, seed=1))
    torch.testing.assert_close(interpolate(first, last, 3)[:, 1], normalize(first + last))


def test_thirds_of_a_right_angle() -> None:
    strip = interpolate(torch.tensor([[2.0, 0]]), torch.tensor([[0, 2.0]]), 4)[0]
    root = math.sqrt(3)
    torch.testing.assert_close(strip, torch.tensor([[2, 0], [root, 1], [1, root], [0, 2]]))


def test_unequal_lengths_keep_the_formula_of_the_paper() -> None:
    middle = interpolate(torch.tensor([[1.0, 0]]), torch.tensor([[0, 3.0]]), 3)[0, 1]
    weight = math.sin(math.pi / 4) / math.sin(math.pi / 2)
    torch.testing.assert_close(middle, torch.tensor([weight, 3 * weight]))


def test_quaternions_turn_as_scipy_turns_rotations() -> None:
    first, last = normalize(normal(2, 4, seed=3).double()).split(1)
    last = last * (first * last).sum().sign()  # scipy takes the nearer of the two quaternions of a rotation
    ours = interpolate(first, last, 7)[0].numpy()
    turns = Slerp([0, 1], Rotation.from_quat(torch.cat([first, last]).numpy()))(np.linspace(0, 1, 7))
    assert np.abs((Rotation.from_quat(ours) * turns.inv()).magnitude()).max() < 1e-7


def test_the_norm_of_gaussian_latents_hardly_falls_where_a_straight_line_loses_a_third() -> None:
    first, last = normal(200, 128, seed=0), normal(200, 128, seed=1)
    curved, straight = (
        interpolate(first, last, 3, path=path)[:, 1].norm(dim=1).mean() for path in ("spherical", "linear")
    )
    typical = float(first.norm(dim=1).mean())
    assert float(curved) == pytest.approx(typical, rel=0.01)
    assert float(straight) == pytest.approx(typical / math.sqrt(2), rel=0.02)


@pytest.mark.parametrize("factor", [1.0, 2.0, 1 + 1e-7, 0.0, -1.0])
def test_parallel_latents_are_joined_by_a_line(factor: float) -> None:
    first = normal(3, 16, seed=0)
    expected = first * (1 + factor) / 2 if factor else first * math.sin(math.pi / 4)
    torch.testing.assert_close(interpolate(first, first * factor, 3)[:, 1], expected)


def test_nearly_equal_latents_do_not_lose_digits() -> None:
    first = torch.tensor([[1.0, 0]], dtype=torch.float64)
    last = torch.tensor([[math.cos(1e-5), math.sin(1e-5)]], dtype=torch.float64)
    quarter = interpolate(first, last, 5)[0, 1]
    assert quarter.tolist() == pytest.approx([math.cos(2.5e-6), math.sin(2.5e-6)], rel=1e-9)


# --- straight path, strips


def test_a_straight_path_has_even_steps() -> None:
    strip = interpolate(torch.tensor([[0.0, 4.0]]), torch.tensor([[1.0, 0.0]]), 5, path="linear")[0]
    assert strip.tolist() == [[0, 4], [0.25, 3], [0.5, 2], [0.75, 1], [1, 0]]


def test_strips_follow_one_another() -> None:
    first, last = normal(3, 8, seed=0), normal(3, 8, seed=1)
    for path in ("spherical", "linear"):
        latents = interpolation_latents(first, last, 5, path=path)
        assert latents.shape == (15, 8)
        assert torch.equal(latents[5:10], interpolate(first[1:2], last[1:2], 5, path=path)[0])


def test_a_path_has_two_ends() -> None:
    with pytest.raises(EvaluationError, match="needs at least its 2 ends, got n = 1. Ask for more steps."):
        interpolate(torch.zeros(1, 2), torch.ones(1, 2), 1)
