"""Explore: move a slider, see the same-seed samples, the exact bytes and the quality change."""

import streamlit as st

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services import library, recovery_jobs
from gencomp_core.store import Store
from gencomp_core.workloads import CATALOG
from pages._explore_views import measured_view, simulated_view
from pages._layer_table import layer_table, remember_base
from pages._predictions import goal_seek, predicted_row
from pages._recipe_controls import controls_for, recipe_controls
from pages._tuned_views import tuned_view
from pages._widgets import link_to, pick_recipe, pick_workload, picked_recipe, shown_errors, store_or_stop

workload = pick_workload()
st.title("Explore")
st.markdown(
    f"How much can be taken from **{CATALOG[workload].title}** before you see it? Dense and compressed start "
    "from the same noise or source. What was measured, simulated or only predicted says so."
)
store = store_or_stop()

picked = picked_recipe(workload)
if picked is not None and st.session_state.get("explore.shown") != (workload, picked.signature):
    values = controls_for(picked)
    if values is None and not recovery_jobs.tunes(picked):
        st.info(
            f"The picked configuration ({picked.title()}) is beyond these sliders. Its settings are under *By layer*.",
            icon=":material/info:",
        )
        remember_base(workload, picked)
    for name, value in (values or {}).items():
        st.session_state[name] = value
    st.session_state["explore.shown"] = (workload, picked.signature)
    st.session_state.pop("explore.last", None)
if picked is not None and recovery_jobs.tunes(picked):
    with shown_errors():
        tuned_view(store, workload, picked)


def show(store: Store, workload: str, recipe: Recipe) -> None:
    """Stored measurement where there is one, otherwise a simulation."""
    measurement = library.stored_for(store, workload, recipe)
    if measurement is not None and (recipe.is_dense or library.has_samples(store, measurement)):
        measured_view(store, measurement)
    else:
        predicted_row(store, workload, recipe)
        simulated_view(store, workload, recipe)


def follow(workload: str, recipe: Recipe) -> None:
    """Pick what the controls stand for once they were moved: until then, a pick from elsewhere stays."""
    moved = st.session_state.get("explore.last", recipe.signature) != recipe.signature
    if moved or (picked_recipe(workload) is None and not recipe.is_dense):
        pick_recipe(workload, recipe)
        st.session_state["explore.shown"] = (workload, recipe.signature)
    st.session_state["explore.last"] = recipe.signature


@st.fragment
def explore(store: Store, workload: str) -> None:
    """Controls and picture together, so that a slider reruns only them."""
    controls, view = st.columns([1, 2.1], gap="medium")
    with controls, shown_errors():
        recipe = layer_table(store, workload, recipe_controls())
        follow(workload, recipe)
        with st.expander("Recipe", icon=":material/code:"):
            st.code(recipe.to_yaml(), language="yaml")
        link_to("pages/export.py", "Export this configuration", icon=":material/download:", workload=workload)
    with view, shown_errors():
        show(store, workload, recipe)


explore(store, workload)
goal_seek(store, workload)
