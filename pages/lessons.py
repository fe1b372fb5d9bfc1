"""Lessons: one question, one guess, then what was measured."""

import streamlit as st

from gencomp_core.services.lessons import LESSONS
from pages._lessons_views import guess_control, revealed, show_first, turn
from pages._widgets import run_through_app, shown_errors, store_or_stop

run_through_app()
st.title("Lessons")
titles = {lesson.title: key for key, lesson in LESSONS.items()}
title = st.sidebar.selectbox(
    "Lesson", list(titles), key="lesson", bind="query-params", persist_state="session",
    help="Seven first steps, then some for those who have pruned and rounded before.",
)  # fmt: skip
presenting = st.sidebar.toggle(
    "Presenter mode", key="present", bind="query-params", help="Large type and only the question, for a class."
)
store = store_or_stop()
lesson = LESSONS[titles[title]]
number = list(LESSONS).index(lesson.key) + 1
if presenting:
    st.html("<style>.stMain p, .stMain label p { font-size: 1.35rem; line-height: 1.5; }</style>")

st.caption(f"{number} of {len(LESSONS)}, {lesson.level}. Guess before you look: it stays in mind better.")
st.subheader(lesson.title)
st.markdown(lesson.question)
with shown_errors():
    if lesson.show_first is not None:
        show_first(lesson.show_first(store))
    answer = guess_control(lesson)
    key = f"lessons.revealed.{lesson.key}"
    if st.button(
        "Show what was measured", type="primary", icon=":material/visibility:", disabled=answer is None, shortcut="s"
    ):
        st.session_state[key] = answer
    if key in st.session_state:
        revealed(store, lesson, st.session_state[key], presenting=presenting)
turn(number, list(titles))
