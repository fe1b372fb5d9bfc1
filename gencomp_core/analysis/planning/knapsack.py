"""The multiple-choice knapsack: one option of each group, least total under budgets, solved exactly. No torch.

Source: Kellerer, Pferschy & Pisinger 2004, "Knapsack Problems", chapter 11; solved by HiGHS (Huangfu & Hall 2018)
through SciPy's `milp`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from gencomp_core.analysis.planning.quiet import quiet

Name = TypeVar("Name", bound=str)
TIME_LIMIT_S = 20.0
_ROUGH_GAP = 1e-3
_TRIES = 5
_SCALE = 1e4  # of the best known total, so that HiGHS's absolute gap of 1e-6 is one in 10^10


@dataclass(frozen=True)
class Choice:
    """One option of each group.

    Attributes:
        options: position of the option, by group.
        gap: relative distance from what could be proved to be possible; 0 when it is the best.
    """

    options: tuple[int, ...]
    gap: float


def solve(
    objective: Sequence[np.ndarray],
    costs: Mapping[Name, Sequence[np.ndarray]],
    limits: Mapping[Name, float],
    *,
    gap: float = 0.0,
) -> Choice | None:
    """Options with the least total objective whose total of each cost is within its limit.

    Args:
        objective: (n options,) >= 0 for each group.
        costs: the same for each cost that is limited.
        limits: most of each cost.
        gap: relative distance from the best that is good enough.

    Returns:
        The choice, or None where the limits can't be kept together.
    """
    if not objective:
        return Choice((), 0.0) if all(limit >= 0 for limit in limits.values()) else None
    kept = [_undominated(own, [costs[name][group] for name in limits]) for group, own in enumerate(objective)]
    rough = _kept(objective, costs, limits, kept, scale=_scale_of(objective), gap=_ROUGH_GAP)
    if rough is None:
        return None
    best = total(objective, rough.options)
    if best <= 0 or gap >= _ROUGH_GAP:
        return Choice(rough.options, rough.gap if best > 0 else 0.0)
    worth = [own[objective[group][own] <= best * (1 + 1e-9)] for group, own in enumerate(kept)]
    exact = _kept(objective, costs, limits, worth, scale=_SCALE / best, gap=gap)
    return min((own for own in (exact, rough) if own), key=lambda own: total(objective, own.options))


def total(values: Sequence[np.ndarray], options: Sequence[int]) -> float:
    """Sum of the chosen values."""
    return float(sum(own[option] for own, option in zip(values, options, strict=True)))


def _undominated(objective: np.ndarray, costs: Sequence[np.ndarray]) -> np.ndarray:
    """Positions of the options that no other beats or equals in everything; of equals the first stays."""
    table = np.stack([objective, *costs], axis=1)
    order = np.lexsort(table.T[::-1])  # whatever beats an option stands before it
    kept: list[int] = []
    for position in order:
        if not (table[kept] <= table[position]).all(axis=1).any():
            kept.append(int(position))
    return np.sort(np.array(kept))


def _scale_of(objective: Sequence[np.ndarray]) -> float:
    positive = [float(own.max()) for own in objective if own.max() > 0]
    return _SCALE / max(positive, default=1.0)


def _kept(
    objective: Sequence[np.ndarray],
    costs: Mapping[Name, Sequence[np.ndarray]],
    limits: Mapping[Name, float],
    kept: Sequence[np.ndarray],
    *,
    scale: float,
    gap: float,
) -> Choice | None:
    """The solver keeps limits up to one in a million; where it made use of that, it gets a little less."""
    left = dict(limits)
    for _ in range(_TRIES):
        found = _milp(objective, costs, left, kept, scale=scale, gap=gap)
        if found is None:
            return None
        over = {name: total(costs[name], found.options) - limit for name, limit in limits.items()}
        if all(excess <= 1e-12 * abs(limits[name]) for name, excess in over.items()):
            return found
        left = {name: left[name] - max(0.0, 2 * over[name]) for name in left}
    return None


def _milp(
    objective: Sequence[np.ndarray],
    costs: Mapping[Name, Sequence[np.ndarray]],
    limits: Mapping[Name, float],
    kept: Sequence[np.ndarray],
    *,
    scale: float,
    gap: float,
) -> Choice | None:
    sizes = [len(own) for own in kept]
    owner = np.repeat(np.arange(len(kept)), sizes)
    n = len(owner)
    one_each = csr_array((np.ones(n), (owner, np.arange(n))), shape=(len(kept), n))
    constraints = [LinearConstraint(one_each, 1, 1)]
    for name, limit in limits.items():
        row = np.concatenate([costs[name][group][own] for group, own in enumerate(kept)])
        unit = max(abs(limit), float(np.abs(row).max()) * 1e-6, 1e-12)  # feasibility is judged to 1e-7 of this
        constraints.append(LinearConstraint(csr_array(row[None] / unit), -np.inf, limit / unit))
    values = np.concatenate([objective[group][own] for group, own in enumerate(kept)]) * scale
    options = {"mip_rel_gap": gap, "time_limit": TIME_LIMIT_S}
    with quiet():
        found = milp(values, integrality=np.ones(n), bounds=Bounds(0, 1), constraints=constraints, options=options)
    if found.x is None:
        return None
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    picked = [int(own[np.argmax(found.x[first : first + len(own)])]) for first, own in zip(start, kept, strict=True)]
    return Choice(tuple(picked), float(found.mip_gap or 0.0))
