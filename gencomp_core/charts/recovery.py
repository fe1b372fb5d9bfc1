"""How quality comes back over training, and what each rung is likely to give."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

X_TITLES = {"seconds": "seconds of processor time", "step": "steps"}
Y_TITLES = {
    "gap": "share of the held-out damage that is gone",
    "held_out": "held-out figure (lower is better)",
    "sparsity": "fraction of weights that are zero",
    "bits": "bits per weight",
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6b7280", "#000000")
"""Okabe & Ito's palette for colour-blind readers; dashes say the same."""
DASHES = ("solid", "dash", "dot", "dashdot")
PERCENT = ("gap", "sparsity")


def recovery_curves(table: pd.DataFrame, *, x: str, y: str) -> go.Figure:
    """One line a run; what is not yet compressed as in the end is hollow.

    Args:
        table: columns `run`, `step`, `seconds`, `counts`, `dense`, and the one that y names.
        x: `seconds` or `step`.
        y: `gap`, `held_out`, `sparsity` or `bits`.
    """
    figure = go.Figure()
    for number, (name, points) in enumerate(table.dropna(subset=[y]).groupby("run", sort=False)):
        style = {"color": COLOURS[number % len(COLOURS)], "dash": DASHES[number // 2 % len(DASHES)], "width": 1.8}
        symbols = ["circle" if counts else "circle-open" for counts in points["counts"]]
        shown = "%{y:.1%}" if y in PERCENT else "%{y:.4g}"
        figure.add_scatter(
            x=points[x], y=points[y], name=str(name), mode="lines+markers", line=style, marker={"symbol": symbols},
            hovertemplate=f"{name}<br>{X_TITLES[x]}: %{{x:,.0f}}<br>{Y_TITLES[y]}: {shown}<extra></extra>",
        )  # fmt: skip
    if y == "held_out" and len(table):
        figure.add_hline(y=float(table["dense"].iloc[0]), line_dash="dash", annotation_text="dense")
    if y == "gap":
        figure.add_hline(y=1.0, line_dash="dash", annotation_text="dense")
    figure.update_xaxes(title=X_TITLES[x], rangemode="tozero")
    figure.update_yaxes(title=Y_TITLES[y], tickformat=".0%" if y in PERCENT else None)
    legend = {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0}
    figure.update_layout(legend=legend, margin={"l": 10, "r": 10, "t": 20, "b": 10}, height=420, showlegend=True)
    return figure


def forecast_chart(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Predicted share of each rung with its interval; hollow where other kinds of damage tell it.

    Args:
        rows: `rung`, `gap`, `gap_low`, `gap_high`, `same_damage`, best first.
    """
    figure = go.Figure()
    for same, name in ((True, "told from the same kind of damage"), (False, "told from other kinds of damage")):
        own = [row for row in rows if row["same_damage"] is same]
        if not own:
            continue
        figure.add_scatter(
            x=[row["gap"] for row in own], y=[row["rung"] for row in own], mode="markers", name=name,
            marker={"size": 11, "color": COLOURS[0], "symbol": "diamond" if same else "diamond-open"},
            error_x={
                "type": "data", "symmetric": False, "array": [row["gap_high"] - row["gap"] for row in own],
                "arrayminus": [row["gap"] - row["gap_low"] for row in own],
            },
            hovertemplate="%{y}: %{x:.0%} predicted<extra></extra>",
        )  # fmt: skip
    order = [row["rung"] for row in rows]
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=order[::-1], automargin=True)
    figure.update_xaxes(title="share of the held-out damage that is gone, predicted, 90 % interval", tickformat=".0%")
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
    margin = {"l": 10, "r": 10, "t": 30, "b": 10}
    figure.update_layout(legend=legend, margin=margin, height=120 + 34 * len(rows), showlegend=True)
    return figure
