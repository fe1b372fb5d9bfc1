"""Pictures of lessons: one curve or a few bars with intervals, and the guess beside what was measured."""

import math
from itertools import pairwise

import pandas as pd
import plotly.graph_objects as go

from gencomp_core.charts.theme import log_axis

MEASURED, GUESS, GOOD = "#0072b2", "#e69f00", "#009e73"


def curve(
    table: pd.DataFrame,
    *,
    x_title: str,
    y_title: str,
    dense: float | None = None,
    log: bool = False,
    marked: float | None = None,
) -> go.Figure:
    """Quality over one setting, with 95 % intervals.

    Args:
        table: columns `x`, `quality`, `quality_low`, `quality_high`, `title`.
        dense: quality of dense, as a line.
        log: logarithmic quality.
        marked: value of `x` that is the answer.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=table["x"],
        y=table["quality"],
        mode="lines+markers",
        name="measured",
        text=table["title"],
        line={"color": MEASURED},
        hovertemplate="%{text}<br>%{y:.2f}<extra></extra>",
        error_y=_whiskers(table),
    )
    if dense is not None:
        figure.add_hline(y=dense, line={"color": "#6b7280", "dash": "dot"})
        height = math.log10(dense) if log else dense  # annotations of a logarithmic axis stand at the logarithm
        figure.add_annotation(
            text=f"dense {dense:.2f}", x=0.01, xref="paper", y=height, xanchor="left", yanchor="bottom", showarrow=False
        )
    if marked is not None:
        figure.add_vline(x=marked, line={"color": GOOD, "width": 2}, annotation={"text": "the answer"})
    return _laid_out(figure, x_title, _quality_axis(table, y_title, log=log))


def bars(table: pd.DataFrame, *, x_title: str, y_title: str, right: tuple[str, ...], log: bool = False) -> go.Figure:
    """One bar per option with its interval; those that are right stand out.

    Args:
        table: columns `x`, `quality`, `quality_low`, `quality_high`.
        right: values of `x` that are the answer.
        log: logarithmic quality.
    """
    names = table["x"].astype(str)
    figure = go.Figure(
        go.Bar(
            x=names,
            y=table["quality"],
            text=[f"{value:.3g}" for value in table["quality"]],
            textposition="inside",
            insidetextanchor="middle",
            marker={"color": [GOOD if name in right else "#9ca3af" for name in names]},
            error_y=_whiskers(table) if "quality_low" in table else None,
            hovertemplate="%{x}<br>%{y:.3g}<extra></extra>",
        )
    )
    return _laid_out(figure, x_title, _quality_axis(table, y_title, log=log))


def histogram(edges: list[float], counts: list[int], *, x_title: str) -> go.Figure:
    """How often weights of each size occur.

    Args:
        edges: n + 1 borders of the bins.
        counts: n.
    """
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    figure = go.Figure(go.Bar(x=middles, y=counts, marker={"color": MEASURED}, hovertemplate="%{x:.3f}: %{y:,}"))
    return _laid_out(figure, x_title, {"title": "weights"}).update_layout(bargap=0)


def _whiskers(table: pd.DataFrame) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": table["quality_high"] - table["quality"],
        "arrayminus": table["quality"] - table["quality_low"],
        "thickness": 1.5,
        "width": 4,
        "color": "rgba(107,114,128,0.8)",
    }


def _quality_axis(table: pd.DataFrame, title: str, *, log: bool) -> dict[str, object]:
    return log_axis(f"{title} (log)", table["quality"]) if log else {"title": title}


def _laid_out(figure: go.Figure, x_title: str, y_axis: dict[str, object]) -> go.Figure:
    return figure.update_layout(
        xaxis={"title": x_title},
        yaxis=y_axis,
        height=320,
        showlegend=False,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
    )
