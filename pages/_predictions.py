"""Predictions on Explore: tiles before anything is sampled, and budgets that a plan is sought for."""

import pandas as pd
import streamlit as st

from gencomp_core.charts.plans import plan_bars
from gencomp_core.charts.theme import ms_text
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records.plans import Plan, Prediction
from gencomp_core.services import jobs, library, predictions
from gencomp_core.services.job_kinds import command_line
from gencomp_core.store import Store
from pages._widgets import ARROWS, DELTA_COLOURS, link_to, pick_recipe, shown_errors, size_tile, status_line

PLAN = "explore.plan"
FIRST_BUDGET = "1MB"


def predicted_row(store: Store, workload: str, recipe: Recipe) -> None:
    """What a recipe is expected to cost and to give, before it is sampled; nothing where that is not known."""
    if not predictions.can_predict(store, workload):
        return
    found = predictions.predicted(store, workload, recipe)
    if isinstance(found, str):
        st.caption(f"Not predicted: {found}")
        return
    prediction_tiles(store, workload, found)


def prediction_tiles(store: Store, workload: str, found: Prediction) -> None:
    """Tiles of a prediction, with their badge."""
    instance = predictions.instance_of(store, workload)
    columns = st.columns(3)
    size_tile(columns[0], found.size_bytes, instance.exact_bytes([0] * len(instance.options)))
    facts, quality = library.metric_of(workload), found.quality
    if quality is None:
        columns[1].metric(
            f"{facts.title} {ARROWS[facts.better]}", "not known", border=True, height="stretch", help=found.note
        )
    else:
        tied = quality.change_low <= 0 <= quality.change_high
        columns[1].metric(
            f"{facts.title} {ARROWS[quality.better]}", f"{'≥ ' if quality.beyond else ''}{quality.value:.2f}",
            f"{quality.change:+.2f}", border=True, height="stretch",
            delta_color="off" if tied else DELTA_COLOURS[quality.better],
            delta_description=f"[{quality.change_low:+.2f}, {quality.change_high:+.2f}]",
            help=f"From {quality.n_pairs} measured configurations of like damage; dense {quality.dense:.2f}.",
        )  # fmt: skip
    if found.latency_ms is not None:
        columns[2].metric(
            "Latency ↓",
            ms_text(found.latency_ms),
            border=True,
            height="stretch",
            help=f"{found.batch} at a time in {found.runtime}.",
        )
    exact = "Bytes are exact." if found.size_is_exact else "Bytes lie between those of known options."
    status_line("predicted", f"{exact} From a scan of single layers; nothing was sampled for it.")


@st.fragment
def goal_seek(store: Store, workload: str) -> None:
    """Budgets in, a plan out: one option per layer."""
    with st.expander("Fit a budget", icon=":material/flag:", expanded=False):
        if not predictions.can_predict(store, workload):
            _scan_first(store, workload)
            return
        st.caption("Each layer gets its own bits and zeros, so that the whole fits. Leave out what does not matter.")
        places = st.columns(3)
        size = places[0].text_input("Weights file, at most", FIRST_BUDGET, key="explore.max_size", placeholder="500kB")
        latency = places[1].text_input("Time for a sample, at most", key="explore.max_latency", placeholder="20ms")
        loss = places[2].text_input("Loss of quality, at most", key="explore.max_loss", placeholder="10%")
        if st.button("Find the plan", type="primary", icon=":material/flag:", key="explore.find_plan"):
            st.session_state.pop(PLAN, None)
            with shown_errors():
                budgets = predictions.budgets_of(
                    workload, size=size or None, latency=latency or None, loss=loss or None
                )
                st.session_state[PLAN] = predictions.planned(store, workload, budgets)
        found = st.session_state.get(PLAN)
        if isinstance(found, Plan) and found.workload == workload:
            _plan_view(store, workload, found)


def _plan_view(store: Store, workload: str, found: Plan) -> None:
    recipe = Recipe.from_dict(found.recipe)
    prediction_tiles(store, workload, found.predicted)
    for line in predictions.shadow_lines(found):
        st.markdown(f"- {line}")
    rows = [own.model_dump(exclude={"option"}) | own.option.model_dump() for own in found.layers]
    st.plotly_chart(plan_bars(pd.DataFrame(rows)), key="explore.plan_bars")
    with st.container(horizontal=True):
        if st.button("Pick this plan", icon=":material/check:", key="explore.pick_plan"):
            pick_recipe(workload, recipe)
            st.rerun(scope="app")
        if st.button("Measure it", icon=":material/straighten:", key="explore.measure_plan"):
            n_samples = library.usual_samples(library.figures(store, workload), workload)
            parameters = {"workload": workload, "recipe": recipe.to_dict(), "samples": n_samples}
            jobs.start(store, "evaluate", parameters)
            link_to("pages/studies.py", "It is being measured", icon=":material/hourglass_top:", workload=workload)
    with st.expander("Recipe of the plan", icon=":material/code:"):
        st.code(recipe.to_yaml(), language="yaml")


def _scan_first(store: Store, workload: str) -> None:
    """Without a scan there is nothing to plan with: start one."""
    parameters = {"workload": workload, "max_size": FIRST_BUDGET}
    st.info("Plans and predictions need a scan of the layers, once. It takes some minutes.", icon=":material/info:")
    if st.button("Scan the layers", type="primary", icon=":material/radar:", key="explore.scan"):
        jobs.start(store, "plan", parameters)
        link_to("pages/studies.py", "The scan is under way", icon=":material/hourglass_top:", workload=workload)
    st.code(command_line("plan", parameters), language="bash")
