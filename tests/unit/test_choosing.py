"""What is shipped keeps its goals surely, and what can't keep them all comes as near as any."""

import pytest

from gencomp_core.analysis.choosing import best_of, fastest, loss_of, shortfalls
from gencomp_core.records import Estimate, Measurement
from gencomp_core.records.plans import Budgets, Loss
from tests.made import measurement
from tests.tiny import quantization

HERE = measurement().latency[0].machine


def made(bits: int, size: int, change: float, *, half: float = 0.1, ms: float = 10.0) -> Measurement:
    found = measurement(quantization(bits), size_bytes=size)
    (latency,) = found.latency
    interval = Estimate(value=change, low=change - half, high=change + half)
    timed = latency.model_copy(update={"median_ms": ms})
    return found.model_copy(update={"quality_change": interval, "latency": (timed,)})


def test_the_loss_that_counts_is_the_far_end_of_the_interval() -> None:
    assert loss_of(made(4, 100, 0.5, half=0.2)) == pytest.approx(0.7)
    assert loss_of(measurement(quantization(4), fid=None)) == float("inf")
    better = made(4, 100, 0.5, half=0.2)
    assert better.quality is not None
    high = better.model_copy(
        update={"quality": better.quality.model_copy(update={"metric": "bleu", "better": "higher"})}
    )
    assert loss_of(high) == pytest.approx(-0.3)


def test_every_goal_that_is_missed_is_named_with_its_figures() -> None:
    found = made(4, 600, 2.0, ms=30.0)
    goal = Budgets(size_bytes=500, latency_ms=20.0, loss=Loss(value=1.0, unit="fid"))
    lines = shortfalls(found, goal, machine=HERE)
    assert len(lines) == 3
    assert "600 bytes, 500 were allowed" in lines
    assert any("30.0 ms" in line for line in lines)
    assert any("2.1" in line for line in lines)
    assert shortfalls(found, Budgets(size_bytes=600, latency_ms=30.0), machine=HERE) == []
    assert "was not timed here" in shortfalls(found, Budgets(latency_ms=30.0), machine="another")[0]


def test_of_those_that_keep_the_goals_the_smallest_ships_or_the_best_where_a_size_was_set() -> None:
    small, good = made(3, 300, 0.8), made(4, 400, 0.1)
    loss = Budgets(loss=Loss(value=1.0, unit="fid"))
    assert best_of([good, small], loss, machine=HERE) is small
    assert best_of([small, good], Budgets(size_bytes=400), machine=HERE) is good
    assert best_of([small, good], Budgets(size_bytes=300), machine=HERE) is small


def test_where_no_one_keeps_the_loss_the_nearest_ships() -> None:
    worse, bad = made(2, 200, 9.0), made(3, 300, 5.0)
    assert best_of([worse, bad], Budgets(loss=Loss(value=1.0, unit="fid")), machine=HERE) is bad


def test_the_fastest_latency_is_this_machines_at_this_batch() -> None:
    found = made(4, 400, 0.1, ms=10.0)
    (own,) = found.latency
    quick = own.model_copy(update={"runtime": "openvino", "median_ms": 2.0})
    many = own.model_copy(update={"batch": 16, "median_ms": 1.0})
    more = (own, quick, many)
    found = found.model_copy(update={"latency": more})
    best = fastest(found, machine=HERE)
    assert best is not None
    assert (best.runtime, best.median_ms) == ("openvino", 2.0)
    assert fastest(found, machine="another") is None
