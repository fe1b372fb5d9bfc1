import math

import torch

from gencomp_core.evaluate.intervals import Interval, centred_interval, mean_interval, resamples


def test_mean_intervals_cover_the_mean_as_often_as_they_say() -> None:
    draws = torch.randn(300, 60, generator=torch.Generator().manual_seed(0)).exp()  # skewed, mean √e
    intervals = [mean_interval(values, n_resamples=300) for values in draws]
    covered = sum(interval.low <= math.exp(0.5) <= interval.high for interval in intervals)
    assert 0.84 * 300 <= covered <= 0.98 * 300


def test_the_width_is_that_of_the_normal_approximation() -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    interval = mean_interval(values)
    expected = 2 * 1.96 * values.std().item() / 2000**0.5
    assert abs((interval.high - interval.low) / expected - 1) < 0.1


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert mean_interval(torch.full((10,), 0.25)) == Interval(0.25, 0.25, 0.25)


def test_replicates_that_are_biased_are_shifted_to_the_value() -> None:
    replicates = torch.linspace(100, 102, 1001)
    interval = centred_interval(7.0, replicates)
    assert (round(interval.low, 3), interval.value, round(interval.high, 3)) == (6.05, 7.0, 7.95)


def test_two_models_are_resampled_together() -> None:
    assert torch.equal(resamples(50, 20, seed=3), resamples(50, 20, seed=3))
    assert not torch.equal(resamples(50, 20, seed=3), resamples(50, 20, seed=4))
    assert resamples(50, 20).shape == (20, 50)
    assert 0 <= resamples(50, 20).min() <= resamples(50, 20).max() < 50
