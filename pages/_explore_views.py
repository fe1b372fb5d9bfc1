"""The two views of Explore: a stored measurement, or a simulation that fills in behind."""

from concurrent.futures import Future
from typing import TYPE_CHECKING
from uuid import uuid4

import streamlit as st

from gencomp_core.charts.tiles import tile
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import FIGURES, Measurement
from gencomp_core.services import jobs, library
from gencomp_core.services.honesty import honesty, honesty_of
from gencomp_core.services.job_kinds import command_line
from gencomp_core.services.texts import SideBySide
from gencomp_core.store import Store
from pages._honesty import honesty_panel
from pages._samples import (
    MARKED,
    makes_texts,
    most_changed,
    picture,
    stored_sheets,
    stored_text_pair,
    text_columns,
)
from pages._widgets import (
    ARROWS,
    DELTA_COLOURS,
    beside_quality,
    conditions_text,
    drift_tile,
    fidelity_tile,
    latency_tile,
    quality_tile,
    size_tile,
    status_line,
)

N_TEXTS = 8

if TYPE_CHECKING:
    from gencomp_core.services.preview import Preview, QuickQuality


def measured_view(store: Store, measurement: Measurement) -> None:
    """Tiles, samples and account of a configuration that was measured before."""
    columns = [*st.columns(2), *st.columns(2)]  # four in a row cut their values off
    size_tile(columns[0], measurement.size_bytes, measurement.dense_size_bytes)
    quality_tile(columns[1], measurement)
    fidelity_tile(columns[2], measurement)
    latency_tile(columns[3], measurement)
    status_line(measurement.status, conditions_text(measurement))
    _stored_samples(store, measurement)
    all_figures(measurement)
    honesty_panel(honesty_of(store, measurement), tensors=measurement.tensors)


def all_figures(measurement: Measurement) -> None:
    """Every figure against dense and against real data, with its interval."""
    rows = [
        {"figure": FIGURES.get(name, name), "value": found.value, "low": found.low, "high": found.high}
        for name, found in measurement.fidelity.items()
    ]
    panel = st.expander("All figures", icon=":material/fact_check:", key="explore.figures", on_change="rerun")
    if panel.open and rows:
        with panel:
            st.dataframe(rows, hide_index=True, column_config={"figure": st.column_config.TextColumn(width="large")})


def _stored_samples(store: Store, measurement: Measurement) -> None:
    """Dense and compressed samples, as far as they are kept."""
    if makes_texts(measurement.workload):
        texts = stored_text_pair(store, measurement)
        if texts is not None:
            st.caption(f"The {N_TEXTS} texts that changed most of {len(texts[0].texts)}. {MARKED}")
            text_columns(*texts, title=measurement.title, numbers=most_changed(*texts)[:N_TEXTS])
        return
    sheets = stored_sheets(store, measurement)
    if sheets is not None:
        left, right = st.columns(2, vertical_alignment="bottom")  # long names wrap; pictures stay in line
        for place, name, images in zip((left, right), ("dense", measurement.title), sheets, strict=True):
            with place:
                st.caption(f"{name}, {len(images)} samples, seed {measurement.request.seed}")
                picture(tile(images), alt=f"{len(images)} samples of {name}")


def simulated_view(store: Store, workload: str, recipe: Recipe) -> None:
    """Samples computed now; more of them, and FID over few samples, fill in behind."""
    with st.spinner("Sampling"):
        from gencomp_core.services import preview as service  # torch: only what computes pays for it

        quick = service.preview(workload, recipe)
    owner = st.session_state.setdefault("visitor", uuid4().hex)
    full, quality = service.fill_in(workload, recipe, owner=owner)
    waiting = not (full.done() and quality.done())
    fill_in = st.fragment(_fill_in, run_every=1.0 if waiting else None)
    fill_in(workload, recipe.title(), quick, full, quality, waiting)
    sizes = ("tensors", "size_bytes", "dense_size_bytes", "transport_bytes")
    account = honesty(**{name: quick.cost[name] for name in sizes})
    _measure_button(store, workload, recipe, library.usual_samples(library.figures(store, workload), workload))
    honesty_panel(account, tensors=quick.cost["tensors"])


def _fill_in(
    workload: str, title: str, quick: "Preview", full: "Future[Preview]", quality: "Future[QuickQuality]", waiting: bool
) -> None:
    """Tiles and samples; what is not there yet keeps its place."""
    if waiting and full.done() and quality.done():
        st.rerun()
    columns = [*st.columns(2), *st.columns(2)]  # three in a row cut their intervals off
    size_tile(columns[0], quick.cost["size_bytes"], quick.cost["dense_size_bytes"])
    facts = library.metric_of(workload)
    heading = f"{facts.title}, few samples {ARROWS[facts.better]}"
    if quality.done():
        found = quality.result()
        change, tied = found.change, found.change.low <= 0 <= found.change.high
        columns[1].metric(
            heading, f"{found.value.value:.2f}",
            f"{change.value:+.2f}{' (tie)' if tied else ''}",
            delta_color="off" if tied else DELTA_COLOURS[facts.better],
            delta_description=f"[{change.low:+.2f}, {change.high:+.2f}]", border=True, height="stretch",
            help=f"{found.value.name}; dense {found.dense.value:.2f}. {beside_quality(found.value)}",
        )  # fmt: skip
    else:
        columns[1].metric(
            heading, "…", "sampling more", delta_color="off", delta_arrow="off", border=True, height="stretch"
        )
    shown = full.result() if full.done() else quick
    drift_tile(columns[2], facts.drift, shown.drift, n=shown.n_samples)
    status_line("simulated", "Dense and compressed start from the same noise or the same source.")
    settings = ", ".join(f"{name} {value}" for name, value in shown.settings.items())
    if isinstance(shown.compressed, tuple):
        st.caption(f"{title}, {shown.n_samples} texts, {settings}. {MARKED}")
        pair = [SideBySide(shown.sources, shown.references, texts) for texts in (shown.dense, shown.compressed)]
        return text_columns(*pair, title=title, numbers=most_changed(*pair)[:N_TEXTS])
    left, right = st.columns(2, vertical_alignment="bottom")  # long names wrap; pictures stay in line
    for place, name, sheet in ((left, "dense", shown.dense), (right, title, shown.compressed)):
        with place:
            st.caption(f"{name}, {shown.n_samples} samples, {settings}")
            picture(sheet, alt=f"{shown.n_samples} samples, {name}")
    return None


def _measure_button(store: Store, workload: str, recipe: Recipe, n_samples: int) -> None:
    """Start a measurement in a process of its own, and follow it."""
    parameters = {"workload": workload, "recipe": recipe.to_dict(), "samples": n_samples}
    job = jobs.latest(store, "evaluate", parameters)
    running = job is not None and job.is_active
    clicked = st.button(
        f"Measure it over {n_samples:,} samples",
        type="primary",
        icon=":material/straighten:",
        disabled=running,
        shortcut="m",
    )
    if clicked:
        jobs.start(store, "evaluate", parameters)
        st.rerun()
    if job is not None and running:
        st.fragment(_follow, run_every=1.0)(store, job.id)
    elif job is not None and job.can_resume:
        st.error(f"The measurement was {job.state}: {job.message}", icon=":material/error:")
    with st.expander("The same on the command line", icon=":material/terminal:"):
        st.code(job.command if job else command_line("evaluate", parameters), language="bash")


def _follow(store: Store, job_id: str) -> None:
    job = jobs.get(store, job_id)
    if not job.is_active:
        st.rerun()
    st.info(f"Measuring: {job.progress.what if job.progress else 'starting'}", icon=":material/hourglass_top:")
