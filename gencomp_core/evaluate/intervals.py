"""Bootstrap intervals over samples: seeded, paired, and centred where the statistic is biased."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Statistic = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def resamples(n: int, n_resamples: int, *, seed: int = 0) -> Tensor:
    """Bootstrap indices: (n_resamples, n) int64, drawn with replacement.

    The same n and seed give the same indices, so that two models sampled with the same noise are
    resampled together (paired bootstrap).
    """
    return torch.randint(n, (n_resamples, n), generator=torch.Generator().manual_seed(seed))


def centred_interval(value: float, replicates: Tensor, *, confidence: float = 0.95) -> Interval:
    """Interval whose width comes from the replicates and whose centre is the value itself.

    A resample repeats samples, which biases statistics such as FID upwards; the replicates are
    shifted by that bias, estimated as their mean minus the value. Source: Efron & Tibshirani 1993,
    "An Introduction to the Bootstrap", section 10.4 (bias correction by the bootstrap mean).

    Args:
        value: the statistic of the full sample.
        replicates: (n_resamples,) float, the statistic of each resample.
    """
    tail = (1 - confidence) / 2
    shifted = replicates.double() - replicates.double().mean() + value
    low, high = torch.quantile(shifted, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(value, min(low, value), max(high, value))


def mean_interval(values: Tensor, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
    """Mean of per-sample values with its bootstrap interval: (n,) -> Interval."""
    index = resamples(len(values), n_resamples, seed=seed)
    return centred_interval(values.double().mean().item(), values.double()[index].mean(1))
