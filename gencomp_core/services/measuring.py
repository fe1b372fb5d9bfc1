"""Measure a configuration once, and keep it."""

from collections.abc import Callable, Sequence

from gencomp_core.analysis.measurement import Shipped, make_request, measure_latency, measure_request
from gencomp_core.charts.tiles import tile, to_webp
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import EvaluationRequest, Latency, Measurement, Progress
from gencomp_core.runtime_env import machine, threads
from gencomp_core.runtimes.registry import check_runtime
from gencomp_core.services.library import SAMPLES
from gencomp_core.services.texts import TEXTS, SideBySide, pack_texts
from gencomp_core.store import Store
from gencomp_core.workloads.base import Settings, Workload, makes_texts

Report = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Report to nobody."""


def measure(
    workload: Workload,
    recipe: Recipe,
    *,
    content: bytes | None = None,
    store: Store | None = None,
    n_samples: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    extractor: str | None = None,
    runtimes: Sequence[str] = ("eager",),
    batches: Sequence[int] = (1,),
    report: Report = ignore,
) -> Measurement:
    """The measurement of a recipe: from the store where it was measured before, else made and kept.

    Args:
        content: weights file of an artifact to measure in place of applying the recipe; it is always
            measured anew and not kept.
        n_samples: samples for the quality metric, as many as a published figure takes without it; compare at
            equal numbers only.
        settings: sampling settings that differ from the workload's defaults.
        runtimes, batches: latencies that must be on record for this machine.
        report: called with the progress.

    Raises:
        RecipeError: the recipe names a layer that the workload does not have.
        EvaluationError: unknown sampling option, too few samples, or a runtime that can't run the workload.
    """
    for runtime in runtimes:
        check_runtime(runtime, workload)
    request = make_request(workload, recipe, n_samples=n_samples, seed=seed, settings=settings, extractor=extractor)
    if content is not None:
        store = None
    measurement = store.measurement(request.signature) if store else None
    shipped: Shipped | None = None
    if measurement is None:
        shipped = Shipped.of(workload, recipe, seed=seed, content=content)
        measurement = _carry_out(shipped, request, report)
        if store:
            store.save(measurement)
            store.save_picture(request.signature, *_kept_samples(shipped, request))
    missing = [
        (runtime, batch)
        for runtime in runtimes
        for batch in batches
        if not any(_same(latency, runtime, batch) for latency in measurement.latency)
    ]
    timed = list(measurement.latency)
    for number, (runtime, batch) in enumerate(missing):
        report(Progress(f"timing {runtime}, batch {batch}", number, len(missing)))
        shipped = shipped or Shipped.of(workload, recipe, seed=seed, content=content)
        with threads(1):
            latency = measure_latency(shipped.subject, runtime=runtime, batch=batch, settings=request.settings)
        timed.append(latency)
        if store:
            store.save_latency(request.signature, latency)
    return measurement.model_copy(update={"latency": tuple(timed)})


def _carry_out(shipped: Shipped, request: EvaluationRequest, report: Report) -> Measurement:
    steps = measure_request(shipped, request)
    while True:
        try:
            report(next(steps))
        except StopIteration as finished:
            found: Measurement = finished.value
            return found


def _kept_samples(shipped: Shipped, request: EvaluationRequest) -> tuple[str, bytes]:
    """The first samples, as the gallery and the sliders show them: a tile of images, or texts."""
    workload = shipped.workload
    n = min(workload.preview.n_samples_full, request.n_samples)
    outputs = workload.generate(shipped.model, 0, n, seed=request.seed, settings=request.settings)
    if makes_texts(workload):
        return TEXTS, pack_texts(SideBySide(workload.prompts(0, n), workload.references(0, n), outputs))
    return SAMPLES, to_webp(tile(outputs.numpy()))


def _same(latency: Latency, runtime: str, batch: int) -> bool:
    here = latency.machine == machine()["processor"]
    return here and latency.runtime == runtime and latency.batch == batch
