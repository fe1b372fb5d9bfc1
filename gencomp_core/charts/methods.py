"""What a compression stage does to a real model: a map of weights, histograms, a ranking, lines, points or dots.

The first series of a table is the reference (dense, or the simplest technique) and grey; the others have colours
from Okabe & Ito's palette for colour-blind readers, and a mark or dash of their own.
"""

import math
from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

REFERENCE_COLOUR = "#7b8794"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
MARKS = ("circle-open", "circle", "diamond", "square", "triangle-up")
DASHES = ("solid", "solid", "dash", "dot", "dashdot")
NEGATIVE, POSITIVE = "0,114,178", "213,94,0"
FAINTEST = 0.10
SIGNED_SCALE = [
    [0.0, f"rgb({NEGATIVE})"],
    [0.5, f"rgba({NEGATIVE},{FAINTEST})"],
    [0.5, f"rgba({POSITIVE},{FAINTEST})"],
    [1.0, f"rgb({POSITIVE})"],
]
"""Fades towards 0, so that it stands on light and dark; an exact zero has no colour at all."""
CELL_HEIGHT, PANEL_HEIGHT, DOT_HEIGHT = 13, 105, 21


def weight_map(table: pd.DataFrame, *, x_title: str, y_title: str) -> go.Figure:
    """The same corner of a weight matrix in several versions beside each other; exact zeros are holes.

    Args:
        table: columns `series`, `row`, `column`, `value`; all cells of each series.
    """
    names = list(dict.fromkeys(table["series"]))
    figure = make_subplots(1, len(names), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.03)
    largest = table["value"].abs().quantile(0.99)
    for place, name in enumerate(names, start=1):
        cells = table[table["series"] == name].pivot(index="row", columns="column", values="value")
        figure.add_heatmap(
            z=cells.where(cells != 0),
            x=cells.columns,
            y=cells.index,
            row=1,
            col=place,
            zmin=-largest,
            zmax=largest,
            colorscale=SIGNED_SCALE,
            xgap=1,
            ygap=1,
            showscale=False,
            hovertemplate=f"{name}<br>{y_title} %{{y}}, {x_title} %{{x}}: %{{z:.3f}}<extra></extra>",
            hoverongaps=False,
        )
    figure.update_xaxes(showgrid=False, zeroline=False, showticklabels=False, title={"text": x_title, "standoff": 4})
    figure.update_yaxes(showgrid=False, zeroline=False, showticklabels=False, autorange="reversed")
    figure.update_yaxes(title={"text": y_title, "standoff": 4}, col=1)
    return _laid_out(figure, height=75 + CELL_HEIGHT * int(table["row"].nunique()), top=26)


def histograms(table: pd.DataFrame, *, x_title: str, y_title: str) -> go.Figure:
    """Shares of values, one panel a series below each other on a common axis.

    Args:
        table: columns `series`, `x` (middle of a bin, or a level), `width`, `value` (share, 0 to 1).
    """
    names = list(dict.fromkeys(table["series"]))
    figure = make_subplots(len(names), 1, shared_xaxes=True, vertical_spacing=0.1, subplot_titles=names)
    for place, name in enumerate(names, start=1):
        bars = table[table["series"] == name]
        figure.add_bar(
            x=bars["x"],
            y=bars["value"],
            width=bars["width"],
            row=place,
            col=1,
            name=name,
            showlegend=False,
            marker={"color": _colour(place - 1), "line": {"width": 0}},
            hovertemplate=f"{name}<br>{x_title} %{{x:.3f}}: %{{y:.1%}}<extra></extra>",
        )
    figure.update_yaxes(tickformat=".0%", nticks=4)
    figure.update_yaxes(title={"text": y_title, "standoff": 4}, row=(len(names) + 1) // 2)
    figure.update_xaxes(title={"text": x_title, "standoff": 4}, row=len(names))
    for label in figure.layout.annotations:
        label.update(x=1, xanchor="right")
    return _laid_out(figure, height=60 + PANEL_HEIGHT * len(names), top=22)


def ranking(table: pd.DataFrame, *, x_title: str, y_title: str) -> go.Figure:
    """Bars from small to large, coloured by what became of each; a row without a value has its bar in another series.

    Args:
        table: columns `series`, `x` (rank), `value`.
    """
    figure = go.Figure()
    for place, name in enumerate(dict.fromkeys(table["series"])):
        bars = table[(table["series"] == name) & table["value"].notna()]
        figure.add_bar(
            x=bars["x"],
            y=bars["value"],
            name=name,
            width=0.8,
            marker={"color": _colour(place), "line": {"width": 0}},
            hovertemplate=f"{name}<br>{x_title} %{{x}}: %{{y:.4g}}<extra></extra>",
        )
    figure.update_xaxes(title={"text": x_title, "standoff": 4})
    figure.update_yaxes(title={"text": y_title, "standoff": 4})
    return _with_legend(_laid_out(figure, height=320, top=26))


def lines(table: pd.DataFrame, *, x_title: str, y_title: str) -> go.Figure:
    """One value over another, a line a series; a row without a value is a gap.

    Args:
        table: columns `series`, `x`, `value`.
    """
    figure = go.Figure()
    for place, name in enumerate(dict.fromkeys(table["series"])):
        points = table[table["series"] == name]
        figure.add_scatter(
            x=points["x"],
            y=points["value"],
            mode="lines",
            name=name,
            connectgaps=False,
            line={"color": _colour(place), "dash": DASHES[place % len(DASHES)], "width": 2},
            hovertemplate=f"{name}<br>{x_title} %{{x:g}}: %{{y:.4g}}<extra></extra>",
        )
    figure.update_xaxes(title={"text": x_title, "standoff": 4})
    figure.update_yaxes(title={"text": y_title, "standoff": 4})
    return _with_legend(_laid_out(figure, height=320, top=26))


def points(table: pd.DataFrame, *, x_title: str, y_title: str) -> go.Figure:
    """Two positive values against each other on logarithmic axes, with the line where they are equal.

    Args:
        table: columns `series`, `x`, `value`.
    """
    figure = go.Figure()
    ends = [max(table["x"].min(), table["value"].min()), min(table["x"].max(), table["value"].max())]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", name="equal", hoverinfo="skip", line={"color": REFERENCE_COLOUR, "dash": "dot"}
    )
    for place, name in enumerate(dict.fromkeys(table["series"])):
        rows = table[table["series"] == name]
        figure.add_scatter(
            x=rows["x"],
            y=rows["value"],
            mode="markers",
            name=name,
            marker={"color": _colour(place), "symbol": MARKS[place % len(MARKS)], "size": 6},
            hovertemplate=f"{name}<br>{x_title}: %{{x:.3g}}<br>{y_title}: %{{y:.3g}}<extra></extra>",
        )
    figure.update_xaxes(**_log_axis(x_title, table["x"]))
    figure.update_yaxes(**_log_axis(y_title, table["value"]))
    return _with_legend(_laid_out(figure, height=320, top=26))


def dots(table: pd.DataFrame, *, x_title: str, y_title: str) -> go.Figure:
    """Values by name, a row a name and a mark a series, in the order of the table.

    Args:
        table: columns `series`, `name`, `value`.
    """
    figure = go.Figure()
    for place, name in enumerate(dict.fromkeys(table["series"])):
        points = table[table["series"] == name]
        figure.add_scatter(
            x=points["value"],
            y=points["name"],
            mode="markers",
            name=name,
            marker={
                "color": _colour(place),
                "symbol": MARKS[place % len(MARKS)],
                "size": 9,
                "line": {"width": 2 if place == 0 else 0, "color": _colour(place)},
            },
            hovertemplate=f"%{{y}}, {name}<br>{x_title}: %{{x:.4g}}<extra></extra>",
        )
    order = list(dict.fromkeys(table["name"]))
    figure.update_xaxes(title={"text": x_title, "standoff": 4})
    figure.update_yaxes(
        title={"text": y_title, "standoff": 4} if y_title else None,
        type="category",
        categoryorder="array",
        categoryarray=order[::-1],
        automargin=True,
        showgrid=True,
    )
    return _with_legend(_laid_out(figure, height=100 + DOT_HEIGHT * len(order), top=26))


VIEWS: dict[str, Callable[..., go.Figure]] = {
    "map": weight_map,
    "histograms": histograms,
    "ranking": ranking,
    "lines": lines,
    "points": points,
    "dots": dots,
}
"""Every view by the name that recorded pictures use; all take a table and titles."""


def _log_axis(title: str, values: pd.Series) -> dict[str, object]:
    """Logarithmic axis with few marks, written out; more of them where the values lie within a decade."""
    low, high = float(values.min()), float(values.max())
    steps = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 5, 7)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [step * 10.0**decade for decade in decades for step in steps]
    return {
        "title": {"text": title, "standoff": 4},
        "type": "log",
        "tickvals": marks,
        "ticktext": [f"{mark:g}" for mark in marks],
    }


def _colour(place: int) -> str:
    return REFERENCE_COLOUR if place == 0 else COLOURS[(place - 1) % len(COLOURS)]


def _laid_out(figure: go.Figure, *, height: int, top: int) -> go.Figure:
    figure.update_annotations(font={"size": 13})
    return figure.update_layout(height=height, margin={"l": 10, "r": 10, "t": top, "b": 10}, dragmode="pan", bargap=0)


def _with_legend(figure: go.Figure) -> go.Figure:
    return figure.update_layout(
        showlegend=True, legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "xanchor": "left"}
    )
