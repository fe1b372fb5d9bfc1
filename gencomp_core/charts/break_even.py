"""From where a number format pays on this machine: speed-up against width."""

import pandas as pd
import plotly.graph_objects as go

from gencomp_core.charts.theme import log_axis

FORMAT_COLOURS = {
    "int8": "#d55e00",
    "int8 weights": "#e69f00",
    "float": "#6b7280",
    "bf16": "#009e73",
    "channel pruning": "#0072b2",
}
"""From Okabe & Ito's palette, as everywhere."""
RUNTIME_DASHES = {"eager": "dot", "openvino": "solid", "openvino-bf16": "longdash", "onnxruntime": "dash"}


def break_even_chart(table: pd.DataFrame, *, title: str = "") -> go.Figure:
    """One line for each runtime and format; 1 is as fast as floats in the same runtime, the grey band is noise.

    Args:
        table: rows of one kind of layer at one size, with columns `width`, `runtime`, `format`, `speed_up`,
            `speed_up_low`, `speed_up_high`, `noise_low`, `noise_high`, `ms`. Floats themselves are not drawn.
    """
    figure = go.Figure()
    shown = table[table["format"] != "float"]
    if not table.empty:
        figure.add_hrect(
            y0=1 / float(table["noise_high"].max()),
            y1=float(table["noise_high"].max()),
            fillcolor="rgba(107,114,128,0.15)",
            line_width=0,
            annotation={"text": "noise", "font": {"size": 11}},
        )
    figure.add_hline(y=1, line={"color": "#6b7280", "width": 1, "dash": "dot"})
    for (runtime, form), rows in shown.groupby(["runtime", "format"], sort=False):
        own = rows.sort_values("width")
        colour = FORMAT_COLOURS.get(str(form), "#56b4e9")
        figure.add_scatter(
            x=own["width"],
            y=own["speed_up"],
            mode="lines+markers",
            name=f"{form}, {runtime}",
            line={"color": colour, "dash": RUNTIME_DASHES.get(str(runtime), "solid"), "width": 2},
            customdata=own["ms"],
            hovertemplate="width %{x}: %{y:.2f} × (%{customdata:.3g} ms)<extra>%{fullData.name}</extra>",
            error_y={
                "type": "data",
                "symmetric": False,
                "array": own["speed_up_high"] - own["speed_up"],
                "arrayminus": own["speed_up"] - own["speed_up_low"],
                "thickness": 1,
                "width": 0,
            },
        )
    figure.update_layout(
        title=title or None,
        xaxis=log_axis("channels (log)", table["width"]) if not table.empty else {"title": "channels"},
        yaxis={"title": "times faster than floats in the same runtime", "rangemode": "tozero"},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        margin={"l": 10, "r": 10, "t": 70 if title else 40, "b": 10},
        height=420,
    )
    return figure
