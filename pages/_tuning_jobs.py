"""Start a tuning, watch it, cancel it."""

import streamlit as st

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services import jobs, recovery_jobs
from gencomp_core.store import Store
from pages._job_views import job_view
from pages._widgets import picked_recipe, shown_errors

KEPT = {"bind": "query-params", "persist_state": "session"}
OWN = "the picked configuration"


def tuning_jobs(store: Store, workload: str) -> None:
    """Recipes with a button, and the newest job."""
    picked = picked_recipe(workload)
    picked = picked if picked is not None and recovery_jobs.tunes(picked) else None
    names = [*([OWN] if picked else []), *recovery_jobs.RECIPES]
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    name = left.selectbox("Recipe", names, key="recover.recipe")
    steps = right.number_input("Steps", 1, 100_000, 200, key="recover.steps", disabled=name == OWN, **KEPT)
    recipe = picked if picked and name == OWN else recovery_jobs.preset(name, int(steps))
    st.caption(recipe.title())
    own = recovery_jobs.of_workload(store, workload)
    st.button(
        "Tune as a job", type="primary", icon=":material/play_arrow:", key="recover.start", on_click=_begin,
        args=(store, workload, recipe), disabled=any(job.is_active for job in own),
    )  # fmt: skip
    if own:
        (_live if own[0].is_active else _once)(store, workload)


def _begin(store: Store, workload: str, recipe: Recipe) -> None:
    with shown_errors():
        jobs.start(store, "recover", recovery_jobs.parameters(workload, recipe))


@st.fragment
def _once(store: Store, workload: str) -> None:
    own = recovery_jobs.of_workload(store, workload)
    if own[0].is_active:
        st.rerun()
    job_view(store, own[0])


@st.fragment(run_every=1.0)
def _live(store: Store, workload: str) -> None:
    """The newest job, looked at every second; the page is drawn anew when it has ended."""
    jobs.everyone(store)  # notices those whose process died
    own = recovery_jobs.of_workload(store, workload)
    if not own[0].is_active:
        st.rerun()
    job_view(store, own[0])
