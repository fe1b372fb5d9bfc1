"""Sensitivity as charts: layer × level and layer × position as heatmaps, the most sensitive layers as bars."""

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

COLOURS = "Cividis"
"""Perceptually even, and the same for colour-blind readers."""

BAR_COLOUR = "#0072b2"
UNSAFE_COLOUR = "#d55e00"
SELECTED_COLOUR = "#e69f00"
ROW_HEIGHT = 17
MARGIN = {"l": 10, "r": 10, "t": 10, "b": 10}
SMALLEST = 1e-12


def damage_heatmap(
    matrix: pd.DataFrame, *, unit: str, x_title: str, picked: str | None = None, values_title: str = "damage"
) -> go.Figure:
    """Layers × columns, on a logarithmic colour scale; each cell has a marker to click on.

    A heatmap itself reports no clicks to the page, so that transparent squares lie over it, whose `customdata` holds
    the layer. What is not finite is left white and marked ×.

    Args:
        matrix: damages, layers as index and options or positions as columns.
        picked: layer to frame.
    """
    layers, columns = [str(name) for name in matrix.index], [str(name) for name in matrix.columns]
    values = matrix.to_numpy(float)
    logs = np.log10(np.where(np.isfinite(values), np.maximum(values, SMALLEST), np.nan))
    low, high = _range(logs)
    ticks = list(range(math.floor(low), math.ceil(high) + 1))
    figure = go.Figure(
        go.Heatmap(
            x=columns, y=layers, z=logs, zmin=low, zmax=high, colorscale=COLOURS, hoverinfo="skip",
            colorbar={"title": f"{values_title} (log)", "tickvals": ticks, "ticktext": [f"1e{t}" for t in ticks]},
        )
    )  # fmt: skip
    places = itertools.product(range(len(layers)), range(len(columns)))
    cells = [(layers[row], columns[column], float(values[row, column])) for row, column in places]
    known = [cell for cell in cells if not math.isnan(cell[2])]
    figure.add_scatter(
        x=[column for _, column, _ in known],
        y=[layer for layer, _, _ in known],
        mode="markers",
        marker={
            "symbol": _once(["square" if math.isfinite(value) else "x-thin" for _, _, value in known]),
            "size": 14,
            "opacity": _once([0.0 if math.isfinite(value) else 1.0 for _, _, value in known]),
            "color": "#6b7280",
            "line": {"width": 2, "color": "#6b7280"},
        },
        customdata=[[layer] for layer, _, _ in known],
        text=[f"{value:.3g}" if math.isfinite(value) else "not finite" for _, _, value in known],
        hovertemplate=f"%{{y}}<br>%{{x}}<br>%{{text}}<br>{unit}<extra></extra>",
        showlegend=False,
        selected={"marker": {"opacity": 0.0}},
        unselected={"marker": {"opacity": 0.0}},
    )
    if picked in layers:
        row = layers.index(picked)
        figure.add_shape(
            type="rect", x0=-0.5, x1=len(columns) - 0.5, y0=row - 0.5, y1=row + 0.5,
            line={"color": SELECTED_COLOUR, "width": 2.5},
        )  # fmt: skip
    figure.update_layout(
        xaxis={"type": "category", "title": x_title, "side": "top"},
        yaxis={"type": "category", "autorange": "reversed"},
        height=110 + ROW_HEIGHT * max(6, len(layers)),
        margin=MARGIN,
        clickmode="event+select",
        dragmode=False,
    )
    return figure


def ranked_bars(table: pd.DataFrame, *, unit: str, allowed: float, picked: str | None = None) -> go.Figure:
    """Layers as bars of their damage with intervals, the most sensitive on top; `customdata` holds the layer.

    Args:
        table: columns `layer`, `damage`, `low`, `high`, in the order to show.
        allowed: damage that is usual; bars beyond it have the colour of a warning.
        picked: layer to frame.
    """
    shown = table[np.isfinite(table["damage"])]
    frames = [2.5 if layer == picked else 0 for layer in shown["layer"]]
    figure = go.Figure(
        go.Bar(
            x=shown["damage"], y=shown["layer"], orientation="h", customdata=shown[["layer"]],
            marker={
                "color": [UNSAFE_COLOUR if value > allowed else BAR_COLOUR for value in shown["damage"]],
                "line": {"color": SELECTED_COLOUR, "width": frames},
            },
            error_x={
                "type": "data", "symmetric": False, "array": shown["high"] - shown["damage"],
                "arrayminus": shown["damage"] - shown["low"], "thickness": 1, "color": "#6b7280",
            },
            hovertemplate=f"%{{y}}<br>%{{x:.3g}}<br>{unit}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis={"title": "damage (lower is better)", "rangemode": "tozero", "exponentformat": "power"},
        yaxis={"type": "category", "autorange": "reversed"},
        height=90 + 26 * max(3, len(shown)),
        margin=MARGIN,
        clickmode="event+select",
        dragmode=False,
    )
    return figure


def weight_histogram(edges: np.ndarray, counts: np.ndarray, *, kept_above: float | None = None) -> go.Figure:
    """How a layer's weights are spread; lines mark what an option would zero.

    Args:
        edges: (n + 1,) of bins.
        counts: (n,) weights in each.
        kept_above: magnitude below which weights would become zero.
    """
    centres = (edges[1:] + edges[:-1]) / 2
    shown = {"marker": {"color": BAR_COLOUR}, "hovertemplate": "%{y} at %{x:.3g}<extra></extra>"}
    figure = go.Figure(go.Bar(x=centres, y=counts, **shown))
    for place in () if kept_above is None else (-kept_above, kept_above):
        figure.add_vline(x=place, line={"color": UNSAFE_COLOUR, "width": 1.5, "dash": "dot"})
    figure.update_layout(
        xaxis={"title": "weight"},
        yaxis={"title": "weights (log)", "type": "log"},
        bargap=0.02,
        height=220,
        margin=MARGIN,
    )
    return figure


def _once(values: list[Any]) -> Any:
    """Equal values as one, which travels once."""
    return values[0] if values and len(set(values)) == 1 else values


def _range(logs: np.ndarray) -> tuple[float, float]:
    """Ends of the colour scale: whole decades, six at most below the largest."""
    if np.isnan(logs).all():
        return -1.0, 0.0
    high = float(np.nanmax(logs))
    low = max(float(np.nanmin(logs)), high - 6)
    return low, high if high > low else low + 1
