"""What pages share: the workload picker, the picked configuration, badges, tables, errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import streamlit as st

from gencomp_core.charts.theme import bytes_text
from gencomp_core.errors import GenCompError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Measurement
from gencomp_core.services import library
from gencomp_core.store import Store
from gencomp_core.workloads import CATALOG

PICKED = "picked_recipe"
STATUS_COLOURS = {"measured": "green", "simulated": "orange", "predicted": "blue", "failed": "red"}
STATUS_HELP = {
    "measured": "Packed, reloaded from its bytes, sampled and compared with dense.",
    "simulated": "Fake-quantized in memory and judged on few samples. Measure it for the truth.",
    "failed": "The measurement could not be made.",
}


@contextmanager
def shown_errors() -> Iterator[None]:
    """Show an error that a user can act on as one line; the rest of the page goes on."""
    try:
        yield
    except GenCompError as error:
        st.error(str(error), icon=":material/error:")


def store_or_stop() -> Store:
    """The store; without one the page says why and ends."""
    store = None
    with shown_errors():
        store = library.open_store()
    if store is None:
        st.caption("Set GENCOMP_STORE to another file, or move the damaged one away, and reload the page.")
        st.stop()
    return store


def pick_workload() -> str:
    """Workload picker in the sidebar, kept in the address and across pages."""
    names = list(CATALOG)
    return st.sidebar.selectbox(
        "Workload",
        names,
        format_func=lambda name: CATALOG[name].title,
        key="workload",
        bind="query-params",
        persist_state="session",
        required=True,
        help="The generative model that is compressed.",
    )


def picked_recipe(workload: str) -> Recipe | None:
    """Configuration that was picked on any page for this workload."""
    picks: dict[str, Recipe] = st.session_state.setdefault(PICKED, {})
    return picks.get(workload)


def pick_recipe(workload: str, recipe: Recipe) -> None:
    """Make a configuration the picked one on every page."""
    st.session_state.setdefault(PICKED, {})[workload] = recipe


def status_badge(status: str) -> None:
    """Whether the numbers beside it were measured or simulated."""
    st.badge(status, color=STATUS_COLOURS[status], help=STATUS_HELP[status])


def nothing_yet(what: str, next_step: str, *, command: str) -> None:
    """Empty state: what is missing, and what brings it."""
    st.info(f"There are no {what} yet. {next_step}", icon=":material/inbox:")
    st.code(command, language="bash")


def restore_demo_button(store: Store) -> None:
    """Primary button of an empty store: bring the recorded demo study back."""
    if st.button("Load the recorded demo study", type="primary", icon=":material/refresh:"):
        library.add_demo(store)
        st.rerun()


def size_tile(place: Any, size_bytes: int, dense_bytes: int) -> None:
    """Weights file against dense."""
    change = size_bytes / dense_bytes - 1
    place.metric(
        "Weights file, lower is better",
        bytes_text(size_bytes),
        f"{change:+.0%} against dense ({bytes_text(dense_bytes)})" if change else None,
        delta_color="inverse",
        border=True,
        help=f"{size_bytes:,} bytes on disk: packed weights, scales, zero points and masks. Dense is float32.",
    )


def quality_tile(place: Any, measurement: Measurement) -> None:
    """Quality with interval against dense at the same seeds."""
    quality, change = measurement.quality, measurement.quality_change
    if quality is None or change is None:
        place.metric("Quality", "not measured", border=True)
        return
    tied = change.low <= 0 <= change.high
    shown = f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}] against dense"
    place.metric(
        f"FID, {quality.better} is better",
        f"{quality.value:.2f}",
        None if change.value == 0 else shown + (" (tie)" if tied else ""),
        delta_color="off" if tied else "inverse",
        border=True,
        help=(
            f"{quality.name}. 95 % interval [{quality.low:.2f}, {quality.high:.2f}]. The difference is paired by "
            f"seed. Real images get {quality.noise_floor:.2f} at this count. Not comparable with Inception FID."
        ),
    )


def latency_tile(place: Any, measurement: Measurement) -> None:
    """Eager latency at batch 1 against dense, measured interleaved."""
    timed = [latency for latency in measurement.latency if latency.batch == 1]
    if not timed:
        place.metric("Latency, lower is better", "not measured", border=True)
        return
    latency = timed[0]
    verdict = "tie with dense" if latency.verdict == "tie" else f"{1 / latency.ratio:.2f} × dense speed"
    place.metric(
        "Latency, lower is better",
        f"{latency.median_ms:.1f} ms",
        verdict,
        delta_color="off" if latency.verdict == "tie" else "inverse",
        delta_arrow="off",
        border=True,
        help=(
            f"One sample, {latency.runtime}, {latency.threads} thread, quartiles [{latency.low_ms:.1f}, "
            f"{latency.high_ms:.1f}] ms over {latency.n_runs} interleaved rounds; dense {latency.dense_median_ms:.1f} "
            f"ms. Measured on {latency.machine}{', which was busy' if latency.busy else ''}."
        ),
    )


def table_twin(table: pd.DataFrame, *, filename: str, key: str) -> None:
    """The data of a chart as a table, with download."""
    with st.expander("Show as table", icon=":material/table:"):
        st.dataframe(table, hide_index=True, key=f"{key}.table")
        st.download_button(
            "Download CSV",
            table.to_csv(index=False),
            file_name=filename,
            mime="text/csv",
            key=f"{key}.csv",
            on_click="ignore",
            icon=":material/download:",
        )
