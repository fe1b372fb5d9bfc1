"""The frontier of the stored measurements between any two figures, as a table and as a chart file. No torch."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gencomp_core.analysis import pareto
from gencomp_core.analysis.axes import COSTS, AxisFacts, cost_axis, quality_axes, quality_axis
from gencomp_core.charts.pareto import pareto_chart
from gencomp_core.errors import EvaluationError
from gencomp_core.runtime_env import machine
from gencomp_core.services import library
from gencomp_core.store import Store
from gencomp_core.workloads import card_of

__all__ = [
    "COSTS",
    "Area",
    "AxisFacts",
    "area_of",
    "cost_axis",
    "figures_of",
    "frontier_of",
    "place",
    "quality_axis",
    "timings",
    "write_chart",
]


@dataclass(frozen=True)
class Area:
    """Hypervolume of measurements.

    Attributes:
        value: in halvings of the cost times units of the quality.
        cost, quality: the reference point that it is counted up to.
    """

    value: float
    cost: float
    quality: float


def frontier_of(
    store: Store, workload: str, *, x: str, y: str = "quality", conditions: str | None = None
) -> pd.DataFrame:
    """Measurements of a workload under one set of conditions, with frontier, line and knee marked.

    Args:
        x: address of a cost, such as `size_bytes` or `latency_ms:openvino:16`.
        y: `quality`, or another figure with a direction, such as `kl_nats`.
        conditions: what they must have in common; the set with most measurements without it.

    Raises:
        EvaluationError: an unknown figure, or nothing measured yet.
    """
    name = card_of(workload).name
    cost, quality = cost_axis(x), quality_axis(y, metric=card_of(workload).metric)
    table = library.figures(store, name)
    if table.empty:
        raise EvaluationError(f"Nothing of {name} has been measured. Run 'gencomp evaluate {name}' first.")
    chosen = conditions or library.conditions(table)[0]
    comparable = library.with_siblings(store, name, table[table["conditions"] == chosen])
    placed = place(store, comparable, cost, quality)
    if placed.empty:
        raise EvaluationError(
            f"None of the {len(table)} measurements of {name} has both {cost.title} and {quality.title}. "
            f"Measure again with 'gencomp evaluate {name}{_how(cost)}'."
        )
    return placed


def place(store: Store, comparable: pd.DataFrame, x: AxisFacts, y: AxisFacts) -> pd.DataFrame:
    """Measurements that have both figures, with `on_frontier`, `on_line` and `is_knee`.

    Args:
        comparable: rows of `library.figures`, all under the same conditions.
    """
    table = comparable
    if x.timed:
        table = _joined(table.drop(columns=[x.column], errors="ignore"), _timed(store, table, x))
    if y.column not in table:
        table = _joined(table, _figures(store, table, y))
    return pareto.frontier_table(table, x=x.column, y=y.column, better=y.better)


def timings(store: Store, workload: str) -> list[str]:
    """Pairs of runtime and batch that something was timed with, as in an address; the most frequent first."""
    rows = store.latency_rows(workload)
    return [name for name, _ in Counter(f"{row['runtime']}:{row['batch']}" for row in rows).most_common()]


def figures_of(store: Store, table: pd.DataFrame, workload: str) -> list[str]:
    """What can stand on the axis of quality: the metric, and the figures that the latest measurement has."""
    measurement = None if table.empty else store.measurement(str(table["signature"].iloc[-1]))
    known = measurement.fidelity if measurement else {}
    return [name for name in quality_axes(card_of(workload).metric) if name == "quality" or name in known]


def area_of(placed: pd.DataFrame, x: AxisFacts, y: AxisFacts, workload: str) -> Area | None:
    """Hypervolume of a placed table: up to the largest cost, and what ten usual losses leave of dense's quality.

    A figure other than the metric is counted up to the worst value on the line. None without a dense measurement.
    """
    dense = placed[placed["is_dense"]]
    if dense.empty:
        return None
    cost, value = np.log2(placed[x.column].to_numpy(float)), placed[y.column].to_numpy(float)
    usual_loss, dense_value = library.metric_of(workload).usual_loss, float(dense[y.column].iloc[0])
    reference = pareto.reference_point(cost, dense_quality=dense_value, usual_loss=usual_loss, better=y.better)
    if y.column != "quality":
        line = placed.loc[placed["on_line"], y.column]
        reference = (reference[0], float(line.max() if y.better == "lower" else line.min()))
    area = pareto.hypervolume(cost, value, reference=reference, better=y.better)
    return Area(area, float(2 ** reference[0]), reference[1])


def write_chart(table: pd.DataFrame, workload: str, path: Path, *, x: str, y: str = "quality") -> None:
    """Write the chart as one self-contained HTML file that opens offline."""
    cost, quality = cost_axis(x), quality_axis(y, metric=card_of(workload).metric)
    figure = pareto_chart(
        table,
        x=cost.column,
        x_title=cost.title,
        y=quality.column,
        y_title=quality.title,
        better=quality.better,
        title=f"{card_of(workload).title}: cost against quality",
    )
    figure.write_html(path, include_plotlyjs=True)


def _timed(store: Store, table: pd.DataFrame, axis: AxisFacts) -> pd.DataFrame:
    """One figure of a runtime and batch for each measurement: this machine's before a recorded one."""
    rows = [row for name in table["workload"].unique() for row in store.latency_rows(name)]
    column = {"latency_ms": "median_ms"}.get(axis.column, axis.column)
    timed = pd.DataFrame(rows, columns=["signature", "machine", "runtime", "batch", column])
    timed = timed[(timed["runtime"] == axis.runtime) & (timed["batch"] == axis.batch)].dropna(subset=[column])
    timed = timed.assign(here=timed["machine"] == machine()["processor"]).sort_values("here", ascending=False)
    return timed.drop_duplicates("signature").rename(columns={column: axis.column})[["signature", axis.column]]


def _figures(store: Store, table: pd.DataFrame, axis: AxisFacts) -> pd.DataFrame:
    """One same-seed figure for each measurement, with its interval."""
    rows = [row for name in table["workload"].unique() for row in store.fidelity_rows(name, axis.column)]
    names = {"value": axis.column, "low": f"{axis.column}_low", "high": f"{axis.column}_high"}
    return pd.DataFrame(rows, columns=["signature", *names]).rename(columns=names)


def _joined(table: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    return table.merge(more, how="left", on="signature")


def _how(axis: AxisFacts) -> str:
    """Options of the command that measures it."""
    return f" --runtime {axis.runtime} --batch {axis.batch}" if axis.timed else ""
