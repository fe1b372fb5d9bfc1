"""What each rung of training is likely to bring back in a given time, told from recorded curves. No torch.

What is left of the damage after t seconds of training is fitted by r(t) = (1 + t / τ)^-β, which starts at 1: a
power law, as losses follow one (Hestness 2017, arXiv:1712.00409). A prediction is the median over the curves of a rung.
Its interval comes from what the same procedure misses by where each curve is told from the others
(leave-one-out conformal: Barber 2021, arXiv:1905.02928).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.optimize import least_squares

from gencomp_core.analysis.recovery_curves import held_out_gap
from gencomp_core.records import Estimate
from gencomp_core.records.recovery import Damage, RecoveryRun

CONFIDENCE = 0.9
LONGEST = 3.0
"""A curve is trusted up to so many times its own length."""
WIDEST = 1.0
"""Half an interval where nothing tells how far off predictions are."""
SLOWEST, FASTEST = 0.01, 5.0


@dataclass(frozen=True)
class Decay:
    """r(t) = (1 + t / τ)^-β, the share of the damage that is left after t seconds.

    Attributes:
        tau: seconds, > 0.
        beta: > 0.
    """

    tau: float
    beta: float

    def recovered(self, seconds: float) -> float:
        """Share of the damage that is gone, from 0 to 1."""
        return float(1 - (1 + seconds / self.tau) ** -self.beta)


@dataclass(frozen=True)
class RungForecast:
    """What one rung is likely to give.

    Attributes:
        rung: what is trained.
        gap: share of the held-out damage that is gone, with a 90 % interval.
        steps: that fit into the time, at the pace of the recorded runs.
        n_curves: that it is told from.
        same_damage: whether they recover from the same kind of damage.
        beyond: whether the time is longer than the recorded curves can tell of.
    """

    rung: str
    gap: Estimate
    steps: int
    n_curves: int
    same_damage: bool
    beyond: bool


def fit(curve: Sequence[tuple[float, float]]) -> Decay:
    """The decay nearest to (seconds, share that is gone), by least squares with a robust loss."""
    seconds = np.array([own[0] for own in curve])
    left = 1 - np.array([own[1] for own in curve])
    end = max(float(seconds[-1]), 1e-3)

    def off(logs: np.ndarray) -> np.ndarray:
        tau, beta = np.exp(logs)
        missed: np.ndarray = (1 + seconds / tau) ** -beta - left
        return missed

    bounds = ([np.log(end / 1e3), np.log(SLOWEST)], [np.log(end * 10), np.log(FASTEST)])
    found = least_squares(off, x0=[np.log(end / 10), 0.0], bounds=bounds, loss="soft_l1", f_scale=0.05)
    tau, beta = np.exp(found.x)
    return Decay(float(tau), float(beta))


def forecast(runs: Sequence[RecoveryRun], seconds: float, *, damaged_by: Damage | None = None) -> list[RungForecast]:
    """Each rung that there are curves of, best first.

    Args:
        runs: of one workload.
        seconds: of processor time.
        damaged_by: kind of damage to recover from; without it curves of all kinds count alike.
    """
    usable = [run for run in runs if len(_curve(run)) > 1]
    rows = []
    for rung in dict.fromkeys(run.rung for run in usable):
        alike, same = _alike(usable, rung, damaged_by)
        value = predicted(alike, seconds)
        wide = _half_width(usable, same=same)
        longest = max(run.seconds for run in alike)
        rows.append(
            RungForecast(
                rung=rung,
                gap=Estimate(value=value, low=max(-1.0, value - wide), high=min(1.0, value + wide)),
                steps=round(seconds / median(run.seconds / max(1, run.points[-1].step) for run in alike)),
                n_curves=len(alike),
                same_damage=same,
                beyond=seconds > LONGEST * longest,
            )
        )
    return sorted(rows, key=lambda row: (-row.gap.value, row.rung))


def predicted(runs: Sequence[RecoveryRun], seconds: float) -> float:
    """Median over the runs of the share that is gone by then, told no further than curves reach."""
    return median(fit(_curve(run)).recovered(min(seconds, LONGEST * run.seconds)) for run in runs)


def misses(runs: Sequence[RecoveryRun], *, same: bool) -> list[float]:
    """How far the end of each curve is from what the others tell of it.

    Args:
        same: tell it from the same kind of damage alone, or from other kinds alone.
    """
    usable = [run for run in runs if len(_curve(run)) > 1]
    found = []
    for run in usable:
        others = [
            own for own in usable
            if own.id != run.id and own.rung == run.rung and (own.damaged_by == run.damaged_by) is same
        ]  # fmt: skip
        if others:
            end, gone = _curve(run)[-1]
            found.append(abs(predicted(others, end) - gone))
    return found


def _alike(runs: Sequence[RecoveryRun], rung: str, damaged_by: Damage | None) -> tuple[list[RecoveryRun], bool]:
    own = [run for run in runs if run.rung == rung]
    same = [run for run in own if run.damaged_by == damaged_by]
    if damaged_by is None or same:
        return (same or own), True
    return own, False


def _half_width(runs: Sequence[RecoveryRun], *, same: bool) -> float:
    """The miss that 90 % of predictions stay below; the largest one, and half as much more, of fewer than nine.

    The rank is ⌈(n + 1) · 0.9⌉ of n, which only nine or more have.
    """
    found = sorted(misses(runs, same=same))
    if not found:
        return WIDEST
    rank = int(np.ceil((len(found) + 1) * CONFIDENCE))
    return float(found[rank - 1]) if rank <= len(found) else min(WIDEST, 1.5 * found[-1])


def _curve(run: RecoveryRun) -> list[tuple[float, float]]:
    return held_out_gap(run)
