"""What damage means: a monotone relation between predicted damage and measured loss of quality. No torch.

Fitted on measured configurations whose damage can be predicted, and again whenever one is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import t as student

from gencomp_core.records.metrics import METRICS, Better
from gencomp_core.records.plans import PredictedQuality

LEAST_PAIRS = 4
COVERAGE = 0.95
NEIGHBOURS = 40
"""Residuals that the width of an interval is taken from: those at the most similar damages."""


@dataclass(frozen=True)
class Pair:
    """One measured configuration.

    Attributes:
        damage: predicted, >= 0.
        loss: measured loss of quality against dense, > 0 is worse, in units of the metric.
        half_width: of its 95 % interval.
    """

    damage: float
    loss: float
    half_width: float


@dataclass(frozen=True, eq=False)
class QualityMap:
    """Expected loss of quality by damage, with an interval.

    The loss y is fitted as asinh(y / noise): straight where it does not matter, logarithmic beyond. The fit is
    isotonic regression on damage (pool adjacent violators, Barlow 1972), straight in log damage between the blocks,
    and goes to 0 with the damage. The interval holds leave-one-out residuals at similar damages.

    Attributes:
        metric, better, dense: of the quality metric, and what the dense model has.
        pairs: at least `LEAST_PAIRS`.
    """

    metric: str
    better: Better
    dense: float
    pairs: tuple[Pair, ...]

    @classmethod
    def fit(cls, pairs: Sequence[Pair], *, metric: str, better: Better, dense: float) -> "QualityMap | None":
        """The relation, or None where there are too few measured configurations for one."""
        known = sorted((pair for pair in pairs if pair.damage > 0), key=lambda pair: (pair.damage, pair.loss))
        return cls(metric, better, dense, tuple(known)) if len(known) >= LEAST_PAIRS else None

    def loss(self, damage: float) -> tuple[float, float, float]:
        """Expected loss with the ends of its interval; 0 for no damage."""
        if damage <= 0:
            return 0.0, 0.0, 0.0
        middle = float(self._curve(np.array([damage]))[0])
        half = self._half_width(damage)
        low, value, high = (self._noise * float(np.sinh(x)) for x in (middle - half, middle, middle + half))
        return value, low, high

    def quality(self, damage: float) -> PredictedQuality:
        """The metric that is expected at a damage."""
        value, low, high = self.loss(damage)
        worse = 1.0 if self.better == "lower" else -1.0
        changes = sorted((worse * low, worse * high))
        return PredictedQuality(
            metric=self.metric,
            better=self.better,
            value=self.dense + worse * value,
            low=self.dense + changes[0],
            high=self.dense + changes[1],
            change=worse * value,
            change_low=changes[0],
            change_high=changes[1],
            dense=self.dense,
            n_pairs=len(self.pairs),
            beyond=damage > self.pairs[-1].damage,
        )

    def damage_at(self, loss: float) -> float:
        """Largest damage whose expected loss is at most `loss` > 0; at most the largest that was measured."""
        low, high = 0.0, self.pairs[-1].damage
        if self.loss(high)[0] <= loss:
            return high
        for _ in range(60):
            middle = (low + high) / 2 if low == 0 else float(np.sqrt(low * high))
            low, high = (middle, high) if self.loss(middle)[0] <= loss else (low, middle)
        return low

    @cached_property
    def _noise(self) -> float:
        """Losses that don't matter: half the usual interval, or half of what a recommended configuration may lose."""
        facts = METRICS.get(self.metric)
        allowed = (facts.usual_loss if facts else 0.05) * abs(self.dense) / 2
        return max(float(np.median([pair.half_width for pair in self.pairs])), allowed, 1e-9)

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        damages = np.array([pair.damage for pair in self.pairs])
        losses = np.array([pair.loss for pair in self.pairs])
        return damages, np.arcsinh(losses / self._noise)

    def _curve(self, damages: np.ndarray) -> np.ndarray:
        return _isotonic(*self._points)(damages)

    @cached_property
    def _residuals(self) -> np.ndarray:
        """What each pair is off from the relation of all others, in the scale of the fit."""
        damages, values = self._points
        residuals = np.empty(len(values))
        for left_out in range(len(values)):
            others = np.arange(len(values)) != left_out
            residuals[left_out] = (values - _isotonic(damages[others], values[others])(damages))[left_out]
        return residuals

    def _half_width(self, damage: float) -> float:
        """Half the interval in the scale of the fit.

        Source: the jackknife+ without its extra term (Barber 2021, arXiv:1905.02928); Student's t for few pairs.
        """
        distance = np.abs(np.log(self._points[0] / damage))
        near = np.abs(self._residuals[np.argsort(distance, kind="stable")[:NEIGHBOURS]])
        n = len(near)
        position = int(np.ceil((n + 1) * COVERAGE))
        if position <= n:
            return float(np.sort(near)[position - 1])
        spread = float(np.sqrt(np.mean(near**2)))
        return float(student.ppf(0.5 + COVERAGE / 2, n - 1)) * spread * float(np.sqrt(1 + 1 / n))


@dataclass(frozen=True, eq=False)
class _Curve:
    """Straight in log damage between blocks, straight in damage to 0 before the first."""

    damages: np.ndarray
    values: np.ndarray

    def __call__(self, damages: np.ndarray) -> np.ndarray:
        inside = np.interp(np.log(damages), np.log(self.damages), self.values)
        values: np.ndarray = np.where(damages < self.damages[0], self.values[0] * damages / self.damages[0], inside)
        return values


def _isotonic(damages: np.ndarray, values: np.ndarray) -> _Curve:
    """Blocks of the isotonic fit at the middle of their log damages; never below 0, where no damage is."""
    fitted = isotonic_regression(values)
    edges = fitted.blocks
    spans = list(pairwise(edges))
    middles = np.array([np.exp(np.log(damages[first:last]).mean()) for first, last in spans])
    return _Curve(middles, np.maximum([fitted.x[first] for first, _ in spans], 0.0))
