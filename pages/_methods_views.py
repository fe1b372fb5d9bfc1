"""One entry of Methods: pictures of what a stage does, when it helps, and how it is written."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from gencomp_core.charts.methods import VIEWS
from gencomp_core.services.pictures import COMMAND, Picture, recorded_pictures
from pages._widgets import nothing_yet, shown_errors

RECORDED = f"Of the bundled weights; `{COMMAND}` records it again."


def technique(row: Mapping[str, Any]) -> None:
    """A closed line; what is in it is read and drawn when it is opened."""
    kind = row["kind"]
    entry = st.expander(f"**{kind}**: {row['help']}", key=f"methods.{kind}", on_change="rerun", bind="query-params")
    if not entry.open:
        return
    with entry:
        found: tuple[Picture, ...] = ()
        with shown_errors():
            found = recorded_pictures(kind)
            if not found:
                nothing_yet(f"recorded pictures of {kind}", "One command records them.", command=f"{COMMAND} {kind}")
        with pictures(found, key=f"methods.{kind}"):
            words(row)
        st.dataframe(pd.DataFrame(row["fields"]), hide_index=True, key=f"methods.{kind}.fields")
        st.code(row["example"], language="yaml")


def pictures(found: Sequence[Picture], *, key: str) -> Any:
    """Maps over the whole width, others two in a row; returns the place for words, beside a picture that is alone."""
    maps = [picture for picture in found if picture.view == "map"]
    others = [picture for picture in found if picture.view != "map"]
    places = [*(st.container() for _ in maps), *(st.columns(2, gap="medium") if others else [])]
    for number, picture in enumerate([*maps, *others]):
        with places[number]:
            one_picture(picture, key=f"{key}.{number + 1}")
    return places[-1] if len(others) == 1 else st.container()


def one_picture(picture: Picture, *, key: str) -> None:
    """Title with the table behind the chart, the chart, what to see in it, and how it was made."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(f"**{picture.title}**", width="content")
        with st.popover("Table", icon=":material/table:", type="tertiary"):
            st.dataframe(picture.table, hide_index=True, key=f"{key}.table")
            st.download_button(
                "Download CSV", picture.table.to_csv(index=False), file_name=f"{key}.csv", mime="text/csv",
                key=f"{key}.csv", on_click="ignore", icon=":material/download:",
            )  # fmt: skip
    figure = VIEWS[picture.view](picture.table, x_title=picture.x_title, y_title=picture.y_title)
    st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=f"{picture.title}: {picture.caption}")
    st.markdown(picture.caption)
    st.caption(f":green-badge[measured] {picture.conditions}", help=RECORDED)


def words(row: Mapping[str, Any]) -> None:
    """What our own measurements say, what the stage does, and where it comes from."""
    if row["when"]:
        st.info(f"**When it helps.** {row['when']}", icon=":material/lightbulb:")
    if row["about"]:
        st.markdown(row["about"])
    st.caption(f"Source: {row['source']}")
