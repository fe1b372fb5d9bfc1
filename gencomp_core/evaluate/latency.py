"""Honest timing on shared machines: interleaved in every order, paired, with the noise floor beside it.

Sequential timing of one model against itself gave ratios from 0.70 to 1.07 on a shared machine;
interleaved pairs of process CPU time gave 0.995 to 1.042 (see docs/benchmarks.md).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import numpy as np

Run = Callable[[], object]

WARM_UP = 3
ROUNDS = 15
SHORTEST_MS = 5.0
BUSY_RATIO = 1.15
SMALLEST_CLAIM = 0.05


@dataclass(frozen=True)
class Timing:
    """What the rounds gave.

    Attributes:
        wall_ms: {name: (rounds,) milliseconds of one run}.
        cpu_ms: the same in process CPU time, all threads together.
        busy: wall time exceeded CPU time by more than 15 % in a typical round: something else ran.
    """

    wall_ms: dict[str, np.ndarray]
    cpu_ms: dict[str, np.ndarray]
    busy: bool

    def ratio(self, of: str, to: str) -> np.ndarray:
        """Quartiles (25, 50, 75 %) of the paired CPU-time ratio: (3,)."""
        quartiles: np.ndarray = np.percentile(self.cpu_ms[of] / self.cpu_ms[to], [25, 50, 75])
        return quartiles

    def noise_band(self, of: str, to: str) -> tuple[float, float]:
        """Ratios that mean nothing here: the 5 to 95 % range of a run against itself, at least ±5 %."""
        low, high = np.percentile(self.cpu_ms[of] / self.cpu_ms[to], [5, 95])
        return min(float(low), 1 - SMALLEST_CLAIM), max(float(high), 1 + SMALLEST_CLAIM)


def interleave(runs: dict[str, Run], *, threads: int, rounds: int = ROUNDS) -> Timing:
    """Time several ways to do the same work, each once a round, the rounds going through all orders.

    Args:
        runs: what to call, by name.
        threads: CPU threads that the work uses; the busy flag compares wall time with CPU time,
            which only says something for one thread.
        rounds: at least 15 for figures that are published.
    """
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    repeats = {name: _repeats(run) for name, run in runs.items()}
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    orders = list(permutations(runs))
    for number in range(rounds):
        for name in orders[number % len(orders)]:
            wall_ms, cpu_ms = _time(runs[name], repeats[name])
            wall[name].append(wall_ms)
            cpu[name].append(cpu_ms)
    walls = {name: np.array(values) for name, values in wall.items()}
    cpus = {name: np.array(values) for name, values in cpu.items()}
    typical = float(np.median(np.concatenate([walls[name] / cpus[name] for name in runs])))
    return Timing(walls, cpus, busy=threads == 1 and typical > BUSY_RATIO)


def _repeats(run: Run) -> int:
    """Runs per timing, so that one timing lasts at least 5 ms."""
    wall_ms, _ = _time(run, 1)
    return max(1, round(SHORTEST_MS / max(wall_ms, 1e-3)))


def _time(run: Run, repeats: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(repeats):
        run()
    return (time.perf_counter_ns() - wall) / 1e6 / repeats, (time.process_time_ns() - cpu) / 1e6 / repeats
