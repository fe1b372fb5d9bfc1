"""Where two recipes spend their bytes."""

import pandas as pd
import plotly.graph_objects as go

A_COLOUR, B_COLOUR = "#0072b2", "#d55e00"


def layer_bytes_chart(table: pd.DataFrame, *, a: str, b: str, n: int = 15) -> go.Figure:
    """Bytes of the layers that differ most, as a pair of points on one line each.

    Args:
        table: columns `layer`, `bytes_a`, `bytes_b`, the largest difference first.
        a, b: names for the legend.
        n: layers shown.
    """
    shown = table.head(n).iloc[::-1]
    figure = go.Figure()
    for layer, own, other in zip(shown["layer"], shown["bytes_a"], shown["bytes_b"], strict=True):
        figure.add_scatter(
            x=[own, other], y=[layer, layer], mode="lines", line={"color": "#9ca3af", "width": 2}, hoverinfo="skip",
            showlegend=False,
        )  # fmt: skip
    for name, column, colour, symbol in ((a, "bytes_a", A_COLOUR, "circle"), (b, "bytes_b", B_COLOUR, "square")):
        figure.add_scatter(
            x=shown[column], y=shown["layer"], mode="markers", name=name,
            marker={"color": colour, "symbol": symbol, "size": 10}, hovertemplate="%{y}: %{x:,} bytes<extra></extra>",
        )  # fmt: skip
    return figure.update_layout(
        xaxis={"title": "bytes in the weights file ↓", "rangemode": "tozero"},
        yaxis={"type": "category"},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        height=110 + 24 * len(shown),
    )
