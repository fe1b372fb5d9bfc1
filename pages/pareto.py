"""Pareto frontier: which configurations trade size for quality best."""

import streamlit as st

from gencomp_core.charts.pareto import pareto_chart
from gencomp_core.services import library
from gencomp_core.workloads import CATALOG
from pages._explore_views import measured_view
from pages._widgets import (
    nothing_yet,
    pick_recipe,
    pick_workload,
    picked_recipe,
    restore_demo_button,
    shown_errors,
    store_or_stop,
    table_twin,
)

COSTS = {"size_bytes": "weights file, bytes", "latency_ms": "eager latency at batch 1, ms"}
SHOWN = [
    "title", "family", "size_bytes", "n_times_smaller", "quality", "quality_low", "quality_high", "quality_change",
    "sparsity", "effective_bits", "latency_ms", "on_frontier", "n_samples", "origin",
]  # fmt: skip

workload = pick_workload()
st.title("Pareto frontier")
store = store_or_stop()
table = library.figures(store, workload)
if table.empty:
    nothing_yet(
        "measurements",
        "The recorded demo study holds a frontier.",
        command=f"python -m gencomp_core evaluate {workload}",
    )
    restore_demo_button(store)
    st.stop()

options = library.conditions(table)
kept = {"bind": "query-params", "persist_state": "session"}
first, second, third = st.columns([1.2, 1.6, 1])
cost = first.selectbox("Cost", list(COSTS), format_func=COSTS.get, key="pareto.cost", required=True, **kept)
conditions = second.selectbox(
    "Measured under", options, key="pareto.conditions", required=True,
    help="Only figures with equal samples, seed, sampler and weights can be compared.", **kept,
)  # fmt: skip
only_frontier = third.toggle("Only the frontier", key="pareto.only_frontier", **kept)

comparable = table[table["conditions"] == conditions]
points = library.frontier(comparable, x=cost)
n_unplaced = len(comparable) - len(points)
shown = points[points["on_frontier"]] if only_frontier else points
hidden = [f"{n_unplaced} hidden: no {COSTS[cost]}"] if n_unplaced else []
hidden += [f"{len(points) - len(shown)} dominated hidden"] if only_frontier else []
smallest = points[points["on_frontier"]].sort_values("size_bytes")
if not points.empty:
    st.markdown(
        f"**{int(points['on_frontier'].sum())} of {len(points)}** configurations of {CATALOG[workload].title} are not "
        f"beaten for certain by a cheaper one (overlapping 95 % intervals count as ties). {'; '.join(hidden)}"
    )

picked = picked_recipe(workload)
known = points[points["recipe_signature"] == picked.signature] if picked else points.iloc[:0]
selected = str(known["signature"].iloc[0]) if len(known) else None
chart = pareto_chart(shown, x=cost, x_title=COSTS[cost], selected=selected)
event = st.plotly_chart(
    chart, key="pareto.chart", on_select="rerun", selection_mode="points", config={"displaylogo": False},
    alt=f"Scatter of {len(shown)} configurations: {COSTS[cost]} against FID, with the frontier as a line",
)  # fmt: skip
clicked = [point["customdata"] for point in event["selection"]["points"] if point.get("customdata")]
signature = clicked[0][0] if clicked and isinstance(clicked[0], list) else (clicked[0] if clicked else None)
if signature is not None and st.session_state.get("pareto.clicked") != signature:
    st.session_state["pareto.clicked"] = signature
    st.session_state["pareto.chosen"] = signature

ordered = shown.sort_values(cost)
names = {
    row["signature"]: f"{row['title']}  ({row['n_times_smaller']:.1f} × smaller, FID {row['quality']:.2f})"
    for row in ordered.to_dict("records")
}
if st.session_state.get("pareto.chosen") not in names and selected in names:
    st.session_state["pareto.chosen"] = selected
chosen = st.selectbox(
    "Configuration (click a point, or choose here)", list(names), index=None, format_func=names.get,
    key="pareto.chosen", placeholder="none picked", **kept,
)  # fmt: skip
table_twin(shown[SHOWN], filename=f"{workload}-pareto.csv", key="pareto")
if chosen:
    with shown_errors():
        measurement = store.measurement(chosen)
        pick_recipe(workload, library.recipe_of(measurement))
        st.subheader(measurement.title)
        left, right, _ = st.columns(3)
        if left.button("Open in Explore", icon=":material/tune:", width="stretch"):
            st.switch_page("pages/explore.py", query_params={"workload": workload})
        if right.button("Export", icon=":material/download:", type="primary", width="stretch"):
            st.switch_page("pages/export.py", query_params={"workload": workload})
        measured_view(store, measurement)
