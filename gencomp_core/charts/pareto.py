"""Cost against quality: frontier, intervals, the dense star, dominated points faint."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gencomp_core.charts.theme import FAMILY_COLOURS, FAMILY_MARKS, log_axis

FAINT, FAINTER = 0.4, 0.15
SELECTED_COLOUR = "#e69f00"
MANY = 1500
CELLS = (400, 200)
"""Places across and up that a reader can tell apart: two pixels each on a small chart."""


def pareto_chart(
    table: pd.DataFrame,
    *,
    x: str,
    x_title: str,
    y: str = "quality",
    title: str = "",
    y_title: str = "FID",
    better: str = "lower",
    selected: str | None = None,
    lines: Mapping[str, float] | None = None,
    marked: Collection[str] = (),
    legend: bool = True,
) -> go.Figure:
    """Scatter of configurations with error bars; `customdata` holds the signature of each point.

    Args:
        table: columns `x`, `y`, `y_low`, `y_high`, `family`, `title`, `signature`,
            `on_frontier`, `on_line`, `is_knee`, `is_dense`.
        y: column of the quality, or of another figure.
        better: direction of `y`; its axis is logarithmic where lower is better and none is 0.
        selected: signature of the point to ring.
        lines: qualities to draw as horizontal lines, by name.
        marked: signatures that stand out, all others faint; without any, those on the frontier do.
        legend: whether to name the families above the chart.

    Of more than 1,500 configurations, dominated ones of a family that would lie on top of each other are drawn once.
    """
    log_y = better == "lower" and bool((table[y] > 0).all())
    figure = go.Figure()
    line = table[table["on_line"]].sort_values(x)
    figure.add_scatter(
        x=line[x],
        y=line[y],
        mode="lines",
        line={"color": "#9ca3af", "width": 1.5, "shape": "hv"},
        name="frontier",
        hoverinfo="skip",
    )
    drawn = told_apart(table, x, y, log_y=log_y, kept={*marked, selected})
    for name, rows in drawn.groupby("family", sort=False):
        marker = {"color": FAMILY_COLOURS.get(str(name), "#56b4e9"), "symbol": FAMILY_MARKS.get(str(name), "circle")}
        figure.add_scatter(  # the legend shows a family in full, even where all of its points are faint
            x=[None], y=[None], mode="markers", name=str(name), legendgroup=str(name), marker=marker | {"size": 9}
        )  # fmt: skip
        stands_out = rows["signature"].isin(list(marked)) if marked else rows["on_frontier"]
        for kept, part in rows.groupby(stands_out):
            figure.add_scatter(
                x=part[x],
                y=part[y],
                mode="markers",
                name=str(name),
                legendgroup=str(name),
                showlegend=False,
                customdata=part["signature"],
                text=part["title"],
                hovertemplate=f"%{{text}}<br>{x_title}: %{{x:,.4g}}<br>{y_title}: %{{y:.2f}}<extra></extra>",
                marker={
                    **marker,
                    "size": 18 if name == "dense" else 9,
                    "opacity": 1 if kept or name == "dense" else FAINTER if marked else FAINT,
                    "line": {"width": 0},
                },
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": part[f"{y}_high"] - part[y],
                    "arrayminus": part[y] - part[f"{y}_low"],
                    "thickness": 1,
                    "width": 0,
                    "color": "rgba(107,114,128,0.5)",
                },
            )
    _ring(figure, table[table["is_knee"]], (x, y), "knee", "#6b7280", "circle-open")
    if selected is not None:
        _ring(figure, table[table["signature"] == selected], (x, y), "picked", SELECTED_COLOUR, "circle-open")
    for name, value in (lines or {}).items():
        figure.add_hline(
            y=value,
            line={"color": "#6b7280", "width": 1, "dash": "dot"},
            annotation={"text": f"{name} {value:.1f}", "font": {"size": 11}, "xanchor": "right"},
        )
    y_axis: dict[str, object] = {"title": f"{y_title} ({better} is better)"}
    if log_y:
        y_axis = log_axis(f"{y_title} (log; lower is better)", table[y])
    figure.update_layout(
        title=title or None,
        xaxis=log_axis(f"{x_title} (log; lower is better)", table[x]),
        yaxis=y_axis,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        margin={"l": 10, "r": 10, "t": 40 if not title else 70, "b": 10},
        height=460,
        showlegend=legend,
        clickmode="event+select",
        dragmode="pan",
    )
    return figure


def told_apart(table: pd.DataFrame, x: str, y: str, *, log_y: bool, kept: Collection[str | None]) -> pd.DataFrame:
    """The rows to draw: of many, one dominated row for each family and place; all that stand out, and all `kept`."""
    if len(table) <= MANY:
        return table
    across = _place(np.log(table[x].to_numpy(float)), CELLS[0])
    up = _place(np.log(table[y].to_numpy(float)) if log_y else table[y].to_numpy(float), CELLS[1])
    cells = pd.DataFrame({"family": table["family"], "across": across, "up": up}, index=table.index)
    first = ~cells.duplicated()
    stands_out = table["on_frontier"] | table["on_line"] | table["is_knee"] | table["is_dense"]
    return table[first | stands_out | table["signature"].isin(list(kept))]


def _place(values: np.ndarray, n: int) -> np.ndarray:
    low, high = values.min(), values.max()
    cells: np.ndarray = np.rint((values - low) / max(high - low, 1e-12) * n)
    return cells


def _ring(figure: go.Figure, rows: pd.DataFrame, axes: tuple[str, str], name: str, colour: str, symbol: str) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        x=rows[axes[0]],
        y=rows[axes[1]],
        mode="markers",
        name=name,
        hoverinfo="skip",
        marker={"color": colour, "symbol": symbol, "size": 20, "line": {"width": 2.5}},
    )
