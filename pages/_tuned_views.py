"""A picked configuration that trains: shown with its last result, and tuned as a job, never inside a page."""

import streamlit as st

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services import library, recoveries
from gencomp_core.store import Store
from pages._explore_views import measured_view
from pages._widgets import link_to


def tuned_view(store: Store, workload: str, recipe: Recipe) -> None:
    """What is known of a recipe that trains, and where it is tuned."""
    with st.container(border=True):
        st.markdown(
            f"**{recipe.title()}** trains, which takes minutes: it is tuned as a job. The sliders below stand for "
            "configurations without training."
        )
        link_to("pages/recover.py", "Tune as a job", icon=":material/healing:", workload=workload)
        run = recoveries.latest_of(store, workload, recipe.to_dict())
        measurement = library.stored_for(store, workload, recipe)
        if run is not None:
            lost = f", {run.damaged.value:+.2f} without training" if run.damaged else ""
            st.caption(
                f"Last tuned: {run.metric} {run.quality.value:.2f} ({run.recovered.value:+.2f} to dense{lost}) after "
                f"{run.seconds:.0f} s of processor time, seed {run.seed}, n = {run.n_samples:,}."
            )
        if measurement is not None:
            measured_view(store, measurement)
        elif run is None:
            st.caption("It was not tuned yet.")
