"""What a lesson is: one question, one guess, and what the measurements say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from gencomp_core.store import Store

Level = Literal["first steps", "going on"]


@dataclass(frozen=True)
class NumberGuess:
    """A number to guess on a slider.

    Attributes:
        label: of the slider, with its unit.
        low, high, step, start: of the slider.
        unit: behind a number in a sentence.
        near: difference from the truth that counts as right.
    """

    label: str
    low: float
    high: float
    step: float
    start: float
    unit: str
    near: float


@dataclass(frozen=True)
class ChoiceGuess:
    """One of a few answers to pick.

    Attributes:
        label: of the control.
        options: answers.
    """

    label: str
    options: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Reveal:
    """What the measurements say.

    Attributes:
        truth: the measured number, or every option that is right (several where they tie).
        sentence: the answer, with its figures.
        figure: one picture as a chart; `alt` says it in words.
        table: data behind the chart.
        sheets: pictures of samples (WEBP) by caption.
        texts: HTML of texts side by side, escaped where it was made.
        signature: measurement to open on other pages.
    """

    truth: float | tuple[str, ...]
    sentence: str
    figure: go.Figure | None = None
    alt: str = ""
    table: pd.DataFrame | None = None
    sheets: Mapping[str, bytes] = field(default_factory=dict)
    texts: str = ""
    signature: str | None = None


@dataclass(frozen=True, eq=False)
class Lesson:
    """One question with its evidence.

    Attributes:
        key: in addresses.
        level: which half it belongs to.
        title: a few words.
        workload: whose measurements answer it.
        question: one or two sentences, to be answered before anything is shown.
        guess: how it is answered.
        show_first: pictures (WEBP) by caption that belong to the question.
        reveal: what the store says.
        why: the reason, in a few sentences.
        recipe: stages to try afterwards, plain.
    """

    key: str
    level: Level
    title: str
    workload: str
    question: str
    guess: NumberGuess | ChoiceGuess
    reveal: Callable[[Store], Reveal]
    why: str
    recipe: Sequence[Mapping[str, Any]] = ()
    show_first: Callable[[Store], Mapping[str, bytes]] | None = None


def verdict(guess: NumberGuess | ChoiceGuess, answer: float | str, truth: float | tuple[str, ...]) -> tuple[bool, str]:
    """Whether an answer is right, and what to say of it."""
    if isinstance(guess, ChoiceGuess) or isinstance(truth, tuple):
        right = isinstance(truth, tuple) and answer in truth
        return right, f"You said “{answer}”, and that is {'right' if right else 'not what was measured'}."
    off = float(answer) - truth
    how = "close enough" if abs(off) <= guess.near else ("too high" if off > 0 else "too low")
    return abs(
        off
    ) <= guess.near, f"You said {float(answer):g} {guess.unit}; measured: {truth:.3g} {guess.unit}, so {how}."
