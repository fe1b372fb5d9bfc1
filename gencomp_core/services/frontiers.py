"""The frontier of the stored measurements, as a table and as a chart file."""

from pathlib import Path

import pandas as pd

from gencomp_core.charts.pareto import pareto_chart
from gencomp_core.errors import EvaluationError
from gencomp_core.registry import suggestion
from gencomp_core.services import library
from gencomp_core.store import Store
from gencomp_core.workloads import card_of

COSTS = {"size_bytes": "weights file, bytes", "latency_ms": "eager latency, batch 1, ms", "macs": "MACs per sample"}


def frontier_of(store: Store, workload: str, *, x: str, conditions: str | None = None) -> pd.DataFrame:
    """Measurements of a workload under one set of conditions, with frontier, line and knee marked.

    Args:
        x: a key of `COSTS`.
        conditions: what they must have in common; the set with most measurements without it.

    Raises:
        EvaluationError: an unknown cost, or nothing measured yet.
    """
    if x not in COSTS:
        raise EvaluationError(f"--x must be one of {', '.join(COSTS)}, got {x!r}.{suggestion(x, list(COSTS))}")
    name = card_of(workload).name
    table = library.figures(store, name)
    if table.empty:
        raise EvaluationError(f"Nothing of {name} has been measured. Run 'gencomp evaluate {name}' first.")
    chosen = conditions or library.conditions(table)[0]
    placed = library.frontier(library.with_siblings(store, name, table[table["conditions"] == chosen]), name, x=x)
    if placed.empty:
        raise EvaluationError(
            f"None of the {len(table)} measurements of {name} has both a quality and {COSTS[x]}. "
            "Measure again with 'gencomp evaluate'."
        )
    return placed


def write_chart(table: pd.DataFrame, workload: str, path: Path, *, x: str) -> None:
    """Write the chart as one self-contained HTML file that opens offline."""
    facts = library.metric_of(workload)
    figure = pareto_chart(
        table,
        x=x,
        x_title=COSTS[x],
        y_title=facts.title,
        better=facts.better,
        title=f"{card_of(workload).title}: cost against quality",
    )
    figure.write_html(path, include_plotlyjs=True)
