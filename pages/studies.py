"""Studies: start a sweep, follow jobs, cancel, resume and retry them."""

import streamlit as st

from gencomp_core.services import jobs, sweeps
from gencomp_core.services.job_kinds import command_line
from gencomp_core.store import Store
from gencomp_core.workloads import CATALOG
from pages._job_views import JOB, job_labels, job_view, tiles
from pages._widgets import forget_unless_in, pick_workload, shown_errors, store_or_stop

KEPT = {"bind": "query-params", "persist_state": "session"}

workload = pick_workload()
st.title("Studies")
st.markdown(
    "Sweeps and measurements run in processes of their own: close the page, and they go on. What was measured is kept."
)
store = store_or_stop()


def begin(workload: str, preset: str, workers: int) -> None:
    """Start the sweep, or come back to the one that is under way, and pick it."""
    with shown_errors():
        job = jobs.start(store, "sweep", _parameters(workload, preset, workers))
        st.session_state[JOB] = job_labels([job])[job.id]


def _parameters(workload: str, preset: str, workers: int) -> dict[str, object]:
    grid = sweeps.preset_grid(preset, workload)
    return {"workload": workload, "grid": dict(grid.plain), "workers": workers}


def start_panel(store: Store, workload: str) -> None:
    """Presets with what they cost, before anything is started."""
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    preset = left.segmented_control(
        "Sweep", list(sweeps.PRESETS), default="quick", required=True, key="studies.preset", **KEPT,
        help="Pruning and rounding, alone and together. Grids of your own go through the command line.",
    )  # fmt: skip
    workers = right.number_input(
        "Processes", 1, 64, key="studies.workers", help="Each takes one core. Leave one for whoever looks on.", **KEPT
    )
    cost = sweeps.cost_of(store, sweeps.preset_grid(preset, workload), workload, workers=workers)
    st.caption(f"{sweeps.PRESETS[preset].about} {cost.sentence()}")
    parameters = _parameters(workload, preset, workers)
    running = jobs.latest(store, "sweep", parameters)
    active = running is not None and running.is_active
    st.button(
        f"Start on {CATALOG[workload].title}", type="primary", icon=":material/play_arrow:", key="studies.start",
        on_click=begin, args=(workload, preset, workers), disabled=active,
    )  # fmt: skip
    with st.expander("The same on the command line", icon=":material/terminal:"):
        words = command_line("sweep", {"workload": workload, "grid": preset, "workers": workers})
        st.code(words, language="bash")


@st.fragment
def once(store: Store) -> None:
    """Jobs that stand still; the page is drawn anew when one of them goes on."""
    if any(job.is_active for job in jobs.everyone(store)):
        st.rerun()
    follow(store)


@st.fragment(run_every=1.0)
def live(store: Store) -> None:
    """Jobs under way, looked at every second; the page is drawn anew when the last one has ended."""
    if not any(job.is_active for job in jobs.everyone(store)):
        st.rerun()
    follow(store)


def follow(store: Store) -> None:
    """All jobs in a few figures, and the picked one in full."""
    listing = jobs.everyone(store)
    tiles(listing, store.count())
    labels = job_labels(listing)
    forget_unless_in(JOB, labels.values())
    # Without a default, whatever is picked stands in the address, and a copied link shows the same job. It is there
    # before the first job: what a button picks reaches the address only where the widget was there already.
    picked = st.selectbox("Job", list(labels.values()), index=None, placeholder="The newest", key=JOB, **KEPT)
    if not listing:
        st.info("There are no jobs yet. Start a sweep above, or one from the command line.", icon=":material/inbox:")
        return
    job_view(store, next((job for job in listing if labels[job.id] == picked), listing[0]))


with shown_errors():
    start_panel(store, workload)
st.subheader("Jobs")
with shown_errors():
    (live if any(job.is_active for job in jobs.everyone(store)) else once)(store)
