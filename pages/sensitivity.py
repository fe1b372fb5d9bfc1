"""Sensitivity: which layers mind being compressed, at which level, and where in the generation."""

import streamlit as st

from gencomp_core.charts.sensitivity import damage_heatmap, ranked_bars
from gencomp_core.services import scores as reading
from gencomp_core.workloads import CATALOG
from pages._sensitivity_views import (
    layer_card,
    no_scan_yet,
    pick_cell,
    pick_layer,
    position_table,
    scan_doubts,
    scan_label,
    scan_tiles,
)
from pages._widgets import forget_unless_in, pick_workload, shown_errors, store_or_stop, table_twin

AXES = {"sparsity": "zeroed weights", "bits": "bits", "joint": "both", "pruning_ratio": "channels"}
N_RANKED = 10
KEPT = {"bind": "query-params", "persist_state": "session"}

workload = pick_workload()
st.title("Sensitivity")
store = store_or_stop()
scans = []
with shown_errors():
    scans = reading.scans_of(store, workload)
if not scans:
    no_scan_yet(store, workload)
    st.stop()

first, second, third = st.columns([1.6, 1.2, 1.2])
names = {scan_label(scan): scan for scan in scans}
forget_unless_in("sensitivity.scan", names)
scan = names[first.selectbox("Scan", list(names), key="sensitivity.scan", **KEPT)]
scores = []
with shown_errors():
    scores = reading.scores_of(store, scan)
table = reading.table_of(scores)
if table.empty:
    no_scan_yet(store, workload)
    st.stop()

axes = [axis for axis in AXES if axis in set(table["axis"])]
forget_unless_in("sensitivity.axis", axes)
axis = second.segmented_control(
    "What is done", axes, format_func=AXES.get, default=axes[0], required=True, key="sensitivity.axis", **KEPT
)
search = third.text_input("Layers that contain", key="sensitivity.search", placeholder="such as attention", **KEPT)
rows = table[table["axis"] == axis]
rows = rows[rows["layer"].str.contains(search, regex=False, case=False)] if search else rows
n_layers, n_all = rows["layer"].nunique(), table[table["axis"] == axis]["layer"].nunique()
if rows.empty:
    st.info(f"None of the {n_all} layers contains {search!r}.", icon=":material/search_off:")
    st.stop()

options = list(dict.fromkeys(rows["option"]))
forget_unless_in("sensitivity.option", options)
option = st.select_slider("Level", options, options[len(options) // 2], key="sensitivity.option", **KEPT)
at_positions = None
with shown_errors():
    chosen = next(score.option for score in scores if score.option.title() == option)
    at_positions = position_table(store, scan, chosen, list(dict.fromkeys(rows["layer"])))
unsafe = reading.unsafe_of(scores, scan)
ranked = reading.ranked(rows, option=option)
scan_tiles(ranked, scan, option=option, n_unsafe=len(unsafe))
hidden = f" {n_all - n_layers} of {n_all} hidden by the search." if n_layers < n_all else ""
st.caption(f"Damage: {scan.unit}. {CATALOG[workload].title}, {scan_label(scan)}.{hidden}")
scan_doubts(store, scan, scores, unsafe)

st.subheader(f"The {min(N_RANKED, len(ranked))} most sensitive layers at {option}")
st.caption(f"Whiskers: 95% interval. Orange: beyond the {scan.allowance:.2g} that is usual for a mild level.")
picked = pick_layer(workload, list(dict.fromkeys(rows["layer"])), ranked)
bars = ranked_bars(ranked.head(N_RANKED), unit=scan.unit, allowed=scan.allowance, picked=picked)
event = st.plotly_chart(
    bars, key="sensitivity.bars", on_select="rerun", selection_mode="points", config={"displaylogo": False},
    alt=f"Bars of the most sensitive layers at {option}; {ranked['layer'].iloc[0]} is the worst",
)  # fmt: skip
pick_cell(workload, event, "bars")
layer_card(workload, scan, ranked, at_positions, picked, axis=axis, option=option)

st.subheader("Every layer, every level")
matrix = reading.level_matrix(rows, axis=axis)
event = st.plotly_chart(
    damage_heatmap(matrix, unit=scan.unit, x_title="level, harsher to the right", picked=picked),
    key="sensitivity.levels", on_select="rerun", selection_mode="points", config={"displaylogo": False},
    alt=f"Heatmap of {n_layers} layers by {len(options)} levels: damage, fitted monotone",
)  # fmt: skip
pick_cell(workload, event, "levels")
by_position = reading.position_matrix(at_positions, option=option) if at_positions is not None else None
if by_position is not None and not by_position.empty:
    st.subheader(f"Where in the generation, at {option}")
    event = st.plotly_chart(
        damage_heatmap(by_position, unit=scan.unit, x_title="position, from first to last", picked=picked),
        key="sensitivity.positions", on_select="rerun", selection_mode="points", config={"displaylogo": False},
        alt=f"Heatmap of {n_layers} layers by {by_position.shape[1]} positions of the generation",
    )  # fmt: skip
    pick_cell(workload, event, "positions")
table_twin(rows.drop(columns="position"), filename=f"{workload}-sensitivity.csv", key="sensitivity")
