"""Views of the Gallery: the same seeds of dense and of up to four configurations, in several modes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st
from streamlit_extras.image_compare_slider import image_compare_slider

from gencomp_core.charts.denoising import divergence_chart
from gencomp_core.charts.theme import bytes_text
from gencomp_core.charts.tiles import changes, tile, to_webp
from gencomp_core.records import FIDELITIES, METRICS, Measurement
from gencomp_core.services import library
from gencomp_core.services.texts import SideBySide
from gencomp_core.workloads import card_of
from pages._samples import MARKED, difference_picture, most_changed, picture, text_table
from pages._widgets import ARROWS, table_twin

KEPT = {"bind": "query-params", "persist_state": "session", "required": True}
DENSE = "dense"
Sheets = Mapping[str, np.ndarray]
"""Images (n, 1, h, w) of each configuration by title, dense first."""


def worst_first(sheets: Sheets) -> list[int]:
    """Numbers of the samples, the one that any configuration changed most first."""
    dense, *others = sheets.values()
    largest = np.max([changes(images, dense) for images in others], axis=0)
    return [int(number) for number in np.argsort(-largest, kind="stable")]


def side_by_side(sheets: Sheets) -> None:
    """One picture each in a row."""
    for place, (title, images) in zip(
        st.columns(len(sheets), vertical_alignment="bottom"), sheets.items(), strict=True
    ):
        with place:
            st.caption(title)
            picture(tile(images), alt=f"{len(images)} samples, {title}")


def drag_handle(sheets: Sheets) -> None:
    """Dense under one configuration, with a handle between them."""
    title = _one_of(list(sheets)[1:], "Beside dense", key="gallery.beside")
    before, after = (to_webp(tile(sheets[name]), scale=3) for name in (DENSE, title))
    image_compare_slider(before, after, label1=DENSE, label2=title, key=f"gallery.handle.{title}")
    st.caption("Drag the handle, or focus it and use the arrow keys.")


def differences(sheets: Sheets) -> None:
    """Where each configuration differs from dense."""
    others = list(sheets.items())[1:]
    dense = tile(sheets[DENSE])
    for place, (title, images) in zip(st.columns(max(2, len(others))), others, strict=False):
        with place:
            st.caption(f"{title} minus dense")
            difference_picture(tile(images), dense, alt=f"difference of {len(images)} samples of {title} to dense")
    st.caption("Orange: brighter than dense. Blue: darker. White: unchanged.")


@st.fragment
def flip(sheets: Sheets) -> None:
    """All in one place: what changes jumps to the eye."""
    titles = list(sheets)
    left, _ = st.columns([1.6, 1])
    with left:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            title = _one_of(titles, "Shown", key="gallery.shown")
            after = titles[(titles.index(title) + 1) % len(titles)]
            st.button("Flip", icon=":material/flip:", shortcut="f", on_click=_show_next, args=(after,))
        picture(tile(sheets[title]), alt=f"{len(sheets[title])} samples, {title}")


def _show_next(title: str) -> None:
    st.session_state["gallery.shown"] = title


def latent_paths(measurements: Mapping[str, Measurement]) -> None:
    """Images along paths between two latents: a space that compression tears shows jumps."""
    with st.spinner("Sampling along paths"):
        from gencomp_core.services.preview import strips  # torch: only what computes pays for it

        found = {title: strips(own.workload, library.recipe_of(own)) for title, own in measurements.items()}
    sheets = {DENSE: next(iter(found.values()))[0]} | {title: pair[1] for title, pair in found.items()}
    for place, (title, sheet) in zip(st.columns(len(sheets), vertical_alignment="bottom"), sheets.items(), strict=True):
        with place:
            st.caption(f"{title}: each row goes from one latent to another of the same class")
            picture(sheet, alt=f"six paths of ten images, {title}")
    for title, own in measurements.items():
        if active := own.fidelity.get("active_units"):
            st.caption(f"{title}: {active.value:.0f} latent dimensions are in use (posterior mean varies > 0.01).")


@st.fragment
def denoising(measurements: Mapping[str, Measurement]) -> None:
    """The samples after each step, and how far each configuration has drifted from dense by then."""
    with st.spinner("Denoising step by step"):
        from gencomp_core.services.denoising import denoisings  # torch: only what computes pays for it

        workload = next(iter(measurements.values())).workload
        dense, *others = denoisings(workload, [library.recipe_of(own) for own in measurements.values()])
    n_steps = len(dense.sheets) - 1
    step = st.slider(
        "Steps done", 0, n_steps, n_steps, key="gallery.step", bind="query-params", persist_state="session"
    )
    named = dict(zip(measurements, others, strict=True))
    shown = {DENSE: dense} | named
    for place, (title, own) in zip(st.columns(len(shown), vertical_alignment="bottom"), shown.items(), strict=True):
        with place:
            st.caption(title)
            picture(own.sheets[step], alt=f"16 samples after {step} of {n_steps} steps, {title}")
    drifts = {title: (own.low, own.middle, own.high) for title, own in named.items()}
    st.plotly_chart(
        divergence_chart(drifts, step=step), key="gallery.divergence", config={"displaylogo": False},
        alt=f"Distance from dense over {n_steps} steps; at the end "
        + ", ".join(f"{title} {own.middle[-1]:.0%}" for title, own in named.items()),
    )  # fmt: skip
    st.caption(
        f"Computed now from the same noise, 16 samples, seed 0. Line: median over samples; band: quartiles. "
        f"After step {step}: " + "; ".join(f"{title} {own.middle[step]:.1%}" for title, own in named.items()) + "."
    )
    rows = [
        {"step": number, "configuration": title, "distance": float(value)}
        for title, own in named.items()
        for number, value in enumerate(own.middle)
    ]
    table_twin(pd.DataFrame(rows), filename=f"{workload}-denoising.csv", key="gallery.denoising")


def texts(versions: Mapping[str, SideBySide], *, worst: bool, size: int) -> None:
    """Source, reference, dense and the other versions; words that are not dense's are marked."""
    dense, *others = versions.values()
    n = len(dense.texts)
    ranked = most_changed(dense, *others)
    equal = ", ".join(
        f"{sum(a == b for a, b in zip(own.texts, dense.texts, strict=True))} by {title}"
        for title, own in list(versions.items())[1:]
    )
    st.markdown(f"Word for word as dense, of **{n}** texts kept: {equal}. {MARKED}")
    text_table(versions, numbers=ranked[:size] if worst else range(min(size, n)))


def figures_table(measurements: Mapping[str, Measurement]) -> None:
    """What each configuration costs and gives, one a row, dense first."""
    first = next(iter(measurements.values()))
    facts = METRICS[card_of(first.workload).metric]
    drift = FIDELITIES[facts.drift]
    rows = [
        {
            "configuration": DENSE,
            "weights file ↓": bytes_text(first.dense_size_bytes),
            "times smaller": 1.0,
            f"{facts.title} {ARROWS[facts.better]}": _dense_quality(first),
            "against dense, 95% interval": "",
            f"{drift.title} {ARROWS[drift.better]}": "",
            "made by": "measured",
        }
    ]
    for title, own in measurements.items():
        change, kept = own.quality_change, own.fidelity.get(facts.drift)
        rows.append(
            {
                "configuration": title,
                "weights file ↓": bytes_text(own.size_bytes),
                "times smaller": round(own.n_times_smaller, 1),
                f"{facts.title} {ARROWS[facts.better]}": f"{own.quality.value:.2f}" if own.quality else "not measured",
                "against dense, 95% interval": (
                    f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]" if change else ""
                ),
                f"{drift.title} {ARROWS[drift.better]}": f"{kept.value:.{drift.digits}f} {drift.unit}" if kept else "",
                "made by": own.status,
            }
        )
    st.dataframe(rows, hide_index=True, key="gallery.figures")


def _dense_quality(measurement: Measurement) -> str:
    quality, change = measurement.quality, measurement.quality_change
    return f"{quality.value - change.value:.2f}" if quality and change else "not measured"


def _one_of(titles: Sequence[str], label: str, *, key: str) -> str:
    """One of a few by a segmented control, kept in the address."""
    if st.session_state.get(key) not in titles:  # a button may set it too, so that it has no default besides
        asked = st.query_params.get(key)
        st.session_state[key] = asked if asked in titles else titles[0]
    chosen = st.segmented_control(label, titles, key=key, **KEPT)
    return str(chosen or titles[0])
