"""What pages share: the workload picker, the picked configuration, badges, tables, errors."""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from gencomp_core.charts.theme import bytes_text, ms_text
from gencomp_core.errors import GenCompError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import FIDELITIES, METRICS, Estimate, Measurement, Quality
from gencomp_core.services import library
from gencomp_core.store import Store
from gencomp_core.workloads import CATALOG, card_of

PICKED = "picked_recipe"
PICK_PARAMETER = "pick"
FOLLOWED = "followed_link"
STATUS_COLOURS = {"measured": "green", "simulated": "orange", "predicted": "blue", "failed": "red"}
ARROWS = {"lower": "↓", "higher": "↑"}
DELTA_COLOURS = {"lower": "inverse", "higher": "normal"}
STATUS_HELP = {
    "measured": "Packed, reloaded from its bytes, sampled and compared with dense.",
    "simulated": "Fake-quantized in memory and judged on few samples. Measure it for the truth.",
    "predicted": "Told from a scan of single layers and from what was measured so far. Nothing was run.",
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
    _pick_from_address(store)
    return store


def _pick_from_address(store: Store) -> None:
    """Pick the measurement that a link names, once: what is picked afterwards wins."""
    wanted = st.query_params.get(PICK_PARAMETER)
    if not wanted or st.session_state.get(FOLLOWED) == wanted:
        return
    st.session_state[FOLLOWED] = wanted
    measurement = read_measurement(store, wanted)
    if measurement is None:
        st.warning(f"The link names the measurement {wanted}, which this store does not hold.")
    else:
        pick_recipe(measurement.workload, library.recipe_of(measurement))


def read_measurement(store: Store, signature: str | None) -> Measurement | None:
    """A measurement, or None; one that can't be read is an error line, and the page goes on."""
    with shown_errors():
        return store.measurement(signature) if signature else None
    return None


def pick_workload() -> str:
    """Workload picker in the sidebar, kept in the address and across pages."""
    run_through_app()
    # Options are the names themselves: what is shown is also what stands in the address.
    return st.sidebar.selectbox(
        "Workload",
        list(CATALOG),
        key="workload",
        bind="query-params",
        persist_state="session",
        help="The generative model that is compressed.",
    )


def run_through_app() -> None:
    """Make a deep link to a page go through app.py.

    Because the folder is called `pages`, a new Streamlit server runs a deep-linked page on its own, with a
    navigation of its own, until `st.navigation` was called once (streamlit/runtime/pages_manager.py).
    """
    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.rerun()


def link_to(page: str, label: str, *, icon: str, workload: str, pick: str | None = None, place: Any = st) -> None:
    """Link to another page that takes the workload along, and picks a measurement by its signature.

    A link and no button: `st.switch_page` clears the address, and with it what is bound to it.
    """
    address = {"workload": workload} | ({PICK_PARAMETER: pick} if pick else {})
    place.page_link(page, label=label, icon=icon, query_params=address, width="stretch")


def configuration_labels(table: pd.DataFrame) -> dict[str, str]:
    """One readable and unique label per measurement, in the order of the table: label to signature."""
    return {f"{row['title']} · {row['signature'][:6]}": row["signature"] for row in table.to_dict("records")}


def forget_unless_in(key: str, options: Container[str]) -> None:
    """Drop a remembered choice that is not among the options, as after a change of workload."""
    if st.session_state.get(key) is not None and st.session_state[key] not in options:
        del st.session_state[key]


def clicked_signature(event: Any) -> str | None:
    """Signature of the clicked point of a chart whose `customdata` holds signatures, or None."""
    return next(iter(selected_signatures(event)), None)


def selected_signatures(event: Any) -> list[str]:
    """Signatures of all selected points of such a chart, each once."""
    found = [point.get("customdata") for point in event["selection"]["points"]]
    return list(dict.fromkeys(str(data if isinstance(data, str) else data[0]) for data in found if data))


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


def status_line(status: str, detail: str) -> None:
    """Badge of the numbers above, with what the arrows and brackets mean."""
    with st.container(horizontal=True, vertical_alignment="center"):
        status_badge(status)
        st.caption(f"↓ lower is better, ↑ higher is better. Brackets: 95% interval of the difference. {detail}")


def conditions_text(measurement: Measurement) -> str:
    """Samples, seed and sampler that a measurement was made with."""
    request = measurement.request
    settings = ", ".join(f"{name} {value}" for name, value in request.settings.items())
    return f"{request.n_samples:,} samples, seed {request.seed}, {settings}."


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
        "Weights file ↓",
        bytes_text(size_bytes),
        f"{change:+.0%}" if change else None,
        delta_color="inverse",
        delta_description=f"dense {bytes_text(dense_bytes)}" if change else None,
        border=True,
        height="stretch",
        help=f"{size_bytes:,} bytes on disk: packed weights, scales, zero points and masks. Dense is float32.",
    )


def quality_tile(place: Any, measurement: Measurement) -> None:
    """Quality with interval against dense at the same seeds."""
    quality, change = measurement.quality, measurement.quality_change
    if quality is None or change is None:
        place.metric("Quality", "not measured", border=True, height="stretch")
        return
    facts = METRICS[quality.metric]
    tied = change.low <= 0 <= change.high
    shown = f"{change.value:+.2f}"
    place.metric(
        f"{facts.title} {ARROWS[quality.better]}",
        f"{quality.value:.2f}",
        None if change.value == 0 else shown + (" (tie)" if tied else ""),
        delta_color="off" if tied else DELTA_COLOURS[quality.better],
        delta_description=f"[{change.low:+.2f}, {change.high:+.2f}]" if change.value else None,
        border=True,
        height="stretch",
        help=(
            f"{quality.name}. 95% interval [{quality.low:.2f}, {quality.high:.2f}]. The difference is paired by "
            f"seed. {beside_quality(quality)} {facts.about}"
        ),
    )


def beside_quality(quality: Quality) -> str:
    """What the number is to be compared with: real data, and answers without any model."""
    lines = [f"Real images get {quality.noise_floor:.2f} at this count."] if quality.noise_floor is not None else []
    lines += [f"{name.capitalize()}: {value:.1f}." for name, value in quality.baselines.items()]
    return " ".join(lines)


def latency_tile(place: Any, measurement: Measurement) -> None:
    """Eager latency at batch 1 against dense, measured interleaved."""
    timed = [latency for latency in measurement.latency if latency.batch == 1 and latency.runtime == "eager"]
    if not timed:
        place.metric("Latency ↓", "not measured", border=True, height="stretch")
        return
    latency = timed[0]
    verdict = {"tie": "tie with dense", "unclear": "machine busy"}.get(
        latency.verdict, f"{1 / latency.ratio:.2f} × dense speed"
    )
    place.metric(
        "Latency ↓",
        ms_text(latency.median_ms),
        verdict,
        delta_color="off" if latency.verdict in ("tie", "unclear") else "inverse",
        delta_arrow="off",
        border=True,
        height="stretch",
        help=(
            f"One sample, {latency.runtime}, {latency.threads} thread, quartiles [{latency.low_ms:.1f}, "
            f"{latency.high_ms:.1f}] ms over {latency.n_runs} interleaved rounds; dense {latency.dense_median_ms:.1f} "
            f"ms. Measured on {latency.machine}{', which was busy' if latency.busy else ''}."
        ),
    )


def fidelity_tile(place: Any, measurement: Measurement) -> None:
    """Same-seed drift from dense, which sees what the metric alone is blind to."""
    name = METRICS[card_of(measurement.workload).metric].drift
    drift_tile(place, name, measurement.fidelity.get(name), n=measurement.request.n_samples)


def drift_tile(place: Any, name: str, drift: Estimate | None, *, n: int) -> None:
    """One same-seed measure with its interval."""
    facts = FIDELITIES[name]
    heading = f"{facts.title} {ARROWS[facts.better]}"
    if drift is None:
        place.metric(heading, "not measured", border=True, height="stretch")
        return
    equal = drift.value >= facts.equal if facts.better == "higher" else drift.value <= facts.equal
    place.metric(
        heading,
        f"{drift.value:.{facts.digits}f} {facts.unit}",
        "equal" if equal else None,
        delta_color="off",
        delta_arrow="off",
        delta_description=None if equal else f"[{drift.low:.{facts.digits}f}, {drift.high:.{facts.digits}f}]",
        border=True,
        height="stretch",
        help=f"{facts.help} Over {n:,} pairs.",
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
