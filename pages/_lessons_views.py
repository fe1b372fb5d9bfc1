"""Parts of a lesson: the guess, what was measured, and what to do next."""

from collections.abc import Mapping, Sequence

import streamlit as st

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services.lessons import Lesson, NumberGuess, verdict
from gencomp_core.services.lessons.notebook import notebook
from gencomp_core.store import Store
from pages._widgets import link_to, status_badge, table_twin


def show_first(sheets: Mapping[str, bytes]) -> None:
    """Pictures that belong to the question."""
    for caption, content in sheets.items():
        st.caption(caption)
        st.image(content, width="stretch", alt=caption)


def guess_control(lesson: Lesson) -> float | str | None:
    """Slider or choice; None where nothing is chosen yet."""
    guess, key = lesson.guess, f"lessons.guess.{lesson.key}"
    if isinstance(guess, NumberGuess):
        kind = int if all(float(x).is_integer() for x in (guess.low, guess.high, guess.step, guess.start)) else float
        low, high, start, step = (kind(x) for x in (guess.low, guess.high, guess.start, guess.step))
        return float(st.slider(guess.label, low, high, start, step, key=key))
    chosen: str | None = st.radio(guess.label, guess.options, index=None, key=key)
    return chosen


def revealed(store: Store, lesson: Lesson, answer: float | str, *, presenting: bool) -> None:
    """The verdict on the answer, the measurements behind it, and why."""
    found = lesson.reveal(store)
    right, said = verdict(lesson.guess, answer, found.truth)
    (st.success if right else st.info)(
        f"{said} {found.sentence}", icon=":material/check_circle:" if right else ":material/lightbulb:"
    )
    if found.figure is not None:
        st.plotly_chart(
            found.figure, key=f"lessons.chart.{lesson.key}", config={"displayModeBar": False}, alt=found.alt
        )
    show_first(found.sheets)
    if found.texts:
        st.html(found.texts)
    st.markdown(f"**Why.** {lesson.why}")
    status_badge("measured")
    if presenting:
        return
    if found.table is not None:
        table_twin(found.table, filename=f"lesson-{lesson.key}.csv", key=f"lessons.{lesson.key}")
    left, right_place = st.columns(2)
    if found.signature:
        link_to(
            "pages/explore.py", "Try it yourself", icon=":material/tune:", workload=lesson.workload,
            pick=found.signature, place=left,
        )  # fmt: skip
    right_place.download_button(
        "Download as a notebook", lambda: notebook(lesson), file_name=f"lesson-{lesson.key}.ipynb",
        mime="application/x-ipynb+json", on_click="ignore", icon=":material/download:", key=f"lessons.nb.{lesson.key}",
        width="stretch", help=f"Runs where GenComp is installed. Recipe: {_title(lesson)}.",
    )  # fmt: skip


def turn(number: int, titles: Sequence[str]) -> None:
    """Links to the lesson before and the one after."""
    left, right = st.columns(2)
    for place, other, label, icon in (
        (left, number - 2, "Before", ":material/arrow_back:"),
        (right, number, "Next", ":material/arrow_forward:"),
    ):
        if 0 <= other < len(titles):
            address = {"lesson": titles[other]}
            text = f"{label}: {titles[other]}"
            place.page_link("pages/lessons.py", label=text, icon=icon, query_params=address, width="stretch")


def _title(lesson: Lesson) -> str:
    return Recipe.from_dict({"stages": list(lesson.recipe)}).title()
