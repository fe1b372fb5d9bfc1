"""Which of the screened configurations are worth a full measurement, and in which order. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gencomp_core.analysis.pareto import hypervolume
from gencomp_core.records import Estimate

HOPE = 0.5
"""How far from its value to the optimistic end of its interval a loss is hoped to lie: 0 misses luck."""


@dataclass(frozen=True)
class Standing:
    """Where a screened configuration stands. Lower is better for all figures.

    Attributes:
        cost: exact.
        damage: how far it moved from dense, with its interval.
        loss: of the quality metric against dense, paired, at the same samples; None where it was not asked.
    """

    cost: float
    damage: Estimate
    loss: Estimate | None = None


def beaten_by(standings: Sequence[Standing]) -> list[int | None]:
    """For each standing the position of one that surely dominates it, or None.

    Another one dominates when it costs no more and one of the two figures says so for certain: its value is below
    the optimistic end of the other's interval. Damage resolves more than the metric over few samples, so that it
    decides unless the metric surely says the opposite.
    """
    order = sorted(range(len(standings)), key=lambda position: standings[position].damage.value)
    return [
        next((o for o in order if o != n and _dominates(standings[o], own)), None) for n, own in enumerate(standings)
    ]


def _dominates(other: Standing, own: Standing) -> bool:
    if other.cost > own.cost:
        return False
    if other.loss is not None and own.loss is not None:
        if other.loss.value < own.loss.low:
            return True
        if own.loss.high < other.loss.low:
            return False
    return other.damage.value < own.damage.low


def possible_gains(
    candidates: Sequence[tuple[float, float]],
    measured: Sequence[tuple[float, float, Estimate]],
    *,
    reference: tuple[float, float],
) -> tuple[np.ndarray, float]:
    """What each candidate could add to the hypervolume, and what that is now.

    Its loss is hoped to be half-way to the optimistic end of what the measured ones have at its damage: losses grow
    with damage nearly in proportion, so that between two of them, and from the last one on, the line is straight.
    One that costs no less than a measured one and has no less damage adds nothing: it could only be luckier.

    Args:
        candidates: cost (on the scale of the hypervolume) and damage of each.
        measured: cost, damage and loss of what was measured at the full count, dense among them.
        reference: cost and loss that the hypervolume is counted up to.

    Returns:
        (n candidates,) >= 0, and the hypervolume of what was measured.
    """
    costs = np.array([cost for cost, _, _ in measured])
    losses = np.array([loss.value for _, _, loss in measured])
    order = np.argsort([damage for _, damage, _ in measured], kind="stable")
    damages = np.array([damage for _, damage, _ in measured])[order]
    hopes = np.array([loss.value - HOPE * (loss.value - loss.low) for _, _, loss in measured])[order]
    now = hypervolume(costs, losses, reference=reference)
    gains = []
    for cost, damage in candidates:
        if any(own_cost <= cost and own_damage <= damage for own_cost, own_damage, _ in measured):
            gains.append(0.0)
            continue
        hoped = _on_line(damages, hopes, damage)
        gains.append(hypervolume(np.append(costs, cost), np.append(losses, hoped), reference=reference) - now)
    return np.array(gains), now


def _on_line(damages: np.ndarray, hopes: np.ndarray, damage: float) -> float:
    """Between measured points on the line through them, beyond the last in proportion to the damage."""
    if damage <= damages[-1] or damages[-1] <= 0:
        return float(np.interp(damage, damages, hopes))
    return float(max(hopes[-1], 0.0) * damage / damages[-1])
