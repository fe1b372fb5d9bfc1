"""Gallery: the same seeds of dense and of up to four configurations: what changed, and what is worst."""

import streamlit as st

from gencomp_core.records import Measurement
from gencomp_core.services import library
from gencomp_core.services.texts import SideBySide, stored_texts
from gencomp_core.workloads import CATALOG
from pages import _gallery_views as views
from pages._samples import makes_texts, stored_images
from pages._widgets import (
    conditions_text,
    configuration_labels,
    fidelity_tile,
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

MODES = {
    "side by side": views.side_by_side, "drag handle": views.drag_handle, "difference": views.differences,
    "flip": views.flip,
}  # fmt: skip
COMPUTED = {"latent paths": views.latent_paths, "denoising": views.denoising}
WITH_LATENTS = ("fashion-gan", "fashion-vae")
MOST = 4
ORDERS = ["in order", "worst first"]

workload = pick_workload()
st.title("Gallery")
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
known = compressed_rows[compressed_rows["recipe_signature"] == picked.signature] if picked else compressed_rows.iloc[:0]
first = known["signature"].iloc[-1] if len(known) else library.recommended(compressed_rows, workload)
signatures = list(labels.values())
start = list(labels)[signatures.index(first) if first in signatures else 0]

kept = {"bind": "query-params", "persist_state": "session"}
remembered = st.session_state.get("gallery.configurations")
if remembered is not None and not all(label in labels for label in remembered):
    del st.session_state["gallery.configurations"]
chosen = st.multiselect(
    f"Configurations beside dense, up to {MOST}", list(labels), default=[start], max_selections=MOST,
    key="gallery.configurations", placeholder="choose at least one", **kept,
)  # fmt: skip
is_text = makes_texts(workload)
how, order_place, many = st.columns([2.6, 1.2, 1])
mode = "texts"
if not is_text:
    modes = [*MODES, *(["latent paths"] if workload in WITH_LATENTS else [])]
    modes += ["denoising"] if "diffusion" in workload else []
    if st.session_state.get("gallery.mode") not in (None, *modes):
        del st.session_state["gallery.mode"]
    mode = how.segmented_control("Mode", modes, default=modes[0], key="gallery.mode", required=True, **kept)
order = (how if is_text else order_place).segmented_control(
    "Order", ORDERS, default=ORDERS[is_text], key="gallery.order", required=True, disabled=mode in COMPUTED,
    help="Worst: the samples that any of the chosen configurations changed most.", **kept,
)  # fmt: skip
size = many.segmented_control(
    "Texts" if is_text else "Samples", [10, 20, 40] if is_text else [16, 36, 64], default=10 if is_text else 36,
    key="gallery.texts" if is_text else "gallery.size", required=True, disabled=mode in COMPUTED, **kept,
)  # fmt: skip


def no_samples(missing: list[str]) -> None:
    """Say whose samples are not kept."""
    st.info(f"No samples are kept of {', '.join(missing)}. Open Explore to compute some.", icon=":material/inbox:")
    link_to("pages/explore.py", "Open Explore", icon=":material/tune:", workload=workload)


def first_of(measurements: dict[str, Measurement]) -> Measurement:
    """The one that was chosen first."""
    return next(iter(measurements.values()))


def show_texts(measurements: dict[str, Measurement]) -> None:
    """Texts of all that keep some, beside each other."""
    dense = stored_texts(store, library.dense_signature(first_of(measurements)))
    found = {title: stored_texts(store, own.signature) for title, own in measurements.items()}
    versions: dict[str, SideBySide] = {title: own for title, own in found.items() if own is not None}
    if missing := [title for title, own in found.items() if own is None]:
        no_samples(missing)
    if dense is not None and versions:
        views.texts({views.DENSE: dense} | versions, worst=order == ORDERS[1], size=size)


def show_images(measurements: dict[str, Measurement]) -> None:
    """Sheets of the same seeds, in the mode that was chosen."""
    if mode in COMPUTED:
        return COMPUTED[mode](measurements)
    dense = stored_images(store, library.dense_signature(first_of(measurements)))
    found = {title: stored_images(store, own.signature) for title, own in measurements.items()}
    sheets = {title: images for title, images in found.items() if images is not None}
    if missing := [title for title, images in found.items() if images is None]:
        no_samples(missing)
    if dense is None or not sheets:
        return None
    sheets = {views.DENSE: dense} | sheets
    if order == ORDERS[1]:
        numbers = views.worst_first(sheets)[:size]
        st.caption(f"Changed most of the same seeds: samples {', '.join(str(number + 1) for number in numbers[:8])}, …")
    else:
        numbers = list(range(min(size, len(dense))))
        st.caption(f"Samples 1 to {len(numbers)}, from the same seeds.")
    return MODES[mode]({title: images[numbers] for title, images in sheets.items()})


def show(measurements: dict[str, Measurement]) -> None:
    """Tiles of one configuration, or a table of several, with their samples."""
    alone = first_of(measurements) if len(measurements) == 1 else None
    if alone and not is_text and mode != "denoising":
        view, beside = st.columns([3, 1])
        with view:
            show_images(measurements)
        with beside:
            status_badge(alone.status)
            size_tile(st, alone.size_bytes, alone.dense_size_bytes)
            quality_tile(st, alone)
            fidelity_tile(st, alone)
        return
    if alone:
        facts = st.columns(3)
        size_tile(facts[0], alone.size_bytes, alone.dense_size_bytes)
        quality_tile(facts[1], alone)
        fidelity_tile(facts[2], alone)
        status_line(alone.status, conditions_text(alone))
    (show_texts if is_text else show_images)(measurements)
    if not alone:
        views.figures_table(measurements)


if not chosen:
    st.info(f"Choose a configuration of {CATALOG[workload].title} above.", icon=":material/inbox:")
    st.stop()
with shown_errors():
    read = {label: store.measurement(labels[label]) for label in chosen}
    titles = [own.title for own in read.values()]
    first_read = first_of(read)
    pick_recipe(workload, library.recipe_of(first_read))
    show({own.title if titles.count(own.title) == 1 else label: own for label, own in read.items()})
    links = st.columns(3)
    link_to(
        "pages/explore.py", "Open the first in Explore", icon=":material/tune:", workload=workload,
        pick=first_read.signature, place=links[0],
    )  # fmt: skip
    st.caption("The address of this page opens the same view elsewhere.")
