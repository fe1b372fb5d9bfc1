import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from gencomp_core.charts.training import (
    ARM_COLOURS,
    ARM_DASHES,
    SELECTED_COLOUR,
    VERDICT_COLOURS,
    VERDICT_MARKS,
    curve_chart,
    strategy_chart,
)
from gencomp_core.services.ablations import VERDICTS

ROWS = [
    ("width", "Twice the width", 2.0, 1.5, 2.6, "helps"),
    ("beta", "β of 4", 0.5, 0.4, 0.7, "hurts"),
    ("dropout", "Dropout", 1.05, 0.9, 1.2, "no difference"),
    ("r1", "R1", np.nan, np.nan, np.nan, "failed"),
]


def strategies(rows: list[tuple[str, str, float, float, float, str]] | None = None) -> pd.DataFrame:
    columns = ["name", "title", "times_better", "low", "high", "verdict"]
    return pd.DataFrame(ROWS if rows is None else rows, columns=columns)


def trace(figure: go.Figure, name: str) -> go.Scatter:
    (found,) = [one for one in figure.data if one.name == name]
    return found


def curve(arms: tuple[str, ...] = ("without", "with"), figure: str = "fid") -> pd.DataFrame:
    rows = [
        {"arm": arm, "seed": seed, "step": step, "seconds": 2.0 * step, "quantity": quantity, "value": 10.0 / step}
        for arm in arms
        for seed in (0, 1)
        for step in (50, 100)
        for quantity in ("loss", figure)
    ]
    return pd.DataFrame(rows)


def test_every_strategy_with_a_ratio_stands_at_it_with_its_whiskers() -> None:
    figure = strategy_chart(strategies())
    for name, title, value, low, high, verdict in ROWS[:3]:
        one = trace(figure, verdict)
        assert (list(one.customdata), list(one.x), list(one.y)) == ([name], [value], [title])
        assert one.error_x.array[0] == pytest.approx(high - value)
        assert one.error_x.arrayminus[0] == pytest.approx(value - low)
    assert "failed" not in [one.name for one in figure.data]


def test_the_axis_tells_which_side_is_better_and_is_even_in_ratios() -> None:
    layout = strategy_chart(strategies()).layout
    assert layout.xaxis.type == "log"
    assert layout.xaxis.title.text.startswith("← worse")
    assert layout.xaxis.title.text.endswith("better with it →")
    assert layout.shapes[0].x0 == layout.shapes[0].x1 == 1


def test_the_best_strategy_is_on_top() -> None:
    assert list(strategy_chart(strategies()).layout.yaxis.categoryarray) == ["β of 4", "Dropout", "Twice the width"]


def test_a_verdict_has_a_colour_and_a_mark_of_its_own() -> None:
    assert VERDICT_COLOURS.keys() == VERDICT_MARKS.keys() == VERDICTS.keys() - {"failed"}
    assert len(set(VERDICT_COLOURS.values())) == len(set(VERDICT_MARKS.values())) == 3
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in VERDICT_COLOURS.values())


def test_the_picked_strategy_is_ringed() -> None:
    ring = trace(strategy_chart(strategies(), selected="beta"), "picked")
    assert (list(ring.x), list(ring.y), ring.marker.color) == ([0.5], ["β of 4"], SELECTED_COLOUR)
    names = [one.name for one in strategy_chart(strategies(), selected="r1").data]
    assert "picked" not in names


def test_the_chart_grows_with_its_rows_and_may_be_empty() -> None:
    empty = strategy_chart(strategies(ROWS[3:]))
    assert len(empty.data) == 0
    assert empty.layout.height < strategy_chart(strategies()).layout.height


def test_arms_are_told_apart_by_colour_and_line_and_named_once() -> None:
    figure = curve_chart(curve(), x="step", held_out="fid", held_out_title="FID (lower is better)", log=True)
    assert len(figure.data) == 8  # two quantities, arms, seeds
    assert [one.name for one in figure.data if one.showlegend] == ["without", "with"]
    for one in figure.data:
        assert (one.line.color, one.line.dash) == (ARM_COLOURS[one.name], ARM_DASHES[one.name])
    assert ARM_DASHES["without"] != ARM_DASHES["with"]
    assert (figure.layout.yaxis.title.text, figure.layout.yaxis2.title.text) == (
        "training loss",
        "FID (lower is better)",
    )
    assert figure.layout.yaxis2.type == "log"


@pytest.mark.parametrize(("x", "last", "title"), [("step", 100, "steps"), ("seconds", 200, "seconds of training")])
def test_curves_run_over_steps_or_seconds(x: str, last: float, title: str) -> None:
    figure = curve_chart(curve(("shipped",)), x=x, held_out="fid")
    assert figure.data[0].x[-1] == last
    assert figure.layout.xaxis2.title.text == title


def test_without_a_held_out_figure_there_is_one_panel() -> None:
    only_loss = curve()[curve()["quantity"] == "loss"]
    figure = curve_chart(only_loss, x="step", held_out=None)
    assert len(figure.data) == 4
    assert "yaxis2" not in figure.layout
