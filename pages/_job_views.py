"""Jobs as a person sees them: state, progress, time left, log, and what can be done."""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from gencomp_core.records import Job, JobState
from gencomp_core.services import jobs
from gencomp_core.services.job_kinds import KINDS
from gencomp_core.services.sweeps import members
from gencomp_core.store import Store
from pages._widgets import link_to, shown_errors, table_twin

JOB = "studies.job"
COLOURS: dict[JobState, str] = {
    "queued": "gray", "running": "blue", "done": "green", "failed": "red", "cancelled": "orange",
    "interrupted": "orange",
}  # fmt: skip
HELP: dict[JobState, str] = {
    "queued": "Its process is starting.",
    "running": "Its process gives a sign of life every second.",
    "done": "All of it was carried out.",
    "failed": "It ended with an error. What was finished is kept.",
    "cancelled": "Someone stopped it. What was finished is kept.",
    "interrupted": "Its process died or fell silent. What was finished is kept.",
}


def job_labels(listing: Sequence[Job]) -> dict[str, str]:
    """What a job is called in the picker and in the address, by id."""
    return {job.id: f"{job.id} {job.kind} {job.workload}" for job in listing}


def tiles(listing: Sequence[Job], n_measurements: int) -> None:
    """How many jobs stand where."""
    places = st.columns(4)
    n_active = sum(job.is_active for job in listing)
    places[0].metric("Under way", n_active, border=True, height="stretch")
    places[1].metric("Done", sum(job.state == "done" for job in listing), border=True, height="stretch")
    places[2].metric(
        "Can be resumed", sum(job.can_resume for job in listing), border=True, height="stretch",
        help="Cancelled, interrupted or failed; finished measurements are not made again.",
    )  # fmt: skip
    places[3].metric(
        "Measurements kept",
        f"{n_measurements:,}",
        border=True,
        height="stretch",
        help="In this store, of all workloads.",
    )


def job_view(store: Store, job: Job) -> None:
    """One job in full."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(job.state, color=COLOURS[job.state], help=HELP[job.state])
            st.caption(f"{KINDS[job.kind].title if job.kind in KINDS else job.kind} of {job.workload}. {_when(job)}")
        if job.is_active:
            told = job.progress
            st.progress(told.fraction if told else 0.0, text=_progress_text(job))
        elif job.message:
            (st.error if job.state == "failed" else st.warning)(job.message, icon=":material/info:")
        _found(store, job)
        _buttons(store, job)
        st.caption("The same job on the command line:")
        st.code(job.command, language="bash")
        lines = jobs.log_tail(job)
        st.caption("End of its log:" if lines else "It has no log here: it ran in a terminal, or on another machine.")
        if lines:
            st.code("\n".join(lines), language=None, height=220)


def _buttons(store: Store, job: Job) -> None:
    with st.container(horizontal=True):
        if job.is_active:
            st.button(
                "Cancel", icon=":material/stop:", key="studies.cancel", on_click=_act, args=(store, job, "cancel")
            )
        if job.can_resume:
            st.button(
                "Resume", icon=":material/resume:", key="studies.resume", type="primary", on_click=_act,
                args=(store, job, "resume"),
            )  # fmt: skip
        if not job.is_active and job.result and job.result.get("n_failed"):
            st.button(
                f"Retry {job.result['n_failed']} failed", icon=":material/replay:", key="studies.retry", on_click=_act,
                args=(store, job, "retry"),
            )  # fmt: skip


def _act(store: Store, job: Job, what: str) -> None:
    with shown_errors():
        if what == "cancel":
            jobs.cancel(store, job.id)
        else:
            jobs.resume(store, job.id, retry=what == "retry")


def _found(store: Store, job: Job) -> None:
    """Members of the study behind a job, those that failed with their reason."""
    rows = members(store, job.signature)
    if not rows:
        return
    table = pd.DataFrame(rows)
    counts = table["status"].value_counts()
    st.markdown(" · ".join(f"**{n}** {status}" for status, n in counts.items()))
    table_twin(table, filename=f"{job.kind}-{job.id}.csv", key=f"studies.{job.id}")
    if job.workload in set(table["workload"]) and "measured" in counts:
        link_to("pages/pareto.py", "See them on the frontier", icon=":material/show_chart:", workload=job.workload)


def _progress_text(job: Job) -> str:
    if job.cancel_requested:
        return "stopping"
    told = job.progress
    if told is None:
        return "its process is starting"
    left = "" if told.seconds_left is None else f", about {_seconds(told.seconds_left)} left"
    return f"{told.what}{left}"


def _when(job: Job) -> str:
    begun = f"Asked for {datetime.fromtimestamp(job.created_at):%d %b, %H:%M}"
    if job.ended_at is None or job.started_at is None:
        return f"{begun}."
    return f"{begun}, took {_seconds(job.ended_at - job.started_at)}."


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
