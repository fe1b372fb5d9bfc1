"""The frontier as one chart or as two that are linked, with what is marked in them."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from gencomp_core.charts.pareto import MANY, pareto_chart
from gencomp_core.services.frontiers import AxisFacts
from pages._widgets import selected_signatures

CHARTS = ("pareto.chart", "pareto.beside.chart")
MARKED = "pareto.marked"


@dataclass(frozen=True)
class View:
    """One chart of the frontier.

    Attributes:
        table: placed measurements, as `services.frontiers.place` gives them.
        x, y: its axes.
        lines: qualities without any model, by name.
    """

    table: pd.DataFrame
    x: AxisFacts
    y: AxisFacts
    lines: dict[str, float]


def new_selections() -> list[str]:
    """Signatures that were selected since the last run, in whichever chart; none where nothing was."""
    for key in CHARTS:
        event: Any = st.session_state.get(key)
        found = selected_signatures(event) if event else []
        if found and st.session_state.get(f"{key}.seen") != found:
            st.session_state[f"{key}.seen"] = found
            return found
    return []


def marks_among(signatures: pd.Series, fresh: list[str]) -> list[str]:
    """What is marked of these: a new selection of several, or the one before."""
    if len(fresh) > 1:
        st.session_state[MARKED] = fresh
    known = set(signatures)
    return [name for name in st.session_state.get(MARKED, []) if name in known]


def draw(views: list[View], *, selected: str | None, marked: list[str]) -> None:
    """One chart, or two beside each other; what is picked and marked in one is so in the other."""
    for place, key, view in zip(st.columns(len(views)), CHARTS, views, strict=False):
        chart = pareto_chart(
            view.table, x=view.x.column, x_title=view.x.title, y=view.y.column, y_title=view.y.title,
            better=view.y.better, selected=selected, lines=view.lines, marked=marked, legend=key == CHARTS[0],
        )  # fmt: skip
        place.plotly_chart(
            chart, key=key, on_select="rerun", selection_mode=("points", "box", "lasso"),
            config={"displaylogo": False},
            alt=f"Scatter of {len(view.table)} configurations: {view.x.title} against {view.y.title}, the frontier as "
            "a line",
        )  # fmt: skip
        if len(view.table) > MANY:
            place.caption(
                f"{len(view.table):,} configurations; dominated ones that lie on top of others are drawn once."
            )


def marks_line(marked: list[str], n: int) -> None:
    """How many are marked, and how to get rid of it."""
    if not marked:
        st.caption("Drag a box or a lasso (chart menu) to mark several: the table keeps to them.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{len(marked)} of {n}** are marked, in every chart and in the table.")
        st.button("Clear the marks", icon=":material/ink_eraser:", on_click=_clear, key="pareto.clear")


def _clear() -> None:
    st.session_state.pop(MARKED, None)
