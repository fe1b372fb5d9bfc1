import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.analysis.pareto import (
    frontier_table,
    hypervolume,
    knee,
    on_frontier,
    recommended,
    reference_point,
    strict_frontier,
)

POINTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=12)


def frontier(points: list[tuple[float, float, float]], better: str = "lower") -> list[bool]:
    cost, low, high = (np.array(column, float) for column in zip(*points, strict=True))
    return list(on_frontier(cost, low, high, better=better))  # type: ignore[arg-type]


def line(points: list[tuple[float, float]], better: str = "lower") -> list[bool]:
    cost, value = (np.array(column, float) for column in zip(*points, strict=True))
    return list(strict_frontier(cost, value, better=better))  # type: ignore[arg-type]


def test_a_dearer_point_that_is_worse_for_certain_is_dominated() -> None:
    assert frontier([(1, 5, 6), (2, 7, 8), (3, 1, 2)]) == [True, False, True]


def test_overlapping_intervals_are_a_tie_and_both_stay() -> None:
    assert frontier([(1, 5, 6), (2, 5.5, 7)]) == [True, True]
    assert frontier([(1, 5, 6), (2, 6, 7)]) == [True, True]  # they touch
    assert frontier([(1, 5, 6), (2, 6.1, 7)]) == [True, False]


def test_at_equal_cost_the_surely_worse_one_goes() -> None:
    assert frontier([(1, 5, 6), (1, 7, 8)]) == [True, False]


def test_equal_points_all_stay_on_the_frontier_and_one_makes_the_line() -> None:
    assert frontier([(1, 5, 5), (1, 5, 5)]) == [True, True]
    assert sum(line([(1, 5), (1, 5)])) == 1


def test_where_higher_is_better_the_frontier_is_mirrored() -> None:
    assert frontier([(1, 5, 6), (2, 3, 4), (3, 8, 9)], better="higher") == [True, False, True]
    assert line([(1, 5), (2, 4), (3, 8)], better="higher") == [True, False, True]


def test_the_line_goes_down_strictly() -> None:
    assert line([(1, 9), (2, 7), (3, 7), (4, 8), (5, 1)]) == [True, True, False, False, True]
    assert line([(5, 1), (1, 9), (2, 7)]) == [True, True, True]  # in any order
    assert line([(2, 7), (2, 3)]) == [False, True]  # the better one at equal cost


@given(POINTS)
def test_no_point_of_the_line_is_dominated_and_every_other_is_matched(points: list[tuple[int, int, int]]) -> None:
    pairs = [(cost, value) for cost, value, _ in points]
    kept = line(pairs)
    for (cost, value), on_line in zip(pairs, kept, strict=True):
        better = [other for other in pairs if other != (cost, value) and other[0] <= cost and other[1] <= value]
        if on_line:
            assert not better
        else:
            assert better or pairs.count((cost, value)) > 1
    assert len({pair for pair, on_line in zip(pairs, kept, strict=True) if on_line}) == sum(kept)


@given(POINTS)
def test_the_frontier_holds_exactly_what_nothing_beats_for_certain(points: list[tuple[int, int, int]]) -> None:
    intervals = [(cost, low, low + width) for cost, low, width in points]
    expected = [
        not any(other_cost <= cost and other_high < low for other_cost, _, other_high in intervals)
        for cost, low, _ in intervals
    ]
    assert frontier([(float(a), float(b), float(c)) for a, b, c in intervals]) == expected


@given(POINTS)
def test_the_line_is_part_of_the_frontier(points: list[tuple[int, int, int]]) -> None:
    on_line = line([(cost, low + width / 2) for cost, low, width in points])
    kept = frontier([(cost, low, low + width) for cost, low, width in points])
    assert all(stays for stays, is_line in zip(kept, on_line, strict=True) if is_line)


def test_the_knee_is_where_little_more_cost_bought_most() -> None:
    cost, value = np.array([1.0, 10.0, 100.0]), np.array([10.0, 2.0, 1.0])
    assert knee(cost, value) == 1
    assert knee(cost[::-1], value[::-1]) == 1
    assert knee(cost, -value, better="higher") == 1
    assert knee(cost * 1000, value / 7) == 1
    assert knee(np.array([1.0, 2.0, 50.0, 100.0]), np.array([10.0, 2.0, 1.9, 1.0])) == 1


def test_two_points_have_no_knee() -> None:
    assert knee(np.array([1.0, 2.0]), np.array([2.0, 1.0])) is None
    assert knee(np.array([]), np.array([])) is None


def test_a_flat_line_has_its_knee_at_the_cheapest_point() -> None:
    assert knee(np.array([3.0, 1.0, 2.0]), np.array([5.0, 5.0, 5.0])) == 1


def table(*rows: dict[str, object]) -> pd.DataFrame:
    defaults = {"size_bytes": 1000, "quality": 10.0, "width": 0.5, "change_low": -0.1, "change_high": 0.1}
    made = pd.DataFrame([{**defaults, "signature": str(number), **row} for number, row in enumerate(rows)])
    made["quality_low"], made["quality_high"] = made["quality"] - made["width"], made["quality"] + made["width"]
    return made.assign(dense_quality=10.0)


def test_what_can_not_be_placed_is_left_out_of_the_table() -> None:
    rows = table({}, {"quality": None}, {"size_bytes": None})
    placed = frontier_table(rows, x="size_bytes")
    assert list(placed["signature"]) == ["0"]
    assert len(rows) == 3
    assert "on_frontier" not in rows


def test_the_table_marks_frontier_line_and_knee() -> None:
    placed = frontier_table(
        table(
            {"size_bytes": 1, "quality": 30.0},
            {"size_bytes": 10, "quality": 12.0},
            {"size_bytes": 11, "quality": 12.3},
            {"size_bytes": 50, "quality": 29.0},
            {"size_bytes": 100, "quality": 10.0},
        ),
        x="size_bytes",
    )
    assert list(placed["on_frontier"]) == [True, True, True, False, True]
    assert list(placed["on_line"]) == [True, True, False, False, True]
    assert list(placed["is_knee"]) == [False, True, False, False, False]


def test_a_table_without_a_placeable_row_can_still_be_asked() -> None:
    placed = frontier_table(table({"quality": None}), x="size_bytes")
    assert len(placed[placed["on_frontier"]]) == 0
    assert list(placed[placed["on_line"]]["size_bytes"]) == []


def test_the_smallest_one_that_is_surely_good_enough_is_recommended() -> None:
    rows = table(
        {"signature": "dense", "size_bytes": 1000},
        {"signature": "surely", "size_bytes": 300, "change_high": 1.0},
        {"signature": "perhaps", "size_bytes": 200, "change_low": 0.0, "change_high": 1.01},
        {"signature": "bad", "size_bytes": 100, "change_low": 5.0, "change_high": 6.0},
    )
    assert recommended(rows) == "surely"
    assert recommended(rows, max_loss=0.6) == "bad"
    assert recommended(rows, max_loss=0.001) is None


def test_where_higher_is_better_the_low_end_of_the_change_decides() -> None:
    rows = table({"signature": "worse", "change_low": -2.0, "change_high": 0.0}, {"signature": "same"})
    assert recommended(rows, better="higher") == "same"


def test_at_equal_size_the_better_one_is_recommended() -> None:
    rows = table({"signature": "second", "quality": 10.4}, {"signature": "first", "quality": 10.2})
    assert recommended(rows) == "first"


def test_what_was_not_judged_is_never_recommended() -> None:
    rows = table({"signature": "failed", "size_bytes": 1, "quality": None, "change_low": None, "change_high": None}, {})
    assert recommended(rows) == "1"


@pytest.mark.parametrize("better", ["lower", "higher"])
@given(points=POINTS)
def test_something_is_always_on_the_frontier(points: list[tuple[int, int, int]], better: str) -> None:
    assert any(line([(cost, value) for cost, value, _ in points], better=better))
    assert any(frontier([(cost, low, low + width) for cost, low, width in points], better=better))


# Hypervolume


def area(points: list[tuple[float, float]], reference: tuple[float, float] = (10, 10), better: str = "lower") -> float:
    cost, value = (np.array(column, float) for column in zip(*points, strict=True))
    return hypervolume(cost, value, reference=reference, better=better)  # type: ignore[arg-type]


def test_a_hypervolume_is_the_area_of_the_steps_up_to_the_reference() -> None:
    assert area([(2, 3)]) == 8 * 7
    assert area([(2, 3), (5, 1)]) == 3 * 7 + 5 * 9
    assert area([(2, 3), (5, 1), (6, 4)]) == area([(2, 3), (5, 1)])  # a dominated one adds nothing
    assert area([(2, 3), (2, 3)]) == area([(2, 3)])


def test_beyond_the_reference_nothing_counts() -> None:
    assert area([(12, 1), (1, 12), (10, 1), (1, 10)]) == 0
    assert area([(12, 1), (2, 3)]) == area([(2, 3)])


def test_where_higher_is_better_the_area_is_mirrored() -> None:
    assert area([(2, 7)], reference=(10, 0), better="higher") == 8 * 7


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=15))
def test_the_hypervolume_is_optunas(points: list[tuple[float, float]]) -> None:
    from optuna._hypervolume import compute_hypervolume

    inside = [(cost, value) for cost, value in points if cost <= 10 and value <= 10]
    expected = compute_hypervolume(np.array(inside, float), np.array([10.0, 10.0])) if inside else 0.0
    assert area(points) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=15))
def test_one_more_point_never_takes_area_away(points: list[tuple[float, float]]) -> None:
    assert area([*points, (4, 4)]) >= area(points)


def test_the_reference_is_the_dearest_and_what_ten_usual_losses_leave() -> None:
    cost = np.array([1.0, 5.0, 3.0])
    assert reference_point(cost, dense_quality=2.0, usual_loss=0.1) == (5.0, 4.0)
    assert reference_point(cost, dense_quality=60.0, usual_loss=0.02, better="higher") == (5.0, pytest.approx(48.0))


def test_any_other_figure_can_take_the_place_of_the_quality() -> None:
    rows = {"macs": [1, 2, 3], "kl": [0.5, 0.1, 0.3], "kl_low": [0.4, 0.05, 0.2], "kl_high": [0.6, 0.2, 0.4]}
    placed = frontier_table(pd.DataFrame(rows), x="macs", y="kl")
    assert list(placed["on_line"]) == [True, True, False]
