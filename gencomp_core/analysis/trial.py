"""A short trial of one runtime, which an artifact keeps as evidence: the metric over few samples, and the latency."""

from pathlib import Path

from torch import nn

from gencomp_core.analysis.judging import judge_for
from gencomp_core.analysis.measurement import make_request, measure_latency
from gencomp_core.artifact.manifest import Evidence, SmallMetric
from gencomp_core.artifact.selftest import SEED
from gencomp_core.errors import GenCompError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS
from gencomp_core.runtime_env import threads
from gencomp_core.runtimes.subject import Subject
from gencomp_core.workloads.base import Settings, Workload

ALLOWED_SHARE, ALLOWED_POINTS = 0.05, 0.5
"""What another processor's rounding may change over so few samples: a share of the value, or points."""


def small_metric(workload: Workload, network: nn.Module, settings: Settings) -> SmallMetric:
    """The quality metric over as few samples as it can be computed from, on one thread.

    Raises:
        GenCompError: the workload's samples can't be judged.
    """
    n = METRICS[workload.metric].least
    request = make_request(workload, Recipe(), n_samples=n, seed=SEED, settings=settings)
    judge = judge_for(workload, request.extractor)
    with threads(1):
        samples = judge.observe([workload.generate(network, 0, n, seed=SEED, settings=request.settings)], 0)
        quality, _, _ = judge.quality(samples, samples, n_resamples=2)
    allowed = max(ALLOWED_POINTS, ALLOWED_SHARE * abs(quality.value))
    return SmallMetric(metric=quality.metric, n_samples=n, value=quality.value, tolerance=allowed)


def trial(
    subject: Subject,
    network: nn.Module,
    *,
    runtime: str,
    settings: Settings,
    timed: bool = True,
    stored: Path | None = None,
) -> Evidence:
    """Metric over few samples and latency of one sample in one runtime.

    Args:
        network: the subject, opened in that runtime.
        stored: folder of an artifact with the runtime's files.
    """
    metric, reason = None, None
    try:
        metric = small_metric(subject.workload, network, settings)
    except GenCompError as error:
        reason = str(error)
    latency = None
    if timed:
        with threads(1):
            latency = measure_latency(subject, runtime=runtime, batch=1, settings=settings, stored=stored)
    return Evidence(metric=metric, latency=latency, reason=reason)
