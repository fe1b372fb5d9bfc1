"""Which configurations are worth having: the Pareto front, ties, and the knee. No torch."""

from typing import Literal

import numpy as np
import pandas as pd

Direction = Literal["lower", "higher"]


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


def frontier_table(table: pd.DataFrame, *, x: str, better: Direction = "lower") -> pd.DataFrame:
    """Rows that can be placed, with `on_frontier` (ties kept), `on_line` (by value) and `is_knee`.

    Args:
        table: measurements with columns `x`, `quality`, `quality_low`, `quality_high`.
        x: cost column.
    """
    placed = table.dropna(subset=[x, "quality"]).copy()
    if placed.empty:
        return placed.assign(**{name: pd.Series(dtype=bool) for name in ("on_frontier", "on_line", "is_knee")})
    cost = placed[x].to_numpy(float)
    low, high = placed["quality_low"].to_numpy(float), placed["quality_high"].to_numpy(float)
    placed["on_frontier"] = on_frontier(cost, low, high, better=better)
    placed["on_line"] = strict_frontier(cost, placed["quality"].to_numpy(float), better=better)
    placed["is_knee"] = False
    line = placed[placed["on_line"]]
    position = knee(line[x].to_numpy(float), line["quality"].to_numpy(float), better=better)
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
