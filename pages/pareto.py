"""Pareto frontier: which configurations trade size for quality best."""

import streamlit as st

from gencomp_core.charts.pareto import pareto_chart
from gencomp_core.services import frontiers, library
from gencomp_core.workloads import CATALOG
from pages._explore_views import measured_view
from pages._ledger import ledger_view
from pages._widgets import (
    clicked_signature,
    configuration_labels,
    forget_unless_in,
    link_to,
    nothing_yet,
    pick_recipe,
    pick_workload,
    picked_recipe,
    restore_demo_button,
    shown_errors,
    store_or_stop,
    table_twin,
)

COSTS = {"bytes": "size_bytes", "milliseconds": "latency_ms", "MACs": "macs", "memory": "peak_memory_mb"}
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
metric = CATALOG[workload].metric
first, second, third, fourth = st.columns([1.5, 1, 1.6, 1])
cost = COSTS[first.segmented_control("Cost", list(COSTS), default="bytes", required=True, key="pareto.cost", **kept)]
timings = frontiers.timings(store, workload)
if frontiers.COSTS[cost].timed and timings:
    cost += ":" + first.selectbox("Runtime and batch", timings, key="pareto.timing", **kept)
conditions = third.selectbox(
    "Measured under", options, key="pareto.conditions",
    help="Only figures with equal samples, seed, sampler and weights can be compared.", **kept,
)  # fmt: skip
comparable = library.with_siblings(store, workload, table[table["conditions"] == conditions])
names = ["quality"]
with shown_errors():
    names = frontiers.figures_of(store, table[table["conditions"] == conditions], workload)
figure = second.selectbox(
    "Quality", names, key="pareto.y", format_func=lambda name: frontiers.quality_axis(name, metric=metric).title,
    **kept,
)  # fmt: skip
only_frontier = fourth.toggle("Only the frontier", key="pareto.only_frontier", **kept)

x, y = frontiers.cost_axis(cost), frontiers.quality_axis(figure, metric=metric)
points = frontiers.place(store, comparable, x, y)
n_unplaced = len(comparable) - len(points)
shown = points[points["on_frontier"]] if only_frontier else points
hidden = [f"{n_unplaced} hidden: no {x.title}"] if n_unplaced else []
hidden += [f"{len(points) - len(shown)} dominated hidden"] if only_frontier else []
if not points.empty:
    st.markdown(
        f"**{int(points['on_frontier'].sum())} of {len(points)}** configurations of {CATALOG[workload].title} are not "
        f"beaten for certain by a cheaper one (overlapping 95% intervals count as ties). {'; '.join(hidden)}"
    )

labels = configuration_labels(shown.sort_values(x.column))
label_of = {name: text for text, name in labels.items()}
forget_unless_in("pareto.chosen", labels)
picked = picked_recipe(workload)
known = shown[shown["recipe_signature"] == picked.signature] if picked else shown.iloc[:0]
selected = str(known["signature"].iloc[0]) if len(known) else None
lines: dict[str, float] = {}
with shown_errors():
    lines = library.baselines(store, comparable, workload)
chart = pareto_chart(
    shown, x=x.column, x_title=x.title, y=y.column, y_title=y.title, better=y.better, selected=selected,
    lines=lines if y.column == "quality" else {},
)  # fmt: skip
event = st.plotly_chart(
    chart, key="pareto.chart", on_select="rerun", selection_mode="points", config={"displaylogo": False},
    alt=f"Scatter of {len(shown)} configurations: {x.title} against {y.title}, the frontier as a line",
)  # fmt: skip
clicked = clicked_signature(event)
if clicked in label_of and st.session_state.get("pareto.clicked") != clicked:
    st.session_state["pareto.clicked"] = clicked
    st.session_state["pareto.chosen"] = label_of[clicked]
elif selected and st.session_state.get("pareto.shown") != (workload, picked.signature):
    st.session_state["pareto.chosen"] = label_of[selected]
chosen = st.selectbox(
    "Configuration (click a point, or choose here)", list(labels), index=None, key="pareto.chosen",
    placeholder="none picked", **kept,
)  # fmt: skip
table_twin(shown[list(dict.fromkeys([*SHOWN, x.column, y.column]))], filename=f"{workload}-pareto.csv", key="pareto")
ledger_view(store, workload)
if chosen:
    with shown_errors():
        measurement = store.measurement(labels[chosen])
        recipe = library.recipe_of(measurement)
        if measurement.workload == workload:
            newly_picked = picked is None or picked.signature != recipe.signature
            pick_recipe(workload, recipe)
            st.session_state["pareto.shown"] = (workload, recipe.signature)
            if newly_picked:
                st.rerun()  # so that the chart rings the point
        else:
            st.caption(f"{CATALOG[measurement.workload].title} is a network of its own, trained from scratch.")
        st.subheader(measurement.title)
        left, right, _ = st.columns(3)
        to = {"workload": measurement.workload, "pick": measurement.signature}
        link_to("pages/explore.py", "Open in Explore", icon=":material/tune:", place=left, **to)
        link_to("pages/export.py", "Export", icon=":material/download:", place=right, **to)
        measured_view(store, measurement)
