"""Equivalence: the samples of the runtime that ships, beside those of the model that was measured."""

from collections.abc import Generator
from pathlib import Path

from gencomp_core.analysis.measurement import Drawn, Shipped, now
from gencomp_core.records import METRICS, Estimate, EvaluationRequest, Progress, RuntimeQuality, RuntimeVerdict
from gencomp_core.runtime_env import machine, versions
from gencomp_core.runtimes.registry import runtimes


def measure_runtime_quality(
    shipped: Shipped, request: EvaluationRequest, drawn: Drawn, *, runtime: str, stored: Path | None = None
) -> Generator[Progress, None, RuntimeQuality]:
    """Sample in a runtime what was sampled before, and compare; yields progress.

    Args:
        drawn: samples of the model with its integers widened to floats, and of dense.
        stored: folder of an artifact with the runtime's files, which are then run as they are.

    Raises:
        EvaluationError, MissingDependencyError: the runtime can't take the model over.
    """
    opened = runtimes[runtime](shipped.subject, stored=stored)
    own = yield from drawn.drawer.draw(opened.network, request.n_samples, what=f"sampling in {runtime}")
    quality, dense, change = drawn.judge.quality(own, drawn.dense)
    _, _, to_simulated = drawn.judge.quality(own, drawn.samples)
    tolerance = METRICS[quality.metric].tolerance(dense.value)
    return RuntimeQuality(
        runtime=runtime,
        ran=opened.ran,
        quality=quality,
        change=change,
        change_to_simulated=to_simulated,
        agreement=drawn.judge.agreement(own, drawn.samples),
        tolerance=tolerance,
        verdict=verdict(to_simulated, tolerance=tolerance, better=quality.better),
        size_bytes=opened.size_bytes,
        machine=str(machine()["processor"]),
        versions=versions(),
        measured_at=now(),
    )


def verdict(change: Estimate, *, tolerance: float, better: str) -> RuntimeVerdict:
    """Whether a change means anything, and which way it goes."""
    if change.low <= 0 <= change.high or abs(change.value) <= tolerance:
        return "same"
    return "better" if (change.value < 0) == (better == "lower") else "worse"
