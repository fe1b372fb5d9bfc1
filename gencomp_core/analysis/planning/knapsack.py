"""The multiple-choice knapsack: one option of each group, least total under budgets, solved exactly. No torch.

The linear relaxation gives a price for each budget, and with it a bound on any choice that holds an option. Options
that can't be part of a better choice than one at hand are dropped, which leaves few for branch and bound.

Source: Kellerer, Pferschy & Pisinger 2004, "Knapsack Problems", chapter 11; solved by HiGHS (Huangfu & Hall 2018)
through SciPy's `linprog` and `milp`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, vstack

from gencomp_core.analysis.planning.quiet import quiet

Name = TypeVar("Name", bound=str)
Columns = Sequence[np.ndarray]
"""(n options,) of each group."""

TIME_LIMIT_S = 20.0
_SCALE = 1e4  # of the best known total, so that HiGHS's absolute gap of 1e-6 is one in 10^10
_TRIES = 5
FEW = 12
"""Distinct values of a cost, such as the milliseconds of three number formats."""
_STEEPER = np.geomspace(1.0, 1e3, 40)


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
    objective: Columns, costs: Mapping[Name, Columns], limits: Mapping[Name, float], *, gap: float = 0.0
) -> Choice | None:
    """Options with the least total objective whose total of each cost is within its limit.

    Args:
        objective: >= 0.
        costs: whatever is limited.
        limits: most of each cost.
        gap: relative distance from the best that is good enough.

    Returns:
        The choice, or None where the limits can't be kept together.
    """
    rows = [(costs[name], float(limit)) for name, limit in limits.items()]
    if not objective:
        return Choice((), 0.0) if all(limit >= 0 for _, limit in rows) else None
    kept = [_undominated(own, [column[group] for column, _ in rows]) for group, own in enumerate(objective)]
    relaxed = _relax(objective, rows, kept)
    if relaxed is None:
        return None
    bound, prices = relaxed
    known = _rounded(objective, rows, kept, prices) or _branch(objective, rows, kept, gap=1e-3)
    if known is None:
        return None
    best = total(objective, known.options)
    if best - bound <= max(gap, 1e-12) * best:
        return Choice(known.options, max(0.0, (best - bound) / best) if best > 0 else 0.0)
    worth = _worth_keeping(objective, rows, kept, prices, slack=best - bound)
    exact = _branch(objective, rows, worth, gap=gap, scale=_SCALE / best)
    return min((own for own in (exact, known) if own), key=lambda own: total(objective, own.options))


def total(values: Columns, options: Sequence[int]) -> float:
    """Sum of the chosen values."""
    return float(sum(own[option] for own, option in zip(values, options, strict=True)))


_Rows = Sequence[tuple[Columns, float]]


def _undominated(objective: np.ndarray, costs: Sequence[np.ndarray]) -> np.ndarray:
    """Positions of the options that no other beats or equals in everything; of equals the first stays."""
    if len(costs) == 1:
        return _undominated_by_one(objective, costs[0])
    if len(costs) == 2 and len(np.unique(costs[1])) <= FEW:
        return _undominated_by_steps(objective, costs[0], costs[1])
    table = np.stack([objective, *costs], axis=1)
    no_worse = (table[:, None] <= table[None]).all(axis=2)  # first no worse than second
    twins = no_worse & no_worse.T
    beaten = (no_worse & ~twins) | np.triu(twins, 1)
    return np.flatnonzero(~beaten.any(axis=0))


def _undominated_by_one(objective: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The same for one cost: from the cheapest on, whatever is better than all before it."""
    order = np.lexsort((np.arange(len(cost)), objective, cost))
    least = np.minimum.accumulate(objective[order])
    better = np.concatenate([[True], objective[order][1:] < least[:-1]])
    return np.sort(order[better])


def _undominated_by_steps(objective: np.ndarray, cost: np.ndarray, stepped: np.ndarray) -> np.ndarray:
    """The same for a second cost of few values: at each of them, what nothing that costs no more of it beats."""
    kept = []
    for value in np.unique(stepped):
        no_dearer = np.flatnonzero(stepped <= value)
        best = no_dearer[_undominated_by_one(objective[no_dearer], cost[no_dearer])]
        kept.append(best[stepped[best] == value])
    return np.sort(np.concatenate(kept))


def _relax(objective: Columns, rows: _Rows, kept: Columns) -> tuple[float, np.ndarray] | None:
    """Least total with fractions of options, and what a unit of each limit is worth; None where there is none."""
    scale = _SCALE / max(max(float(own.max()) for own in objective), 1e-300)
    one_each, units, limited = _constraints(rows, kept)
    values = np.concatenate([own[positions] for own, positions in zip(objective, kept, strict=True)]) * scale
    bounds = [own[1] / unit for own, unit in zip(rows, units, strict=True)]
    with quiet():
        found = linprog(
            values, A_eq=one_each, b_eq=np.ones(len(kept)), bounds=(0, None), method="highs",
            **({"A_ub": limited, "b_ub": bounds} if rows else {}),
        )  # fmt: skip
    if found.x is None or found.status != 0:
        return None
    prices = (
        np.maximum(-np.asarray(found.ineqlin.marginals, float), 0.0) / scale / np.array(units or [1.0])[: len(rows)]
    )
    return _bound(objective, rows, kept, prices), prices


def _bound(objective: Columns, rows: _Rows, kept: Columns, prices: np.ndarray) -> float:
    """No choice has a lower total: the Lagrangian bound, which holds for any prices >= 0."""
    least = sum(float(own.min()) for own in _reduced(objective, rows, kept, prices))
    return max(0.0, least - float(sum(price * limit for price, (_, limit) in zip(prices, rows, strict=True))))


def _reduced(objective: Columns, rows: _Rows, kept: Columns, prices: np.ndarray) -> list[np.ndarray]:
    """Objective plus what an option takes of the limits, at their prices."""
    return [
        own[positions] + sum(price * column[group][positions] for price, (column, _) in zip(prices, rows, strict=True))
        for group, (own, positions) in enumerate(zip(objective, kept, strict=True))
    ]


def _rounded(objective: Columns, rows: _Rows, kept: Columns, prices: np.ndarray) -> Choice | None:
    """A choice that keeps the limits: the best of each group at prices that are raised until they are kept."""
    for steeper in _STEEPER:
        reduced = _reduced(objective, rows, kept, prices * steeper)
        options = tuple(int(own[np.argmin(values)]) for own, values in zip(kept, reduced, strict=True))
        if all(total(column, options) <= limit for column, limit in rows):
            return Choice(options, 1.0)
    return None


def _worth_keeping(
    objective: Columns, rows: _Rows, kept: Columns, prices: np.ndarray, *, slack: float
) -> list[np.ndarray]:
    """Options that a choice can hold and still be better than the one at hand."""
    reduced = _reduced(objective, rows, kept, prices)
    return [own[values - values.min() <= slack * (1 + 1e-9)] for own, values in zip(kept, reduced, strict=True)]


def _branch(objective: Columns, rows: _Rows, kept: Columns, *, gap: float, scale: float | None = None) -> Choice | None:
    """Branch and bound. It keeps limits up to one in a million; where it made use of that, it gets a little less."""
    scale = scale or _SCALE / max(max(float(own.max()) for own in objective), 1e-300)
    left = list(rows)
    for _ in range(_TRIES):
        found = _milp(objective, left, kept, gap=gap, scale=scale)
        if found is None:
            return None
        over = [total(column, found.options) - limit for column, limit in rows]
        if all(excess <= 1e-12 * abs(limit) for excess, (_, limit) in zip(over, rows, strict=True)):
            return found
        left = [(column, limit - max(0.0, 2 * e)) for e, (column, limit) in zip(over, left, strict=True)]
    return None


def _milp(objective: Columns, rows: _Rows, kept: Columns, *, gap: float, scale: float) -> Choice | None:
    one_each, units, limited = _constraints(rows, kept)
    constraints = [LinearConstraint(one_each, 1, 1)]
    if rows:
        bounds = [limit / unit for (_, limit), unit in zip(rows, units, strict=True)]
        constraints.append(LinearConstraint(limited, -np.inf, bounds))
    values = np.concatenate([own[positions] for own, positions in zip(objective, kept, strict=True)]) * scale
    options = {"mip_rel_gap": gap, "time_limit": TIME_LIMIT_S}
    with quiet():
        found = milp(
            values, integrality=np.ones(len(values)), bounds=Bounds(0, 1), constraints=constraints, options=options
        )
    if found.x is None:
        return None
    ends = np.cumsum([len(own) for own in kept])[:-1]
    parts = np.split(found.x, ends)
    picked = tuple(int(own[np.argmax(part)]) for own, part in zip(kept, parts, strict=True))
    return Choice(picked, float(found.mip_gap or 0.0))


def _constraints(rows: _Rows, kept: Columns) -> tuple[csr_array, list[float], csr_array]:
    """One option of each group, and the limited sums in units in which tolerances are small."""
    sizes = [len(own) for own in kept]
    n = sum(sizes)
    owner = np.repeat(np.arange(len(kept)), sizes)
    one_each = csr_array((np.ones(n), (owner, np.arange(n))), shape=(len(kept), n))
    units, lines = [], []
    for column, limit in rows:
        line = np.concatenate([column[group][own] for group, own in enumerate(kept)])
        units.append(max(abs(limit), float(np.abs(line).max()) * 1e-6, 1e-12))
        lines.append(csr_array(line[None] / units[-1]))
    return one_each, units, vstack(lines, format="csr") if lines else csr_array((0, n))
