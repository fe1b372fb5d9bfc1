"""Parts of the Compare page: tiles of both, the stages that differ, and figures with their direction."""

import pandas as pd
import streamlit as st

from gencomp_core.charts.theme import bytes_text, count_text
from gencomp_core.records import Measurement
from gencomp_core.services.comparing import SAME
from pages._widgets import ARROWS, fidelity_tile, quality_tile, size_tile, status_badge


def twin_tiles(a: Measurement, b: Measurement) -> None:
    """The same three tiles of both, beside each other."""
    for place, name, own in zip(st.columns(2), "AB", (a, b), strict=True):
        with place.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{name}: {own.title}**")
                status_badge(own.status)
            size_tile(st, own.size_bytes, own.dense_size_bytes)
            quality_tile(st, own)
            fidelity_tile(st, own)


def stage_table(table: pd.DataFrame) -> None:
    """What differs between the recipes, equal stages counted."""
    differing = table[table["what"] != SAME]
    n_same = len(table) - len(differing)
    if n_same:
        kinds = ", ".join(table[table["what"] == SAME]["stage"])
        st.caption(f"{n_same} stage{'s are' if n_same > 1 else ' is'} the same: {kinds}.")
    if differing.empty:
        st.info("Both recipes are equal.", icon=":material/equal:")
        return
    st.dataframe(
        differing.rename(columns={"a": "A", "b": "B"}), hide_index=True, key="compare.stages",
        column_config={"A": st.column_config.TextColumn(width="medium"),
                       "B": st.column_config.TextColumn(width="medium")},
    )  # fmt: skip


def figure_table(table: pd.DataFrame) -> None:
    """Figures of both with the difference, B minus A."""
    shown = pd.DataFrame(
        {
            "figure": table["figure"] + table["better"].map(lambda better: f" {ARROWS[better]}"),
            "A": [_text(name, value) for name, value in zip(table["figure"], table["a"], strict=True)],
            "B": [_text(name, value) for name, value in zip(table["figure"], table["b"], strict=True)],
            "B minus A": [
                ("−" if value < 0 else "+") + _text(name, abs(value))
                for name, value in zip(table["figure"], table["change"], strict=True)
            ],
        }
    )
    st.dataframe(shown, hide_index=True, key="compare.figures")


def _text(name: str, value: float) -> str:
    if "bytes" in name:
        return bytes_text(value)
    return count_text(value) if value >= 10_000 else f"{value:,.4g}"
