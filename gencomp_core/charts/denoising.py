"""How far recipes drift from dense on the way from noise to image."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""One per configuration beside dense, in the order in which they were chosen."""


def divergence_chart(drifts: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], *, step: int) -> go.Figure:
    """Distance from the dense states after each step: median over samples, quartiles as a band.

    Args:
        drifts: lower quartile, median and upper quartile, (steps + 1,) each, by configuration.
        step: the one that is shown beside it, marked.
    """
    figure = go.Figure()
    for (name, (low, middle, high)), colour in zip(drifts.items(), COLOURS, strict=False):
        steps = list(range(len(middle)))
        figure.add_scatter(
            x=[*steps, *reversed(steps)], y=[*high, *low[::-1]], fill="toself", fillcolor=colour, opacity=0.18,
            line={"width": 0}, hoverinfo="skip", showlegend=False, legendgroup=name,
        )  # fmt: skip
        figure.add_scatter(
            x=steps, y=middle, mode="lines+markers", name=name, legendgroup=name, line={"color": colour},
            hovertemplate=f"{name}<br>after step %{{x}}: %{{y:.1%}}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=step, line={"color": "#6b7280", "width": 2, "dash": "dot"})
    return figure.update_layout(
        xaxis={"title": "sampler steps done, from noise to image", "dtick": 2},
        yaxis={"title": "distance from dense ↓", "tickformat": ".0%", "rangemode": "tozero"},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        height=280,
    )
