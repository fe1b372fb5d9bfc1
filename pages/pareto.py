"""Pareto frontier: which configurations trade size for quality best."""

import streamlit as st

from gencomp_core.services import frontiers, library
from gencomp_core.workloads import CATALOG
from pages._explore_views import measured_view
from pages._ledger import ledger_view
from pages._pareto_views import View, draw, marks_among, marks_line, new_selections
from pages._widgets import (
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
NOTHING = "nothing"
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
first, second, third = st.columns([2.3, 1, 1])
cost = COSTS[first.segmented_control("Cost", list(COSTS), default="bytes", required=True, key="pareto.cost", **kept)]
timings = frontiers.timings(store, workload)
if frontiers.COSTS[cost].timed and timings:
    cost += ":" + first.selectbox("Runtime and batch", timings, key="pareto.timing", **kept)
left, middle, right = st.columns([1.7, 1.9, 1], vertical_alignment="bottom")
conditions = left.selectbox(
    "Measured under", options, key="pareto.conditions",
    help="Only figures with equal samples, seed, sampler and weights can be compared.", **kept,
)  # fmt: skip
comparable = library.with_siblings(store, workload, table[table["conditions"] == conditions])
names = ["quality"]
with shown_errors():
    names = frontiers.figures_of(store, table[table["conditions"] == conditions], workload)


def axis_name(name: str) -> str:
    """Title of a figure; costs have their own names."""
    return name if name in COSTS or name == NOTHING else frontiers.quality_axis(name, metric=metric).title


figure = second.selectbox("Quality", names, key="pareto.y", format_func=axis_name, **kept)
others = [NOTHING, *(name for name in [*names, *COSTS] if name != figure and COSTS.get(name) != cost.split(":")[0])]
forget_unless_in("pareto.beside", others)
beside = third.selectbox(
    "Second chart", others, key="pareto.beside", format_func=axis_name,
    help="The same configurations by another figure. What is picked or marked in one is so in both.", **kept,
)  # fmt: skip
families = sorted(set(comparable["family"]) - {"dense"})
if not set(st.session_state.get("pareto.families") or []) <= set(families):
    del st.session_state["pareto.families"]
wanted = middle.multiselect(
    "Methods", families, key="pareto.families", placeholder="all", help="In every chart and in the table.", **kept
)
only_frontier = right.toggle("Only the frontier", key="pareto.only_frontier", **kept)

x, y = frontiers.cost_axis(cost), frontiers.quality_axis(figure, metric=metric)
points = frontiers.place(store, comparable, x, y)
n_unplaced = len(comparable) - len(points)
shown = points[points["on_frontier"]] if only_frontier else points
hidden = [f"{n_unplaced} hidden: no {x.title}"] if n_unplaced else []
hidden += [f"{len(points) - len(shown)} dominated hidden"] if only_frontier else []
if wanted:
    n_before = len(shown)
    shown = shown[shown["family"].isin([*wanted, "dense"])]
    hidden += [f"{n_before - len(shown)} of other methods hidden"]
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
charts = [View(shown, x, y, lines if y.column == "quality" else {})]
if beside != NOTHING:
    other_x = frontiers.cost_axis(COSTS[beside]) if beside in COSTS else x
    if other_x.timed and timings and beside in COSTS:
        other_x = frontiers.cost_axis(f"{COSTS[beside]}:{timings[0]}")
    other_y = y if beside in COSTS else frontiers.quality_axis(beside, metric=metric)
    placed = frontiers.place(store, comparable, other_x, other_y)
    charts.append(View(placed[placed["signature"].isin(shown["signature"])], other_x, other_y, {}))
fresh = new_selections()
marked = marks_among(shown["signature"], fresh)
draw(charts, selected=selected, marked=marked)
marks_line(marked, len(shown))
if len(fresh) == 1 and fresh[0] in label_of:
    st.session_state["pareto.chosen"] = label_of[fresh[0]]
elif selected and st.session_state.get("pareto.shown") != (workload, picked.signature):
    st.session_state["pareto.chosen"] = label_of[selected]
chosen = st.selectbox(
    "Configuration (click a point, or choose here)", list(labels), index=None, key="pareto.chosen",
    placeholder="none picked", **kept,
)  # fmt: skip
listed = shown[shown["signature"].isin(marked)] if marked else shown
table_twin(listed[list(dict.fromkeys([*SHOWN, x.column, y.column]))], filename=f"{workload}-pareto.csv", key="pareto")
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
