"""The guided path: every step from dense to export with its state, and all of it as one job."""

import streamlit as st

from gencomp_core.charts.theme import bytes_text
from gencomp_core.services import jobs
from gencomp_core.services.guided import GuidedStep, guided_path, optimize_parameters
from gencomp_core.services.job_kinds import command_line
from gencomp_core.services.predictions import budgets_of
from gencomp_core.store import Store
from pages._job_views import JOB, job_labels
from pages._widgets import link_to, shown_errors

KEPT = {"bind": "query-params", "persist_state": "session"}
ICONS = {"done": ":material/check_circle:", "next": ":material/arrow_forward:", "open": ":material/circle:"}
STARTED = "overview.started"


def guided_steps(store: Store, workload: str, *, dense_size_bytes: int) -> None:
    """The steps with their links, and the button that goes the whole way."""
    steps = guided_path(store, workload)
    n_done = sum(step.state == "done" for step in steps)
    following = next((step for step in steps if step.state == "next"), None)
    st.subheader("From dense to shipped")
    st.markdown(
        f"**{n_done} of {len(steps)}** steps have something to show. "
        + (f"Next: **{following.title}**, {following.why}." if following else "All of them: ship it.")
    )
    for start in range(0, len(steps), 3):
        for place, step in zip(st.columns(3), steps[start : start + 3], strict=True):
            with place.container(border=True):
                _one(step, workload)
    with st.expander("The whole way as one job", icon=":material/bolt:"), shown_errors():
        whole_way(store, workload, dense_size_bytes)


def _one(step: GuidedStep, workload: str) -> None:
    link_to(f"pages/{step.page}.py", step.title, icon=ICONS[step.state], workload=workload)
    st.caption(f"{step.why.capitalize()}. **{step.state}**: {step.found}.")


def whole_way(store: Store, workload: str, dense_size_bytes: int) -> None:
    """Goals, the button, and the same on the command line."""
    left, right = st.columns(2)
    size = left.text_input(
        "Size of the weights file", f"{dense_size_bytes / 8e3:.0f}kB", key="overview.size", **KEPT,
        help=f"As 500kB or 2MB; dense has {bytes_text(dense_size_bytes)}.",
    )  # fmt: skip
    minutes = right.number_input("Minutes of tuning", 0.0, 600.0, 5.0, key="overview.minutes", **KEPT)
    parameters = optimize_parameters(workload, max_size=size, minutes=minutes)
    st.button(
        "Optimize", type="primary", icon=":material/play_arrow:", key="overview.optimize", on_click=_begin,
        args=(store, workload),
    )  # fmt: skip
    started = st.session_state.get(STARTED)
    if started:
        st.caption(f"Job {started} is under way or done: watch or cancel it on Studies.")
    link_to("pages/studies.py", "Watch jobs", icon=":material/science:", workload=workload)
    st.code(command_line("optimize", parameters), language="bash")


def _begin(store: Store, workload: str) -> None:
    """Start the job, or come back to the one of this workload that is under way."""
    size, minutes = st.session_state["overview.size"], st.session_state["overview.minutes"]
    with shown_errors():
        budgets_of(workload, size=size)
        active = [job for job in jobs.everyone(store) if job.kind == "optimize" and job.workload == workload]
        running = next((job for job in active if job.is_active), None)
        parameters = optimize_parameters(workload, max_size=size, minutes=minutes)
        job = running or jobs.start(store, "optimize", parameters)
        st.session_state[STARTED] = job.id
        st.session_state[JOB] = job_labels([job])[job.id]
