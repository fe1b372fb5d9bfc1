"""Charts of sensitivity: every cell can be clicked, nothing that is not finite is drawn as a number."""

import math

import numpy as np
import pandas as pd

from gencomp_core.charts.sensitivity import damage_heatmap, ranked_bars, weight_histogram

MATRIX = pd.DataFrame(
    [[1e-5, 1e-2], [math.inf, 0.5], [0.0, math.nan]], index=["a", "b.c", "d"], columns=["8 bits", "2 bits"]
)


def test_every_known_cell_has_a_marker_that_tells_its_layer() -> None:
    heat, markers = damage_heatmap(MATRIX, unit="nats", x_title="level").data
    assert (heat.type, markers.type) == ("heatmap", "scatter")
    assert [own[0] for own in markers.customdata] == ["a", "a", "b.c", "b.c", "d"]
    assert list(zip(markers.y, markers.x, strict=True)) == [
        ("a", "8 bits"), ("a", "2 bits"), ("b.c", "8 bits"), ("b.c", "2 bits"), ("d", "8 bits"),
    ]  # fmt: skip


def test_cells_that_are_all_alike_say_so_once() -> None:
    markers = damage_heatmap(MATRIX.iloc[:1], unit="nats", x_title="level").data[1]
    assert (markers.marker.symbol, markers.marker.opacity) == ("square", 0)


def test_what_is_not_finite_is_white_and_marked() -> None:
    heat, markers = damage_heatmap(MATRIX, unit="nats", x_title="level").data
    assert np.isnan(np.array(heat.z, float)[1, 0])
    assert list(markers.text)[2] == "not finite"
    assert list(markers.marker.opacity) == [0, 0, 1, 0, 0]


def test_levels_are_names_and_the_first_layer_is_on_top() -> None:
    figure = damage_heatmap(MATRIX, unit="nats", x_title="level", picked="b.c")
    assert figure.layout.xaxis.type == "category"
    assert figure.layout.yaxis.autorange == "reversed"
    (frame,) = figure.layout.shapes
    assert (frame.y0, frame.y1) == (0.5, 1.5)


def test_a_matrix_without_any_finite_damage_is_drawn() -> None:
    assert damage_heatmap(MATRIX * math.nan, unit="nats", x_title="level").data


def test_bars_keep_their_order_tell_their_layer_and_warn() -> None:
    table = pd.DataFrame({"layer": ["b", "a", "c"], "damage": [3.0, 1.0, math.inf], "low": [2.0, 0.5, math.inf]})
    table["high"] = table["damage"] + 1
    (bars,) = ranked_bars(table, unit="nats", allowed=2.0, picked="a").data
    assert list(bars.y) == ["b", "a"]
    assert [own[0] for own in bars.customdata] == ["b", "a"]
    assert len(set(bars.marker.color)) == 2
    assert list(bars.marker.line.width) == [0, 2.5]
    assert list(bars.error_x.arrayminus) == [1.0, 0.5]


def test_a_histogram_shows_what_would_be_zeroed() -> None:
    figure = weight_histogram(np.array([-1.0, 0.0, 1.0]), np.array([3, 5]), kept_above=0.5)
    assert list(figure.data[0].x) == [-0.5, 0.5]
    assert len(figure.layout.shapes) == 2
