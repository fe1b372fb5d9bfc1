"""Gallery: the same seeds side by side, under a drag handle, or as a difference; texts with changed words marked."""

import streamlit as st
from streamlit_extras.image_compare_slider import image_compare_slider

from gencomp_core.charts.tiles import tile, to_webp
from gencomp_core.records import Measurement
from gencomp_core.services import library
from gencomp_core.workloads import CATALOG
from pages._samples import (
    MARKED,
    TEXT_ORDERS,
    difference_picture,
    makes_texts,
    most_changed,
    picture,
    stored_sheets,
    stored_text_pair,
    text_columns,
)
from pages._widgets import (
    conditions_text,
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
    status_line,
    store_or_stop,
)

MODES = ["side by side", "drag handle", "difference"]
PATHS = "latent paths"  # only where samples come from one latent each
WITH_LATENTS = ("fashion-gan", "fashion-vae")
SIZES = [16, 36, 64]

workload = pick_workload()
st.title("Gallery")
st.markdown(f"The same noise or source through **{CATALOG[workload].title}**, dense and compressed.")
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
first = known["signature"].iloc[-1] if len(known) else library.recommended(compressed_rows, workload)
start = signatures.index(first) if first in signatures else 0

forget_unless_in("gallery.configuration", labels)
kept = {"bind": "query-params", "persist_state": "session", "required": True}
choose, how, many = st.columns([1.4, 2.4, 1])
label = choose.selectbox(
    "Configuration", list(labels), index=start, key="gallery.configuration", bind="query-params",
    persist_state="session",
)  # fmt: skip
if makes_texts(workload):
    order = how.segmented_control("Order", TEXT_ORDERS, default=TEXT_ORDERS[1], key="gallery.order", **kept)
    size = many.segmented_control("Texts", [10, 20, 40], default=10, key="gallery.texts", **kept)
else:
    modes = [*MODES, PATHS] if workload in WITH_LATENTS else MODES
    forget_unless_in("gallery.mode", modes)
    mode = how.segmented_control("Mode", modes, default=MODES[0], key="gallery.mode", **kept)
    size = many.segmented_control("Samples", SIZES, default=36, key="gallery.size", **kept)


def no_samples() -> None:
    """Say why there is nothing to see, and end the page."""
    st.info("No samples are kept of this measurement. Open Explore to compute some.", icon=":material/inbox:")
    link_to("pages/explore.py", "Open Explore", icon=":material/tune:", workload=workload)
    st.stop()


def show_texts(measurement: Measurement) -> None:
    """Source, reference, dense and compressed texts, changed words marked."""
    pair = stored_text_pair(store, measurement)
    if pair is None:
        return no_samples()
    ranked = most_changed(*pair)
    numbers = ranked[:size] if order == TEXT_ORDERS[1] else range(min(size, len(ranked)))
    n_unchanged = sum(own == other for own, other in zip(pair[0].texts, pair[1].texts, strict=True))
    st.markdown(f"**{n_unchanged} of {len(ranked)}** texts kept are word for word those of dense. {MARKED}")
    return text_columns(*pair, title=measurement.title, numbers=numbers)


def show_paths(measurement: Measurement) -> None:
    """Images along paths between two latents: a space that compression tears shows jumps."""
    with st.spinner("Sampling along paths"):
        from gencomp_core.services.preview import strips  # torch: only what computes pays for it

        sheets = strips(workload, library.recipe_of(measurement))
    for place, name, sheet in zip(st.columns(2), ("dense", measurement.title), sheets, strict=True):
        with place:
            st.caption(f"{name}: each row goes from one latent to another of the same class")
            picture(sheet, alt=f"six paths of ten images, {name}")
    active = measurement.fidelity.get("active_units")
    if active:
        st.caption(f"{active.value:.0f} latent dimensions are in use (variance of the posterior mean above 0.01).")


def show_images(measurement: Measurement) -> None:
    """Sheets of the same seeds."""
    if mode == PATHS:
        return show_paths(measurement)
    sheets = stored_sheets(store, measurement)
    if sheets is None:
        return no_samples()
    dense, compressed = (tile(images[:size]) for images in sheets)
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
    return None


with shown_errors():
    measurement = store.measurement(labels[label])
    pick_recipe(workload, library.recipe_of(measurement))
    if makes_texts(workload):
        facts = st.columns(3)
        size_tile(facts[0], measurement.size_bytes, measurement.dense_size_bytes)
        quality_tile(facts[1], measurement)
        fidelity_tile(facts[2], measurement)
        status_line(measurement.status, conditions_text(measurement))
        show_texts(measurement)
    else:
        view, beside = st.columns([3, 1])
        with view:
            show_images(measurement)
        with beside:
            status_badge(measurement.status)
            size_tile(st, measurement.size_bytes, measurement.dense_size_bytes)
            quality_tile(st, measurement)
            fidelity_tile(st, measurement)
