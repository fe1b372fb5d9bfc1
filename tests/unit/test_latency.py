from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from gencomp_core.evaluate import latency as module
from gencomp_core.evaluate.latency import SMALLEST_CLAIM, WARM_UP, Timing, interleave


@dataclass
class Clock:
    """A clock that only moves when work says so, in nanoseconds."""

    wall: int = 0
    cpu: int = 0

    def perf_counter_ns(self) -> int:
        return self.wall

    def process_time_ns(self) -> int:
        return self.cpu

    def work(self, ms: float, *, stolen: float = 1.0) -> Callable[[], None]:
        """Work that takes `ms` of CPU time and `stolen` times as much on the wall."""

        def run() -> None:
            self.cpu += round(ms * 1e6)
            self.wall += round(ms * stolen * 1e6)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_every_run_is_timed_once_a_round(clock: Clock) -> None:
    timing = interleave({"a": clock.work(10), "b": clock.work(20)}, threads=1, rounds=7)
    assert timing.wall_ms.keys() == timing.cpu_ms.keys() == {"a", "b"}
    assert all(times.shape == (7,) for times in (*timing.wall_ms.values(), *timing.cpu_ms.values()))
    assert np.allclose(timing.wall_ms["a"], 10)
    assert np.allclose(timing.cpu_ms["b"], 20)
    assert np.allclose(timing.ratio("b", "a"), [2, 2, 2])


def test_every_run_has_every_place_in_the_round_equally_often(clock: Clock) -> None:
    calls: list[str] = []
    work = clock.work(10)

    def run(name: str) -> Callable[[], None]:
        return lambda: (calls.append(name), work())[1]

    interleave({name: run(name) for name in "abc"}, threads=1, rounds=6)
    assert "".join(calls[: 3 * WARM_UP]) == "a" * WARM_UP + "b" * WARM_UP + "c" * WARM_UP
    rounds = ["".join(calls[start : start + 3]) for start in range(len(calls) - 18, len(calls), 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert all(sorted(place) == sorted("aabbcc") for place in zip(*rounds, strict=True))


def test_short_work_is_repeated_until_it_can_be_timed(clock: Clock) -> None:
    calls = 0
    run = clock.work(0.01)

    def counted() -> None:
        nonlocal calls
        calls += 1
        run()

    timing = interleave({"short": counted}, threads=1, rounds=2)
    assert calls >= 2 * 500
    assert np.allclose(timing.wall_ms["short"], 0.01)


def test_a_machine_to_ourselves_is_not_busy(clock: Clock) -> None:
    assert not interleave({"a": clock.work(10, stolen=1.1)}, threads=1).busy


def test_a_machine_that_others_use_is_busy(clock: Clock) -> None:
    assert interleave({"a": clock.work(10, stolen=1.5)}, threads=1).busy


def test_with_several_threads_nothing_is_said_of_busy(clock: Clock) -> None:
    assert not interleave({"a": clock.work(10, stolen=1.5)}, threads=2).busy


def timing(own: list[float], again: list[float]) -> Timing:
    times = {"own": np.array(own), "again": np.array(again)}
    return Timing(times, times, busy=False)


def test_the_noise_band_is_never_narrower_than_the_smallest_claim() -> None:
    low, high = timing([10.0] * 15, [10.0] * 15).noise_band("again", "own")
    assert low == 1 - SMALLEST_CLAIM <= 0.95
    assert high == 1 + SMALLEST_CLAIM >= 1.05


def test_the_noise_band_is_as_wide_as_the_noise() -> None:
    low, high = timing([10.0] * 20, [7.0] * 10 + [14.0] * 10).noise_band("again", "own")
    assert low == pytest.approx(0.7)
    assert high == pytest.approx(1.4)


def test_ratios_are_paired_round_by_round() -> None:
    slowing_down = [10.0, 20.0, 40.0]
    quartiles = timing(slowing_down, [value / 2 for value in slowing_down]).ratio("again", "own")
    assert np.allclose(quartiles, 0.5)


def test_real_work_gives_finite_positive_times() -> None:
    found = interleave({"a": lambda: sum(range(20_000)), "b": lambda: sum(range(20_000))}, threads=1, rounds=3)
    assert all((times > 0).all() for times in (*found.wall_ms.values(), *found.cpu_ms.values()))
    low, middle, high = found.ratio("a", "b")
    assert low <= middle <= high
