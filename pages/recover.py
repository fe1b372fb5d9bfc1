"""Recover: how much of the lost quality training brings back, and what each minute of it buys."""

import streamlit as st

from gencomp_core.services import recoveries
from pages._recover_views import best_sentence, compare, one_run, plan_panel
from pages._tuning_jobs import tuning_jobs
from pages._widgets import nothing_yet, pick_workload, shown_errors, store_or_stop

workload = pick_workload()
st.title("Recover")
store = store_or_stop()
with shown_errors():
    runs = recoveries.runs_of(store, workload)
    if runs:
        best_sentence(runs)
        compare(runs)
        one_run(store, runs)
        st.subheader("What a few minutes are likely to give")
        plan_panel(store, workload)
    else:
        nothing_yet(
            f"recovery studies of {workload}", "Start one below: it measures a recipe with and without its training.",
            command=f"python -m gencomp_core recover {workload} --recipe recipe.yaml",
        )  # fmt: skip
st.subheader("Tune")
with shown_errors():
    tuning_jobs(store, workload)
