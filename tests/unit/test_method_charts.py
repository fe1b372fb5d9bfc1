"""How the views of the Methods page draw their tables."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from gencomp_core.charts.methods import COLOURS, REFERENCE_COLOUR, VIEWS, dots, histograms, lines, ranking, weight_map
from gencomp_core.services.pictures import COLUMNS

TITLES = {"x_title": "across", "y_title": "up"}


def cells(**panels: list[list[float]]) -> pd.DataFrame:
    rows = [
        {"series": name, "row": row, "column": column, "value": value}
        for name, matrix in panels.items()
        for row, values in enumerate(matrix)
        for column, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_pictures_know_the_columns_of_every_view() -> None:
    assert COLUMNS.keys() == VIEWS.keys()


def test_an_exact_zero_is_a_hole_and_a_small_weight_is_not() -> None:
    dense, pruned = weight_map(cells(dense=[[1e-9, -2.0]], pruned=[[0.0, -2.0]]), **TITLES).data
    assert not np.isnan(dense.z).any()
    assert np.isnan(pruned.z).tolist() == [[True, False]]


def test_all_panels_of_a_map_share_one_scale_around_zero() -> None:
    first, second = weight_map(cells(dense=[[1.0, -3.0]], scaled=[[0.1, 0.2]]), **TITLES).data
    assert (first.zmin, first.zmax) == (second.zmin, second.zmax)
    assert first.zmin == -first.zmax
    assert first.zmax == pytest.approx(3, rel=0.05)


def test_the_first_row_of_a_map_is_on_top() -> None:
    assert weight_map(cells(dense=[[1.0], [2.0]]), **TITLES).layout.yaxis.autorange == "reversed"


def test_a_missing_value_leaves_a_gap_in_a_line() -> None:
    table = pd.DataFrame({"series": ["range"] * 3, "x": [0, 0, 1], "value": [1.0, None, 2.0]})
    (line,) = lines(table, **TITLES).data
    assert np.isnan(line.y).tolist() == [False, True, False]
    assert line.connectgaps is False


def test_bars_of_a_ranking_stand_where_they_rank_whatever_became_of_them() -> None:
    table = pd.DataFrame(
        {"series": ["removed"] * 3 + ["kept"] * 3, "x": [1, 2, 3] * 2, "value": [0.1, None, 0.3, None, 0.2, None]}
    )
    removed, kept = ranking(table, **TITLES).data
    assert (list(removed.x), list(removed.y)) == ([1, 3], [0.1, 0.3])
    assert (list(kept.x), list(kept.y)) == ([2], [0.2])


def test_dots_stand_in_the_order_of_the_table_from_top_to_bottom() -> None:
    table = pd.DataFrame({"series": ["dense"] * 3, "name": ["stem", "middle", "out"], "value": [1.0, 2.0, 3.0]})
    axis = dots(table, **TITLES).layout.yaxis
    assert list(axis.categoryarray) == ["out", "middle", "stem"]  # Plotly counts from the bottom


def test_every_series_of_histograms_has_a_panel_on_the_same_axis() -> None:
    table = pd.DataFrame({"series": ["dense", "4 bits"], "x": [0.1, 0.2], "width": [0.01, 0.01], "value": [1.0, 1.0]})
    figure = histograms(table, **TITLES)
    assert [label.text for label in figure.layout.annotations] == ["dense", "4 bits"]
    assert figure.layout.xaxis.matches == "x2"


def drawn(view: str, names: list[str]) -> go.Figure:
    columns: dict[str, list[object]] = {
        "series": [*names],
        "name": ["layer"] * len(names),
        **{column: [float(place) + 1 for place in range(len(names))] for column in ("row", "column", "x", "value")},
        "width": [0.1] * len(names),
    }
    return VIEWS[view](pd.DataFrame({name: columns[name] for name in COLUMNS[view]}), **TITLES)


@pytest.mark.parametrize("view", ["histograms", "ranking", "lines", "points", "dots"])
def test_the_reference_is_grey_and_every_other_series_has_a_colour_of_its_own(view: str) -> None:
    names = ["dense", "a", "b", "c"]
    traces = {trace.name: trace for trace in drawn(view, names).data}
    colours = [(traces[name].line if view == "lines" else traces[name].marker).color for name in names]
    assert colours == [REFERENCE_COLOUR, *COLOURS[:3]]


@pytest.mark.parametrize(("view", "part", "look"), [("dots", "marker", "symbol"), ("points", "marker", "symbol")])
def test_series_differ_by_their_mark_as_well(view: str, part: str, look: str) -> None:
    names = ["dense", "a", "b", "c"]
    marks = [trace[part][look] for trace in drawn(view, names).data if trace.name in names]
    assert len(set(marks)) == len(names)
