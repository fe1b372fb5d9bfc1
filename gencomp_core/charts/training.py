"""How training went and what its strategies bought: curves by arm, and ratios with whiskers by verdict."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gencomp_core.charts.theme import log_axis

ARM_COLOURS = {"shipped": "#0072b2", "without": "#6b7280", "with": "#0072b2"}
ARM_DASHES = {"shipped": "solid", "without": "dot", "with": "solid"}
VERDICT_COLOURS = {"helps": "#0072b2", "hurts": "#d55e00", "no difference": "#6b7280"}
"""From Okabe & Ito's palette for colour-blind readers; the mark says the same."""
VERDICT_MARKS = {"helps": "circle", "hurts": "diamond", "no difference": "circle-open"}
SELECTED_COLOUR = "#e69f00"
X_TITLES = {"step": "steps", "seconds": "seconds of training"}
ROW_HEIGHT = 30
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1, 1.25, 2, 5, 10, 20, 50)


def curve_chart(
    curve: pd.DataFrame, *, x: str, held_out: str | None, held_out_title: str = "", log: bool = False
) -> go.Figure:
    """Training loss, and below it a held-out figure, one line per arm and seed.

    Args:
        curve: columns `arm`, `seed`, `step`, `seconds`, `quantity`, `value`.
        x: `step` or `seconds`.
        held_out: quantity of the lower panel; None leaves it out.
        held_out_title: with its direction.
        log: logarithmic axis of the lower panel.
    """
    quantities = {"loss": "training loss"} | ({held_out: held_out_title or held_out} if held_out else {})
    figure = make_subplots(rows=len(quantities), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    named = set()
    for panel, (quantity, title) in enumerate(quantities.items(), start=1):
        for (arm, seed), points in curve[curve["quantity"] == quantity].groupby(["arm", "seed"], sort=False):
            figure.add_scatter(
                x=points[x],
                y=points["value"],
                row=panel,
                col=1,
                mode="lines" if quantity == "loss" else "lines+markers",
                name=str(arm),
                legendgroup=str(arm),
                showlegend=arm not in named,
                line={"color": ARM_COLOURS[str(arm)], "dash": ARM_DASHES[str(arm)], "width": 1.8},
                hovertemplate=f"{arm}, seed {seed}<br>{X_TITLES[x]}: %{{x:,.0f}}<br>{title}: %{{y:.4g}}<extra></extra>",
            )
            named.add(arm)
        figure.update_yaxes(title=title, row=panel, col=1)
    figure.update_xaxes(title=X_TITLES[x], row=len(quantities), col=1)
    if log and held_out:
        marked = log_axis(held_out_title, curve.loc[curve["quantity"] == held_out, "value"])
        figure.update_yaxes(**marked, row=len(quantities), col=1)
    figure.update_layout(
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        height=210 * len(quantities),
    )
    return figure


def strategy_chart(table: pd.DataFrame, *, selected: str | None = None) -> go.Figure:
    """What each strategy bought: ratio of the metric with it to without it, right of the line is better.

    Args:
        table: columns `name`, `title`, `times_better`, `low`, `high`, `verdict`; rows without a ratio are left out.
        selected: name of the ablation to ring.
    """
    placed = table[table["times_better"].notna()].sort_values("times_better", kind="stable")
    figure = go.Figure()
    for verdict, rows in placed.groupby("verdict", sort=False):
        figure.add_scatter(
            x=rows["times_better"],
            y=rows["title"],
            mode="markers",
            name=str(verdict),
            customdata=rows["name"],
            text=[f"{low:.2f}, {high:.2f}" for low, high in zip(rows["low"], rows["high"], strict=True)],
            hovertemplate=f"%{{y}}<br>%{{x:.2f}} × as good with it [%{{text}}]<br>{verdict}<extra></extra>",
            marker={
                "color": VERDICT_COLOURS[str(verdict)],
                "symbol": VERDICT_MARKS[str(verdict)],
                "size": 11,
                "line": {"width": 2 if verdict == "no difference" else 0},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": rows["high"] - rows["times_better"],
                "arrayminus": rows["times_better"] - rows["low"],
                "thickness": 1.5,
                "width": 0,
            },
        )
    ring = placed[placed["name"] == selected]
    if len(ring):
        figure.add_scatter(
            x=ring["times_better"],
            y=ring["title"],
            mode="markers",
            name="picked",
            hoverinfo="skip",
            marker={"color": SELECTED_COLOUR, "symbol": "circle-open", "size": 20, "line": {"width": 2.5}},
        )
    figure.add_vline(x=1, line={"color": "#6b7280", "width": 1, "dash": "dot"})
    figure.update_layout(
        xaxis={
            "title": "← worse with it · better with it →",
            "type": "log",
            "tickvals": list(TICKS),
            "ticktext": [f"{tick:g} ×" for tick in TICKS],
        },
        yaxis={"type": "category", "categoryorder": "array", "categoryarray": list(placed["title"])},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        height=130 + ROW_HEIGHT * len(placed),
        clickmode="event+select",
        dragmode="pan",
    )
    return figure
