"""What a plan does to each layer, and how far predictions were off."""

import pandas as pd
import plotly.graph_objects as go

BAR = "#56b4e9"
ZEROS = "#0072b2"
INSIDE = {True: "#009e73", False: "#d55e00"}
FLOAT_BITS = 32


def plan_bars(layers: pd.DataFrame) -> go.Figure:
    """Bits a weight of each layer as stored, from top to bottom as in the model; zeros in words.

    Args:
        layers: columns `layer`, `sparsity`, `bits` (empty for float32), `size_bytes`, `dense_size_bytes`, `damage`.
    """
    stored = FLOAT_BITS * layers["size_bytes"] / layers["dense_size_bytes"]
    widths = [f"{int(bits)} bits" if pd.notna(bits) else "float32" for bits in layers["bits"]]
    zeros = [f", {sparsity:.0%} zeros" if sparsity else "" for sparsity in layers["sparsity"]]
    figure = go.Figure()
    figure.add_bar(
        x=stored,
        y=layers["layer"],
        orientation="h",
        marker={"color": [ZEROS if sparsity else BAR for sparsity in layers["sparsity"]]},
        text=[width + zero for width, zero in zip(widths, zeros, strict=True)],
        textposition="auto",
        customdata=layers[["size_bytes", "dense_size_bytes", "damage"]],
        hovertemplate=(
            "%{y}<br>%{text}<br>%{customdata[0]:,} of %{customdata[1]:,} bytes<br>"
            "damage %{customdata[2]:.2g}<extra></extra>"
        ),
    )
    figure.update_layout(
        xaxis={
            "title": "bits a weight as stored, scales and masks included",
            "range": [0, min(34, 1.1 * stored.max())],
        },
        yaxis={"autorange": "reversed", "automargin": True},
        height=max(220, 22 * len(layers) + 80),
        margin={"l": 10, "r": 10, "t": 10, "b": 40},
        showlegend=False,
    )
    return figure


def predicted_chart(ledger: pd.DataFrame, *, title: str) -> go.Figure:
    """Predicted change of quality against the measured one, with intervals and the line where both are equal.

    Args:
        ledger: rows of the ledger; those that were not measured, or without a predicted quality, are left out.
        title: of the metric.
    """
    told = ledger.dropna(subset=["change_predicted", "change_measured"])
    figure = go.Figure()
    if len(told):
        ends = [*told["change_measured"], *told["change_predicted"]]
        line = [min(ends), max(ends)]
        figure.add_scatter(x=line, y=line, mode="lines", line={"color": "#9ca3af", "dash": "dot"}, hoverinfo="skip")
    for inside, rows in told.groupby(told["inside"].astype(bool)):
        figure.add_scatter(
            x=rows["change_measured"],
            y=rows["change_predicted"],
            mode="markers",
            name="within its interval" if inside else "outside",
            text=rows["title"],
            customdata=rows["recipe_signature"],
            hovertemplate="%{text}<br>measured %{x:+.2f}, predicted %{y:+.2f}<extra></extra>",
            marker={"color": INSIDE[bool(inside)], "size": 9, "symbol": "circle" if inside else "x"},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": rows["change_high"] - rows["change_predicted"],
                "arrayminus": rows["change_predicted"] - rows["change_low"],
                "thickness": 1,
                "width": 0,
            },
        )
    figure.update_layout(
        xaxis_title=f"measured change of {title}",
        yaxis_title=f"predicted change of {title}",
        margin={"l": 10, "r": 10, "t": 10, "b": 40},
        showlegend=False,
    )
    return figure
