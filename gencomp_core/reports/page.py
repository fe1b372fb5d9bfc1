"""A report: facts in, one HTML page out that opens offline, prints well and escapes everything."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

TEMPLATES = Path(__file__).parent


@dataclass(frozen=True)
class Tile:
    """One figure against dense.

    Attributes:
        title: with its direction as an arrow.
        value: with its unit.
        against: what it is compared with, or its interval.
        badge: `measured`, `predicted` or `simulated`.
    """

    title: str
    value: str
    against: str = ""
    badge: str = "measured"


@dataclass(frozen=True, eq=False)
class Section:
    """One part of a report; what is empty is left out.

    Attributes:
        title: heading.
        text: paragraphs.
        pictures: WEBP bytes by caption.
        markup: HTML that was escaped where it was made, such as texts with changed words marked.
        figure: chart, with its data as a table below it where `table` is given.
        alt: what the figure shows, in words.
        table: rows below the text.
        code: preformatted blocks by caption.
    """

    title: str
    text: Sequence[str] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    markup: str = ""
    figure: go.Figure | None = None
    alt: str = ""
    table: pd.DataFrame | None = None
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Report:
    """What a report says.

    Attributes:
        title: heading.
        answer: one sentence that answers the reader's question.
        tiles: three or four figures.
        sections: the evidence.
        provenance: machine, versions, date and how it was made, by name.
    """

    title: str
    answer: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    provenance: Mapping[str, str]


def render(report: Report, *, style: str = "") -> str:
    """The report as one HTML document with everything inside.

    Args:
        style: CSS of marks and tables that the sections' own markup needs.
    """
    with_charts = any(section.figure is not None for section in report.sections)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            style=Markup(style),
            library=Markup(get_plotlyjs()) if with_charts else "",
        )
    )


def figure_markup(figure: go.Figure) -> Markup:
    """A chart as HTML that expects Plotly on the page; Plotly's JSON escapes what could end a script."""
    white = go.Figure(figure).update_layout(template="plotly_white")
    html: str = plotly.io.to_html(
        white, include_plotlyjs=False, full_html=False, config={"displayModeBar": False, "responsive": True}
    )
    return Markup(html)


def picture_markup(content: bytes) -> str:
    """A WEBP picture as an address that holds it."""
    return "data:image/webp;base64," + base64.b64encode(content).decode()


def cell(value: Any) -> str:
    """A value of a table for people: four digits, thousands separated, nothing for what is missing."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"figure": figure_markup, "picture": picture_markup, "cell": cell, "markup": Markup}
    return environment
