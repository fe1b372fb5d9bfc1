"""Class coverage against scipy and closed forms; same-class diversity against scaled clouds and Gaussians."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor

from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.diversity import (
    class_accuracy,
    class_shares,
    diversity_by_class,
    kl_to_uniform,
    modes_hit,
    per_class_change,
    same_class_diversity,
)


def normal(n: int, d: int, *, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def histogram(*counts: int) -> Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


# --- classes


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any))
def test_kl_is_that_of_scipy(counts: list[int]) -> None:
    uniform = [1 / len(counts)] * len(counts)
    expected = entropy([count / sum(counts) for count in counts], uniform)
    assert kl_to_uniform(histogram(*counts), len(counts)) == pytest.approx(expected, abs=1e-12)


def test_kl_of_even_one_and_half_of_the_classes() -> None:
    assert kl_to_uniform(histogram(7, 7, 7, 7), 4) == pytest.approx(0, abs=1e-12)
    assert kl_to_uniform(histogram(0, 0, 9), 10) == pytest.approx(math.log(10))
    assert kl_to_uniform(histogram(5, 5, 5), 6) == pytest.approx(math.log(2))


def test_a_class_is_hit_from_a_tenth_of_an_even_share_on() -> None:
    predicted = histogram(60, 30, 1, 9)  # an even share is 25 of 100
    assert class_shares(predicted, 4).tolist() == [0.6, 0.3, 0.01, 0.09]
    assert modes_hit(predicted, 4) == 3
    assert modes_hit(predicted, 4, share=0.36) == 3
    assert modes_hit(predicted, 4, share=0.37) == 2
    assert class_shares(histogram(10), 4).tolist() == [1, 0, 0, 0]
    assert modes_hit(histogram(10), 4) == 1


def test_accuracy_counts_only_samples_asked_for_in_the_class() -> None:
    asked = torch.tensor([0, 0, 0, 0, 2, 2])
    predicted = torch.tensor([0, 0, 0, 1, 2, 0])
    assert class_accuracy(predicted, asked) == {0: 0.75, 2: 0.5}


# --- diversity within classes


@pytest.fixture
def real() -> tuple[Tensor, Tensor]:
    """Three classes of 40, each farther out and wider than the one before."""
    labels = torch.arange(120) % 3
    return normal(120, 5, seed=0) * (labels[:, None] + 1) + 30 * labels[:, None], labels


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 1.7])
def test_clouds_scaled_about_their_centres_are_as_diverse_as_the_scale(
    scale: float, real: tuple[Tensor, Tensor]
) -> None:
    cloud, labels = real
    centres = torch.stack([cloud[labels == label].mean(0) for label in range(3)])[labels]
    samples = centres + scale * (cloud - centres) + 5  # where a cloud lies does not matter
    assert same_class_diversity(samples, labels, cloud, labels).value == pytest.approx(scale, rel=1e-4)
    by_class = diversity_by_class(samples, labels, cloud, labels)
    assert [by_class[label].value for label in range(3)] == pytest.approx([scale] * 3, rel=1e-4)


def test_collapsed_classes_have_no_diversity(real: tuple[Tensor, Tensor]) -> None:
    cloud, labels = real
    collapsed = cloud[:3].repeat(40, 1)
    interval = same_class_diversity(collapsed, labels, cloud, labels)
    assert (interval.low, interval.value, interval.high) == (0, 0, 0)


def test_one_collapsed_class_is_named_and_counts_a_third(real: tuple[Tensor, Tensor]) -> None:
    cloud, labels = real
    samples = torch.where(labels[:, None] == 1, cloud[1], cloud)
    by_class = diversity_by_class(samples, labels, cloud, labels)
    assert [by_class[label].value for label in range(3)] == pytest.approx([1, 0, 1], abs=1e-5)
    assert same_class_diversity(samples, labels, cloud, labels).value == pytest.approx(2 / 3, rel=1e-5)


def test_gaussians_are_at_the_mean_distance_of_the_chi_distribution() -> None:
    d, sigma = 5, 0.6
    mean_distance = 2 * sigma * math.gamma((d + 1) / 2) / math.gamma(d / 2)  # of N(0, σ² I): σ √2 times chi's mean
    line = torch.zeros(2, d)
    line[1, 0] = 3.0  # two real images at distance 3
    one_class = torch.zeros(2000, dtype=torch.int64)
    interval = same_class_diversity(sigma * normal(2000, d, seed=0), one_class, line, one_class[:2])
    assert interval.value == pytest.approx(mean_distance / 3, rel=0.02)
    assert interval.low < mean_distance / 3 < interval.high
    assert 0.01 < (interval.high - interval.low) / interval.value < 0.05


def test_intervals_cover_the_mean_distance_as_often_as_they_say() -> None:
    d, n = 3, 40
    expected = 2 * math.gamma((d + 1) / 2) / math.gamma(d / 2)
    pair = torch.eye(2, d) / 2**0.5  # at distance 1
    labels = torch.zeros(n, dtype=torch.int64)
    found = [same_class_diversity(normal(n, d, seed=i), labels, pair, labels[:2]) for i in range(100)]
    assert 86 <= sum(interval.low <= expected <= interval.high for interval in found) <= 99


def test_four_classes_give_half_the_width_of_one() -> None:
    labels = torch.arange(400) % 4
    found = [(normal(400, 3, seed=seed), labels, normal(400, 3, seed=9), labels) for seed in range(3)]
    for samples in found:
        together, by_class = same_class_diversity(*samples), diversity_by_class(*samples)
        mean_width = sum(each.high - each.low for each in by_class.values()) / 4
        assert together.high - together.low == pytest.approx(mean_width / 2, rel=0.15)


def test_a_class_with_one_sample_is_left_out(real: tuple[Tensor, Tensor]) -> None:
    cloud, labels = real
    few = torch.cat([torch.arange(120)[labels == 0], torch.tensor([1])])
    assert list(diversity_by_class(cloud[few], labels[few], cloud, labels)) == [0]
    assert same_class_diversity(cloud[few], labels[few], cloud, labels).value == pytest.approx(1, rel=1e-5)


def test_what_cannot_be_compared_is_refused(real: tuple[Tensor, Tensor]) -> None:
    cloud, labels = real
    with pytest.raises(EvaluationError, match="needs two samples of a class, got 3 in 3 classes. Ask for more."):
        same_class_diversity(cloud[:3], labels[:3], cloud, labels)
    with pytest.raises(EvaluationError, match="Class 2 needs at least two different real images .* got 0 images"):
        diversity_by_class(cloud, labels, cloud[labels < 2], labels[labels < 2])
    with pytest.raises(EvaluationError, match="Class 0 needs at least two different real images"):
        diversity_by_class(cloud, labels, torch.zeros_like(cloud), labels)


# --- change by class


def test_the_class_that_moved_farthest_comes_first() -> None:
    labels = torch.arange(30) % 3
    dense = normal(30, 4, seed=0)
    moved = dense.clone()
    moved[:, 0] += torch.tensor([0.5, 3.0, 1.0])[labels]
    changes = per_class_change(moved, dense, labels)
    assert [(change.label, change.n_samples) for change in changes] == [(1, 10), (2, 10), (0, 10)]
    assert [change.distance.value for change in changes] == pytest.approx([3, 1, 0.5], rel=1e-5)


def test_the_change_of_a_class_is_its_mean_with_an_interval() -> None:
    labels = torch.tensor([4, 4, 4, 4, 7])
    dense = torch.zeros(5, 2)
    moved = torch.tensor([[1.0, 0], [0, 2], [3, 0], [0, 4], [3, 4]])
    five, four = per_class_change(moved, dense, labels)
    assert (five.label, five.distance.value, five.distance.high) == (7, 5, 5)
    assert (four.label, four.distance.value) == (4, 2.5)
    assert four.distance.low < 2.5 < four.distance.high
