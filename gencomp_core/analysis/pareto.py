"""Which configurations are worth having: the Pareto front, ties, and the knee. No torch."""

from typing import Literal

import numpy as np
import pandas as pd

Direction = Literal["lower", "higher"]
N_USUAL_LOSSES = 10


def on_frontier(cost: np.ndarray, low: np.ndarray, high: np.ndarray, *, better: Direction = "lower") -> np.ndarray:
    """Points that no cheaper point beats for certain.

    A point is dominated when another costs no more (and is not the same point) and its whole
    quality interval is better; points whose intervals overlap are tied, and both stay.

    Args:
        cost: (n,) bytes or milliseconds, lower is better.
        low, high: (n,) quality interval; equal for values without one.
        better: direction of the quality.

    Returns:
        (n,) bool.
    """
    best, worst = (low, high) if better == "lower" else (-high, -low)
    dominated = np.zeros(len(cost), bool)
    for other in range(len(cost)):
        surely_better = (cost[other] <= cost) & (worst[other] < best)
        dominated |= surely_better
    return ~dominated


def strict_frontier(cost: np.ndarray, value: np.ndarray, *, better: Direction = "lower") -> np.ndarray:
    """Points that no cheaper point equals or beats by value alone: the line of the chart, (n,) bool."""
    sign = 1 if better == "lower" else -1
    order = np.lexsort((sign * value, cost))
    best_before = np.concatenate([[np.inf], np.minimum.accumulate((sign * value)[order])[:-1]])
    kept = np.zeros(len(cost), bool)
    kept[order] = (sign * value)[order] < best_before
    return kept


def knee(cost: np.ndarray, value: np.ndarray, *, better: Direction = "lower") -> int | None:
    """Frontier point farthest from the line between the ends, both axes scaled to [0, 1].

    Source: Satopaa 2011, "Finding a 'Kneedle' in a Haystack", ICDCS workshops; the discrete form.

    Args:
        cost, value: (n,) of frontier points in any order; cost is compared on a log scale.

    Returns:
        Position of the knee, or None for fewer than three points.
    """
    if len(cost) < 3:
        return None
    x = np.log(cost)
    y = value if better == "lower" else -value
    x, y = _unit(x), _unit(y)
    distance = 1 - x - y  # below the falling diagonal: cheap and good at once
    return int(np.argmax(distance))


def hypervolume(
    cost: np.ndarray, value: np.ndarray, *, reference: tuple[float, float], better: Direction = "lower"
) -> float:
    """Area of all that some point equals or beats and that beats the reference point. Exact, in O(n log n).

    Source: Zitzler & Thiele 1998, "Multiobjective optimization using evolutionary algorithms" (the S metric).

    Args:
        cost, value: (n,) finite; points beyond the reference add nothing.
        reference: cost and value, both worse than what is worth having.

    Returns:
        In units of cost times units of value; 0 when no point beats the reference.
    """
    sign = 1 if better == "lower" else -1
    most, worst = reference[0], sign * reference[1]
    kept = strict_frontier(cost, value, better=better) & (cost < most) & (sign * value < worst)
    order = np.argsort(cost[kept])
    steps, heights = cost[kept][order], sign * value[kept][order]
    widths = np.diff(np.append(steps, most))
    return float(np.sum(widths * (worst - heights)))


def reference_point(
    cost: np.ndarray, *, dense_quality: float, usual_loss: float, better: Direction = "lower"
) -> tuple[float, float]:
    """What a hypervolume is counted up to: the largest cost, and dense's quality worsened by ten usual losses.

    Twice the dense FID or four fifths of the dense BLEU: a configuration beyond is of no use, and adds nothing.

    Args:
        cost: (n,) of all configurations that are compared, dense among them.
        usual_loss: `MetricFacts.usual_loss`, a fraction.
    """
    lost = N_USUAL_LOSSES * usual_loss * dense_quality
    return float(cost.max()), dense_quality + lost if better == "lower" else dense_quality - lost


def frontier_table(table: pd.DataFrame, *, x: str, y: str = "quality", better: Direction = "lower") -> pd.DataFrame:
    """Rows that can be placed, with `on_frontier` (ties kept), `on_line` (by value) and `is_knee`.

    Args:
        table: measurements with columns `x`, `y`, `y_low`, `y_high`.
        x: cost column.
        y: column of the quality, or of another figure.
        better: direction of `y`.
    """
    placed = table.dropna(subset=[x, y]).copy()
    if placed.empty:
        return placed.assign(**{name: pd.Series(dtype=bool) for name in ("on_frontier", "on_line", "is_knee")})
    cost = placed[x].to_numpy(float)
    low, high = placed[f"{y}_low"].to_numpy(float), placed[f"{y}_high"].to_numpy(float)
    placed["on_frontier"] = on_frontier(cost, low, high, better=better)
    placed["on_line"] = strict_frontier(cost, placed[y].to_numpy(float), better=better)
    placed["is_knee"] = False
    line = placed[placed["on_line"]]
    position = knee(line[x].to_numpy(float), line[y].to_numpy(float), better=better)
    if position is not None:
        placed.loc[line.index[position], "is_knee"] = True
    return placed


def recommended(table: pd.DataFrame, *, max_loss: float = 0.10, better: Direction = "lower") -> str | None:
    """Signature of the smallest configuration whose quality is surely within `max_loss` of dense.

    Surely: the far end of the paired interval of the difference to dense, not the value alone.

    Args:
        table: measurements under the same conditions, with `change_low`, `change_high`, `dense_quality`.
        max_loss: allowed loss as a fraction of the dense quality.
    """
    loss = table["change_high"] if better == "lower" else -table["change_low"]
    allowed = table[loss <= max_loss * table["dense_quality"]]
    if allowed.empty:
        return None
    return str(allowed.sort_values(["size_bytes", "quality"]).iloc[0]["signature"])


def _unit(values: np.ndarray) -> np.ndarray:
    span = np.ptp(values)
    scaled: np.ndarray = (values - values.min()) / (span if span else 1.0)
    return scaled
