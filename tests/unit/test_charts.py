import re

import pandas as pd
import plotly.graph_objects as go
import pytest

from gencomp_core.analysis.pareto import frontier_table
from gencomp_core.charts.pareto import SELECTED_COLOUR, pareto_chart
from gencomp_core.charts.theme import FAMILY_COLOURS, FAMILY_MARKS, bytes_text, count_text, family
from gencomp_core.recipes.stages import STAGES

ROWS = [
    ("d" * 16, "dense", "dense", 1000.0, 10.0),
    ("a" * 16, "4-bit", "quantization", 150.0, 12.0),
    ("b" * 16, "2-bit", "quantization", 90.0, 60.0),
    ("c" * 16, "90 % magnitude", "pruning", 400.0, 50.0),
]


def table(rows: list[tuple[str, str, str, float, float | None]] | None = None) -> pd.DataFrame:
    columns = ["signature", "title", "family", "size_bytes", "quality"]
    made = pd.DataFrame(ROWS if rows is None else rows, columns=columns)
    made["quality_low"], made["quality_high"] = made["quality"] - 1, made["quality"] + 2
    made["is_dense"] = made["family"] == "dense"
    return frontier_table(made, x="size_bytes")


def chart(**options: object) -> go.Figure:
    return pareto_chart(table(), x="size_bytes", x_title="bytes", **options)  # type: ignore[arg-type]


def traces(figure: go.Figure, name: str) -> list[go.Scatter]:
    return [trace for trace in figure.data if trace.name == name]


def points(figure: go.Figure) -> dict[str, tuple[go.Scatter, int]]:
    """Trace and place of every point, by signature."""
    found = {}
    for trace in figure.data:
        for place, signature in enumerate(trace.customdata if trace.customdata is not None else []):
            found[str(signature)] = (trace, place)
    return found


def test_every_point_carries_its_signature() -> None:
    found = points(chart())
    assert set(found) == {row[0] for row in ROWS}
    for signature, title, name, x, y in ROWS:
        trace, place = found[signature]
        assert (trace.x[place], trace.y[place], trace.text[place], trace.name) == (x, y, title, name)


def test_dense_is_a_large_star() -> None:
    trace, _ = points(chart())["d" * 16]
    assert trace.marker.symbol == "star"
    assert trace.marker.size > max(points(chart())[row[0]][0].marker.size for row in ROWS[1:])


def test_dominated_points_are_faint_and_still_there() -> None:
    found = points(chart())
    assert found["c" * 16][0].marker.opacity < 0.5
    assert all(found[row[0]][0].marker.opacity == 1 for row in ROWS if row[0] != "c" * 16)


def test_the_line_joins_the_frontier_in_the_order_of_cost() -> None:
    (line,) = traces(chart(), "frontier")
    assert list(line.x) == [90, 150, 1000]
    assert list(line.y) == [60, 12, 10]
    assert line.customdata is None


def test_the_knee_is_ringed() -> None:
    (ring,) = traces(chart(), "knee")
    assert (list(ring.x), list(ring.y)) == ([150], [12])
    assert ring.marker.symbol == "circle-open"


def test_the_picked_point_is_ringed_in_its_own_colour() -> None:
    assert traces(chart(), "picked") == []
    (ring,) = traces(chart(selected="c" * 16), "picked")
    assert (list(ring.x), ring.marker.color) == ([400], SELECTED_COLOUR)
    assert traces(chart(selected="0" * 16), "picked") == []


def test_error_bars_reach_to_the_ends_of_the_interval() -> None:
    trace, place = points(chart())["a" * 16]
    assert (trace.error_y.array[place], trace.error_y.arrayminus[place]) == (2, 1)


def test_a_family_is_named_once_in_the_legend() -> None:
    named = [trace.name for trace in chart().data if trace.legendgroup and trace.showlegend is not False]
    assert sorted(named) == ["dense", "pruning", "quantization"]


def test_axes_tell_unit_and_direction_with_marks_around_the_data() -> None:
    layout = chart().layout
    assert layout.xaxis.type == layout.yaxis.type == "log"
    assert layout.xaxis.title.text == "bytes (log; lower is better)"
    assert min(layout.xaxis.tickvals) <= 90
    assert max(layout.xaxis.tickvals) >= 1000
    assert len(layout.xaxis.tickvals) == len(layout.xaxis.ticktext)


@pytest.mark.parametrize("quality", [0.0, -0.2])
def test_a_quality_at_or_below_zero_does_not_break_the_axis(quality: float) -> None:
    rows = [("d" * 16, "dense", "dense", 1000.0, quality)]
    assert len(points(pareto_chart(table(rows), x="size_bytes", x_title="bytes"))) == 1


def test_an_empty_table_is_an_empty_chart() -> None:
    unplaced: list[tuple[str, str, str, float, float | None]] = [("d" * 16, "dense", "dense", 1000.0, None)]
    figure = pareto_chart(table(unplaced), x="size_bytes", x_title="bytes")
    assert points(figure) == {}


def test_a_single_point_is_charted() -> None:
    figure = pareto_chart(table(ROWS[:1]), x="size_bytes", x_title="bytes")
    assert set(points(figure)) == {"d" * 16}
    assert traces(figure, "knee") == []


def test_every_family_has_a_colour_and_a_mark_of_its_own() -> None:
    assert FAMILY_COLOURS.keys() == FAMILY_MARKS.keys()
    assert len(set(FAMILY_COLOURS.values())) == len(set(FAMILY_MARKS.values())) == len(FAMILY_MARKS)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in FAMILY_COLOURS.values())


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        ([], "dense"),
        (["magnitude-pruning"], "pruning"),
        (["weight-quantization", "weight-quantization"], "quantization"),
        (["magnitude-pruning", "weight-quantization"], "pruning + quantization"),
        (["weight-quantization", "magnitude-pruning"], "quantization + pruning"),
        (["channel-pruning", "block-removal"], "structure"),
        (["channel-pruning", "wanda-pruning", "smooth-quant"], "structure + pruning + quantization"),
        (["magnitude-pruning", "fine-tune"], "pruning"),
        (["fine-tune"], "recovery"),
    ],
)
def test_a_family_is_named_after_its_stages_in_order(kinds: list[str], name: str) -> None:
    assert family(kinds) == name
    assert name in FAMILY_COLOURS


@pytest.mark.parametrize("kind", STAGES)
def test_every_stage_belongs_to_a_family(kind: str) -> None:
    assert family([kind]) in ("pruning", "quantization", "structure", "recovery")


@pytest.mark.parametrize(
    ("n", "as_bytes", "as_count"),
    [
        (0, "0 B", "0"),
        (999, "999 B", "999"),
        (1000, "1 kB", "1 k"),
        (1_170_000, "1.17 MB", "1.17 M"),
        (2.5e9, "2.5 GB", "2.5 G"),
    ],
)
def test_large_numbers_are_told_in_three_figures(n: float, as_bytes: str, as_count: str) -> None:
    assert (bytes_text(n), count_text(n)) == (as_bytes, as_count)


def test_of_very_many_dominated_points_those_on_top_of_each_other_are_drawn_once() -> None:
    dominated = [(f"{i:016x}", f"copy {i}", "pruning", 500.0 + i / 1e6, 50.0) for i in range(1, 5000)]
    apart = [(f"{i:016x}", f"apart {i}", "pruning", 500 * 1.01 ** (i - 5000), 55.0) for i in range(5000, 5400)]
    many = table([*ROWS, *dominated, *apart])
    picked = f"{7:016x}"
    found = points(pareto_chart(many, x="size_bytes", x_title="bytes", selected=picked))
    assert {row[0] for row in ROWS[:3]} <= set(found)
    assert picked in found
    assert f"{1:016x}" in found
    assert f"{8:016x}" not in found
    assert 50 < len(found) < 500
    few = table([*ROWS, *dominated[:100]])
    assert len(points(pareto_chart(few, x="size_bytes", x_title="bytes"))) == len(few)
