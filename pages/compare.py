"""Compare: two configurations side by side, stage by stage and layer by layer, with where they come from."""

import streamlit as st

from gencomp_core.charts.comparing import layer_bytes_chart
from gencomp_core.charts.theme import bytes_text
from gencomp_core.records import Measurement
from gencomp_core.services import comparing, library
from gencomp_core.workloads import CATALOG
from pages._compare_views import figure_table, stage_table, twin_tiles
from pages._widgets import (
    configuration_labels,
    forget_unless_in,
    link_to,
    nothing_yet,
    pick_workload,
    picked_recipe,
    restore_demo_button,
    shown_errors,
    store_or_stop,
    table_twin,
)

KEPT = {"bind": "query-params", "persist_state": "session"}

workload = pick_workload()
st.title("Compare two configurations")
store = store_or_stop()
table = library.figures(store, workload)
if len(table) < 2:
    nothing_yet(
        "two measurements to compare", "The recorded demo study holds many.",
        command=f"python -m gencomp_core evaluate {workload} --recipe recipe.yaml",
    )  # fmt: skip
    restore_demo_button(store)
    st.stop()

labels = configuration_labels(table.sort_values(["is_dense", "size_bytes"], ascending=[False, True]))
names = list(labels)
signatures = list(labels.values())
picked = picked_recipe(workload)
own = table[table["recipe_signature"] == picked.signature]["signature"] if picked else table["signature"].iloc[:0]
wanted = own.iloc[-1] if len(own) else library.recommended(table, workload)
start = {"compare.a": 0, "compare.b": signatures.index(wanted) if wanted in signatures else 1}
for place, (key, index) in zip(st.columns(2), start.items(), strict=True):
    forget_unless_in(key, labels)
    place.selectbox(key[-1].upper(), names, index=index, key=key, **KEPT)


def show(a: Measurement, b: Measurement) -> None:
    """Everything about both, the answer first."""
    smaller, larger = ("B", "A") if b.size_bytes < a.size_bytes else ("A", "B")
    sizes = sorted((a.size_bytes, b.size_bytes))
    st.markdown(
        f"**{smaller}** is **{sizes[1] / sizes[0]:.2f} × smaller** than {larger}: {bytes_text(sizes[0])} against "
        f"{bytes_text(sizes[1])}."
        if sizes[0] < sizes[1]
        else f"Both files of {CATALOG[workload].title} have {bytes_text(sizes[0])}."
    )
    if reasons := comparing.comparable(a, b):
        st.warning(f"Don't compare their qualities: {'; '.join(reasons)}.", icon=":material/warning:")
    twin_tiles(a, b)
    for place, name, one in zip(st.columns(2), "AB", (a, b), strict=True):
        link_to(
            "pages/explore.py", f"Branch from {name} in Explore", icon=":material/call_split:", workload=workload,
            pick=one.signature, place=place,
        )  # fmt: skip
    st.subheader("Stages")
    stage_table(comparing.stage_differences(library.recipe_of(a), library.recipe_of(b)))
    st.subheader("Layers")
    layers = comparing.layer_differences(a, b)
    if layers.empty:
        st.caption("Neither keeps how its tensors were written.")
    else:
        st.plotly_chart(
            layer_bytes_chart(layers, a=f"A: {a.title}", b=f"B: {b.title}"), key="compare.layers",
            config={"displaylogo": False},
            alt=f"Bytes of the layers that differ most; {layers['layer'].iloc[0]} differs by "
            f"{layers['difference'].iloc[0]:,.0f} bytes",
        )  # fmt: skip
        table_twin(layers, filename=f"{workload}-layers.csv", key="compare.layers")
    st.subheader("Figures")
    figure_table(comparing.figure_rows(a, b))
    st.subheader("Where they come from")
    facts = comparing.provenance_rows(a, b)
    st.caption(f"{int(facts['equal'].sum())} of {len(facts)} facts agree; those that differ come first.")
    st.dataframe(facts.sort_values("equal", kind="stable"), hide_index=True, key="compare.provenance")
    with st.expander("Replay them on the command line", icon=":material/terminal:"):
        for name, one in zip("AB", (a, b), strict=True):
            recipe = library.recipe_of(one)
            st.caption(f"{name}: save this as {recipe.signature}.yaml")
            st.code(recipe.to_yaml(), language="yaml")
            st.code(comparing.replay_command(one), language="bash")


with shown_errors():
    show(*(store.measurement(labels[st.session_state[key]]) for key in start))
