"""Parts of the Sensitivity page: its empty state, its tiles and doubts, and the card of one layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from gencomp_core.charts.sensitivity import weight_histogram
from gencomp_core.charts.theme import bytes_text
from gencomp_core.records import LayerOption, LayerScore, Scan
from gencomp_core.services import jobs, layer_cards
from gencomp_core.services import scores as reading
from gencomp_core.services.job_kinds import command_line
from gencomp_core.store import Store
from pages._widgets import nothing_yet, restore_demo_button, shown_errors

PICKED_LAYER = "picked_layer"
USUAL = {"axis": ["sparsity", "bits"], "method": "fisher"}


def scan_label(scan: Scan) -> str:
    """One scan in a few words, unique."""
    request = scan.request
    return f"{request.method}, {request.direction}, n={request.n_samples}, seed {request.seed} · {scan.signature[:6]}"


def no_scan_yet(store: Store, workload: str) -> None:
    """Empty state: the button starts the usual scan as a job, whose progress is shown."""
    parameters = {"workload": workload, **USUAL}
    nothing_yet(
        "scans of this workload",
        "A scan finds what each layer minds; the usual one takes a minute.",
        command=command_line("scan", parameters),
    )
    st.button(
        "Scan it now", type="primary", icon=":material/radar:", key="sensitivity.start", on_click=_start,
        args=(store, parameters),
    )  # fmt: skip
    job = jobs.latest(store, "scan", parameters)
    st.fragment(_progress, run_every=1.0 if job and job.is_active else None)(store, parameters)
    restore_demo_button(store)


def _start(store: Store, parameters: dict[str, Any]) -> None:
    with shown_errors():
        jobs.start(store, "scan", parameters)


def _progress(store: Store, parameters: dict[str, Any]) -> None:
    job = jobs.latest(store, "scan", parameters)
    if job is None:
        return
    if job.is_active:
        told = job.progress
        st.progress(told.fraction if told else 0.0, text=told.what if told else "its process is starting")
    elif job.state == "done" and reading.scans_of(store, parameters["workload"]):
        st.rerun()
    elif job.message:
        st.error(f"The scan ended without scores: {job.message}", icon=":material/error:")


def scan_tiles(ranked: pd.DataFrame, scan: Scan, *, option: str, n_unsafe: int) -> None:
    """The answer in a sentence; worst and mildest layer, what the level saves, and how many layers are unsafe."""
    worst, best = ranked.iloc[0], ranked.iloc[-1]
    times = worst["damage"] / best["damage"] if best["damage"] > 0 else np.inf
    st.markdown(
        f"At {option}, **{worst['layer']}** minds most and **{best['layer']}** least"
        + (f": {times:,.0f} × less damage." if np.isfinite(times) else ".")
    )
    columns = st.columns(4)
    saved = int(ranked["dense_size_bytes"].sum() - ranked["size_bytes"].sum())
    plain: dict[str, Any] = {"delta_color": "off", "delta_arrow": "off", "border": True, "height": "stretch"}
    told = f"Damage of the layer when it alone gets {option}: {scan.unit}."
    columns[0].metric("Most damage ↓", f"{worst['damage']:.2g}", worst["layer"], help=told, **plain)
    columns[1].metric("Least damage ↓", f"{best['damage']:.2g}", best["layer"], help=told, **plain)
    columns[2].metric(
        "All layers would save", bytes_text(saved), border=True, height="stretch", help=f"Exact bytes at {option}."
    )
    columns[3].metric(
        "Unsafe layers",
        n_unsafe,
        border=True,
        height="stretch",
        help="Harmed beyond what is usual at the mildest level.",
    )


def scan_doubts(store: Store, scan: Scan, scores: Sequence[LayerScore], unsafe: Mapping[str, str]) -> None:
    """Rank correlation with other methods, what is unsafe, and what can't be touched."""
    correlations = reading.correlations_of(store, scan, [own for own in scores if own.position is None])
    for own in correlations:
        st.caption(f"Spearman of {own.methods[0]} with {own.methods[1]}: {own.spearman:.2f} over {own.n} options.")
    for line in reading.warnings_of(correlations):
        st.warning(line, icon=":material/warning:")
    if unsafe:
        with st.expander(f"{len(unsafe)} unsafe layers", icon=":material/warning:"):
            st.dataframe([{"layer": name, "why": why} for name, why in unsafe.items()], hide_index=True)
    beyond = scan.untouchable | {f"{name} (channels)": why for name, why in scan.fixed_channels.items()}
    if beyond:
        with st.expander(f"{len(beyond)} that can't be touched", icon=":material/block:"):
            st.dataframe([{"part": name, "why": why} for name, why in beyond.items()], hide_index=True)


def pick_layer(workload: str, layers: Sequence[str], ranked: pd.DataFrame) -> str:
    """The picked layer, from our own state; by keyboard from a select box."""
    picks: dict[str, str] = st.session_state.setdefault(PICKED_LAYER, {})
    if picks.get(workload) not in layers:
        picks[workload] = str(ranked["layer"].iloc[0])
    chosen = st.selectbox(
        "Layer (click a bar or a cell, or choose here)", layers, index=list(layers).index(picks[workload])
    )
    picks[workload] = str(chosen)
    return picks[workload]


def pick_cell(workload: str, event: Any, chart: str) -> None:
    """Take a click on a chart over into the picked layer, once."""
    points = event["selection"]["points"]
    clicked = next((point["customdata"][0] for point in points if point.get("customdata")), None)
    key = f"sensitivity.clicked.{chart}"
    if clicked is None or st.session_state.get(key) == (workload, clicked):
        return
    st.session_state[key] = (workload, clicked)
    if st.session_state[PICKED_LAYER].get(workload) != clicked:
        st.session_state[PICKED_LAYER][workload] = str(clicked)
        st.rerun()


@st.cache_data(max_entries=64, show_spinner=False)
def _positions(
    url: str, signature: str, seconds: float, option: LayerOption, _store: Store, _scan: Scan
) -> pd.DataFrame:
    """Rows of one option at each position, read once for each state of a scan."""
    return reading.table_of(reading.positions_of(_store, _scan, option))


def position_table(store: Store, scan: Scan, option: LayerOption, layers: Sequence[str]) -> pd.DataFrame:
    """Damage of some layers under one option at each position of the generation."""
    table = _positions(store.shown_url, scan.signature, scan.seconds, option, store, scan)
    return table[table["layer"].isin(layers)]


def layer_card(
    workload: str, scan: Scan, ranked: pd.DataFrame, at_positions: pd.DataFrame | None, layer: str, *, axis: str,
    option: str,
) -> None:  # fmt: skip
    """How a layer's weights are spread, why it may be sensitive, the usual cure, and where to try it."""
    whole = ranked[ranked["layer"] == layer]
    positions = ranked.iloc[:0] if at_positions is None else at_positions[at_positions["layer"] == layer]
    if whole.empty:
        st.caption(f"{layer} has no score at {option}.")
        return
    row = whole.iloc[0]
    profile = layer_cards.weight_profile(workload, layer)
    with st.container(border=True):
        left, right = st.columns([1, 1.2])
        left.markdown(
            f"**{layer}**{f', {profile.shape}' if profile else ''}: damage {row['damage']:.3g} "
            f"[{row['low']:.3g}, {row['high']:.3g}] at {option}; {bytes_text(row['size_bytes'])} of "
            f"{bytes_text(row['dense_size_bytes'])}."
        )
        if axis == "joint" and not np.isnan(row["interaction"]):
            left.markdown(f"Interaction: {row['interaction']:+.3g} beyond the sum of both effects.")
        by_position = positions.set_index("position")["damage"]
        for why, cure in layer_cards.reasons(layer, list(scan.layers) or [layer], profile, by_position):
            left.markdown(f"- {why} *{cure}*")
        if profile is not None:
            right.plotly_chart(
                weight_histogram(profile.edges, profile.counts), key="sensitivity.histogram",
                config={"displayModeBar": False}, alt=f"Histogram of the weights of {layer}",
            )  # fmt: skip
        _try_it(workload, axis, row, left)


def _try_it(workload: str, axis: str, row: pd.Series, place: Any) -> None:
    """Link to Explore with this level on all layers: there the picture tells."""
    address = {"workload": workload}
    if row["sparsity"]:
        address["explore.sparsity"] = str(round(100 * row["sparsity"]))
    if not pd.isna(row["bits"]):
        address["explore.bits"] = str(int(row["bits"]))
    if axis == "pruning_ratio":
        address["explore.channels"] = str(round(10 * row["pruning_ratio"]) * 10)
    place.page_link("pages/explore.py", label="Try this level on all layers in Explore", icon=":material/tune:",
                    query_params=address)  # fmt: skip
