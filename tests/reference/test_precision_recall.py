"""Precision, recall, density and coverage against the authors' package, brute force and closed cases."""

from dataclasses import astuple

import numpy as np
import pytest
import torch
from torch import Tensor

from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.features import reference
from gencomp_core.evaluate.intervals import Interval
from gencomp_core.evaluate.precision_recall import (
    PrecisionRecall,
    neighbour_distances,
    perfect_coverage,
    precision_recall,
)


def normal(n: int, d: int, *, seed: int, shift: float = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def intervals(found: PrecisionRecall) -> list[Interval]:
    return [found.precision, found.recall, found.density, found.coverage]


def values(found: PrecisionRecall) -> list[float]:
    return [interval.value for interval in intervals(found)]


def brute_force(samples: np.ndarray, real: np.ndarray) -> list[float]:
    """The four definitions, point by point: Kynkäänniemi 2019, equations 1 and 2; Naeem 2020, equations 3 and 4."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a - b) ** 2).sum()))

    def radius(points: np.ndarray, i: int, k: int) -> float:
        return sorted(distance(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1]

    r3, r5 = ([radius(real, j, k) for j in range(len(real))] for k in (3, 5))
    s3 = [radius(samples, i, 3) for i in range(len(samples))]
    d = [[distance(s, r) for r in real] for s in samples]
    rows, columns = range(len(samples)), range(len(real))
    found = [
        np.mean([any(d[i][j] <= r3[j] for j in columns) for i in rows]),
        np.mean([any(d[i][j] <= s3[i] for i in rows) for j in columns]),
        np.mean([sum(d[i][j] <= r5[j] for j in columns) / 5 for i in rows]),
        np.mean([any(d[i][j] <= r5[j] for i in rows) for j in columns]),
    ]
    return [float(value) for value in found]


# --- outside references


@pytest.mark.parametrize(("n", "m", "d", "scale"), [(300, 400, 8, 0.8), (1200, 1500, 64, 0.9)])
def test_the_numbers_are_those_of_the_authors_package(n: int, m: int, d: int, scale: float) -> None:
    """What `prdc` 0.2 (Naeem 2020) says with nearest_k = 3 for the first two and 5 for the others."""
    expected = {8: [290 / 300, 219 / 400, 1922 / 1500, 335 / 400], 64: [1096 / 1200, 391 / 1500, 3.6155, 1499 / 1500]}
    rng = np.random.default_rng(0 if d == 8 else 1)
    real = rng.normal(size=(m, d)).astype(np.float32)
    samples = (rng.normal(size=(n, d)) * scale + (0.3 if d == 8 else 0)).astype(np.float32)
    found = precision_recall(torch.from_numpy(samples), torch.from_numpy(real))
    assert values(found) == pytest.approx(expected[d], abs=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(6, 6, 1), (15, 30, 2), (40, 20, 5)])
@pytest.mark.parametrize("shift", [0, 0.7])
def test_the_numbers_are_the_definitions_point_by_point(n: int, m: int, d: int, shift: float) -> None:
    samples, real = normal(n, d, seed=0, shift=shift), normal(m, d, seed=1)
    expected = brute_force(samples.double().numpy(), real.double().numpy())
    assert values(precision_recall(samples, real)) == pytest.approx(expected)


# --- closed cases


def test_a_set_matches_itself() -> None:
    same = normal(200, 8, seed=0)
    # each ball holds its own centre and k neighbours: density is (k + 1) / k
    assert values(precision_recall(same, same)) == pytest.approx([1, 1, 6 / 5, 1])


def test_far_sets_share_nothing() -> None:
    assert values(precision_recall(normal(50, 4, seed=0, shift=100), normal(60, 4, seed=1))) == [0, 0, 0, 0]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_one_cluster_of_two_is_precise_and_recalls_its_share(share: float) -> None:
    n_shown = int(400 * share)
    shown, missed = normal(n_shown, 4, seed=0), normal(400 - n_shown, 4, seed=1, shift=100)
    found = precision_recall(shown, torch.cat([shown, missed]))
    assert (found.precision.value, found.recall.value, found.coverage.value) == (1, share, share)


def test_a_cluster_that_is_not_real_costs_precision_alone() -> None:
    real = normal(200, 4, seed=0)
    found = precision_recall(torch.cat([real, normal(600, 4, seed=1, shift=100)]), real)
    assert (found.precision.value, found.recall.value, found.coverage.value) == (0.25, 1, 1)


def test_a_generator_that_repeats_one_real_image_is_precise_and_recalls_no_other() -> None:
    real = normal(100, 4, seed=0)
    found = precision_recall(real[:1].expand(50, -1), real)
    assert found.precision.value == 1
    assert found.recall.value <= 0.01
    assert found.coverage.value == 0.05  # the real images whose balls hold that one


@pytest.mark.parametrize(("n", "m"), [(200, 200), (100, 400), (400, 100)])
def test_new_draws_have_density_1_and_the_coverage_of_the_lemma(n: int, m: int) -> None:
    draws = [precision_recall(normal(n, 3, seed=2 * i), normal(m, 3, seed=2 * i + 1)) for i in range(20)]
    assert np.mean([found.density.value for found in draws]) == pytest.approx(1, abs=0.03)
    assert np.mean([found.coverage.value for found in draws]) == pytest.approx(perfect_coverage(n, m), abs=0.02)


def test_perfect_coverage_is_the_chance_that_the_nearest_are_not_all_real() -> None:
    assert perfect_coverage(1, 1, k=1) == 1  # a single image has no other one
    assert perfect_coverage(10, 11, k=1) == pytest.approx(1 - 10 / 20)
    assert perfect_coverage(10**6, 10**6, k=5) == pytest.approx(1 - 2**-5, abs=1e-5)


def test_neighbours_on_a_line() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert neighbour_distances(line, 3, chunk=3).tolist() == [[1, 3, 7], [1, 2, 6], [2, 3, 4], [4, 6, 7]]


# --- real images, intervals, sizes


def test_real_images_are_judged_real_and_one_class_alone_misses_the_rest() -> None:
    real = reference()
    train, test = real.train_features[:2000], real.test_features[:1000]
    good = precision_recall(test, train)
    assert min(good.precision.value, good.recall.value) > 0.75
    assert good.density.value == pytest.approx(1, abs=0.1)
    blurred = precision_recall(test.mean(0) + 0.2 * (test - test.mean(0)), train)
    assert blurred.recall.value < 0.5 * good.recall.value
    one_kind = precision_recall(test[torch.cdist(test[:1], test)[0].topk(100, largest=False).indices], train)
    assert one_kind.precision.value > 0.75
    assert one_kind.recall.value < 0.3


def test_intervals_hold_their_values_and_stay_shares() -> None:
    found = precision_recall(normal(300, 4, seed=0, shift=0.5), normal(400, 4, seed=1))
    for low, value, high in ((each.low, each.value, each.high) for each in intervals(found)):
        assert low < value < high
    expected = 2 * 1.96 * (found.recall.value * (1 - found.recall.value) / 400) ** 0.5
    assert found.recall.high - found.recall.low == pytest.approx(expected, rel=0.15)
    nearly_all = precision_recall(normal(400, 4, seed=9), normal(200, 4, seed=59)).coverage
    assert nearly_all.value < nearly_all.high == 1  # centring alone gives 1.0001
    nearly_none = precision_recall(normal(50, 4, seed=0, shift=3), normal(100, 4, seed=50)).recall
    assert 0 == nearly_none.low < nearly_none.value


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_chunks_change_nothing(chunk: int) -> None:
    samples, real = normal(40, 4, seed=0), normal(30, 4, seed=1)
    whole = np.array(astuple(precision_recall(samples, real)))
    assert np.array(astuple(precision_recall(samples, real, chunk=chunk))) == pytest.approx(whole)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(EvaluationError, match="need at least 6 samples on both sides, got 5 and 9. Ask for more."):
        precision_recall(normal(5, 4, seed=0), normal(9, 4, seed=1))
