"""Gallery: the same seeds side by side, under a drag handle, or as a difference."""

import streamlit as st
from streamlit_extras.image_compare_slider import image_compare_slider

from gencomp_core.charts.tiles import tile, to_webp
from gencomp_core.services import library
from gencomp_core.workloads import CATALOG
from pages._samples import difference_picture, picture, stored_sheets
from pages._widgets import (
    configuration_labels,
    fidelity_tile,
    forget_unless_in,
    link_to,
    nothing_yet,
    pick_recipe,
    pick_workload,
    picked_recipe,
    quality_tile,
    restore_demo_button,
    shown_errors,
    size_tile,
    status_badge,
    store_or_stop,
)

MODES = ["side by side", "drag handle", "difference"]
SIZES = [16, 36, 64]

workload = pick_workload()
st.title("Gallery")
st.markdown(f"The same noise through **{CATALOG[workload].title}**, dense and compressed.")
store = store_or_stop()
table = library.figures(store, workload)
if table.empty:
    nothing_yet(
        "samples", "Measured configurations keep theirs.", command=f"python -m gencomp_core evaluate {workload}"
    )
    restore_demo_button(store)
    st.stop()

compressed_rows = table[~table["is_dense"]].sort_values("size_bytes")
labels = configuration_labels(compressed_rows)
if not labels:
    nothing_yet(
        "compressed configurations", "Measure one in Explore.", command="python -m gencomp_core evaluate --help"
    )
    st.stop()
picked = picked_recipe(workload)
signatures = list(labels.values())
known = compressed_rows[compressed_rows["recipe_signature"] == picked.signature] if picked else compressed_rows.iloc[:0]
first = known["signature"].iloc[-1] if len(known) else library.recommended(compressed_rows)
start = signatures.index(first) if first in signatures else 0

forget_unless_in("gallery.configuration", labels)
choose, how, many = st.columns([2, 1.9, 1])
label = choose.selectbox(
    "Configuration",
    list(labels),
    index=start,
    key="gallery.configuration",
    bind="query-params",
    persist_state="session",
)
mode = how.segmented_control(
    "Mode", MODES, default=MODES[0], key="gallery.mode", bind="query-params", persist_state="session", required=True
)
size = many.segmented_control(
    "Samples", SIZES, default=36, key="gallery.size", bind="query-params", persist_state="session", required=True
)
with shown_errors():
    measurement = store.measurement(labels[label])
    pick_recipe(workload, library.recipe_of(measurement))
    sheets = stored_sheets(store, measurement)
    if sheets is None:
        st.info("No samples are kept of this measurement. Open Explore to compute some.", icon=":material/inbox:")
        link_to("pages/explore.py", "Open Explore", icon=":material/tune:", workload=workload)
        st.stop()
    dense, compressed = (tile(images[:size]) for images in sheets)
    view, facts = st.columns([3, 1])
    with view:
        if mode == "side by side":
            left, right = st.columns(2)
            with left:
                st.caption(f"dense, samples 1 to {size}")
                picture(dense, alt=f"{size} dense samples")
            with right:
                st.caption(f"{measurement.title}, same seeds")
                picture(compressed, alt=f"{size} samples, {measurement.title}")
        elif mode == "drag handle":
            image_compare_slider(
                to_webp(dense, scale=3), to_webp(compressed, scale=3), label1="dense", label2=measurement.title,
                key="gallery.handle",
            )  # fmt: skip
            st.caption("Drag the handle, or focus it and use the arrow keys.")
        else:
            st.caption("Orange: brighter than dense. Blue: darker. White: unchanged.")
            difference_picture(compressed, dense, alt=f"difference of {size} samples to dense")
    with facts:
        status_badge(measurement.status)
        size_tile(st, measurement.size_bytes, measurement.dense_size_bytes)
        quality_tile(st, measurement)
        fidelity_tile(st, measurement)
