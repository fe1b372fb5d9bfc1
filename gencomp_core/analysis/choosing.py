"""Which of several measured configurations to ship under goals: what is surely kept counts, not what is hoped for."""

from collections.abc import Sequence

from gencomp_core.records import METRICS, Latency, Measurement
from gencomp_core.records.plans import Budgets


def fastest(measurement: Measurement, *, machine: str, batch: int = 1) -> Latency | None:
    """The shortest latency that this machine measured of one batch, in whatever runtime."""
    own = [one for one in measurement.latency if one.batch == batch and one.machine == machine]
    return min(own, key=lambda one: one.median_ms, default=None)


def loss_of(measurement: Measurement) -> float:
    """How much worse the quality surely is at most: the far end of the paired interval; infinite where not measured."""
    change = measurement.quality_change
    if change is None or measurement.quality is None:
        return float("inf")
    return change.high if METRICS[measurement.quality.metric].better == "lower" else -change.low


def shortfalls(measurement: Measurement, goal: Budgets, *, machine: str) -> list[str]:
    """Goals that a measured configuration misses, one line each; empty when it keeps all."""
    found = []
    if goal.size_bytes is not None and measurement.size_bytes > goal.size_bytes:
        found.append(f"{measurement.size_bytes:,} bytes, {goal.size_bytes:,} were allowed")
    if goal.macs is not None and measurement.macs > goal.macs:
        found.append(f"{measurement.macs:,} multiply-accumulates, {goal.macs:,} were allowed")
    if goal.latency_ms is not None:
        latency = fastest(measurement, machine=machine)
        if latency is None or latency.median_ms > goal.latency_ms:
            took = "was not timed here" if latency is None else f"takes {latency.median_ms:.1f} ms in {latency.runtime}"
            found.append(f"{took}, {goal.latency_ms:g} ms were allowed")
    dense = measurement.dense_quality
    if goal.loss is not None and dense is not None:
        allowed = goal.loss.absolute(dense.value)
        if loss_of(measurement) > allowed:
            title = METRICS[dense.metric].title
            found.append(f"{title} may be {loss_of(measurement):.3g} worse than dense, {allowed:.3g} were allowed")
    return found


def best_of(found: Sequence[Measurement], goal: Budgets, *, machine: str) -> Measurement:
    """The configuration to ship: one that misses fewest goals; of those the smallest, or the best where a size was set.

    Args:
        found: at least one.
    """

    def order(measurement: Measurement) -> tuple[float, ...]:
        missed = len(shortfalls(measurement, goal, machine=machine))
        loss = loss_of(measurement)
        if missed and goal.loss is not None:
            return (missed, loss, measurement.size_bytes)
        first, second = (loss, measurement.size_bytes) if goal.size_bytes else (measurement.size_bytes, loss)
        latency = fastest(measurement, machine=machine)
        return (missed, first, second, latency.median_ms if latency else float("inf"))

    return min(found, key=order)
