"""Damages with their intervals, from replicates or from single samples."""

import math

import numpy as np
import torch
from scipy import stats

from gencomp_core.analysis.sensitivity.outputs import Outcome
from gencomp_core.records import Estimate

INFINITE = Estimate(value=math.inf, low=math.inf, high=math.inf)
CONFIDENCE = 0.95
DIGITS = 7


def of_replicates(values: np.ndarray) -> Estimate:
    """Mean of independent unbiased estimates, with Student's interval: (n,) float64."""
    if not np.isfinite(values).all():
        return INFINITE
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return _estimate(mean, 0.0)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return _estimate(mean, half)


def of_samples(outcome: Outcome) -> Estimate:
    """Sum of errors over sum of units, with the normal interval of a ratio over samples.

    Source: Cochran 1977, "Sampling Techniques", section 6.3, the variance of a ratio estimate.
    """
    if not bool(torch.isfinite(outcome.errors).all()):
        return INFINITE
    n, unit = len(outcome.errors), float(outcome.units.mean())
    value = float(outcome.errors.mean()) / unit
    residuals = outcome.errors - value * outcome.units
    spread = float(residuals.square().sum() / max(1, n - 1)) ** 0.5
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * spread / (unit * math.sqrt(n))
    return _estimate(value, half)


def _estimate(value: float, half: float) -> Estimate:
    """Interval around a value, cut at 0 where the value is not below it; in as many digits as are kept."""
    low = value - half if value < 0 else max(0.0, value - half)
    short = [float(f"{own:.{DIGITS}g}") for own in (value, low, value + half)]
    return Estimate(value=short[0], low=short[1], high=short[2])
