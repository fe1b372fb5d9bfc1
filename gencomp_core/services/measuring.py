"""Measure a configuration once, and keep it."""

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from gencomp_core.analysis.equivalence import measure_runtime_quality
from gencomp_core.analysis.measurement import (
    Drawn,
    Shipped,
    draw_request,
    make_request,
    measure_drawn,
    measure_latency,
)
from gencomp_core.charts.tiles import tile, to_webp
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import EvaluationRequest, Measurement, Progress
from gencomp_core.runtime_env import machine, threads
from gencomp_core.runtimes.registry import SIMULATING, check_runtime
from gencomp_core.runtimes.registry import runtimes as known_runtimes
from gencomp_core.runtimes.subject import Subject
from gencomp_core.services.library import SAMPLES
from gencomp_core.services.texts import TEXTS, SideBySide, pack_texts
from gencomp_core.store import Store
from gencomp_core.workloads.base import Settings, Workload, makes_texts

Report = Callable[[Progress], None]
Found = TypeVar("Found")
NOTHING_STORED: Mapping[str, Path] = MappingProxyType({})


def ignore(progress: Progress) -> None:
    """Report to nobody."""


def measure(
    workload: Workload,
    recipe: Recipe,
    *,
    content: bytes | None = None,
    stored: Mapping[str, Path] = NOTHING_STORED,
    store: Store | None = None,
    n_samples: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    extractor: str | None = None,
    runtimes: Sequence[str] = ("eager",),
    batches: Sequence[int] = (1,),
    runtime_quality: bool = True,
    report: Report = ignore,
) -> Measurement:
    """The measurement of a recipe: from the store where it was measured before, else made and kept.

    Args:
        report: called with the progress; all others as for `measuring`.

    Raises:
        RecipeError, EvaluationError: as for `measuring`.
    """
    steps = measuring(
        workload, recipe, content=content, stored=stored, store=store, n_samples=n_samples, seed=seed,
        settings=settings, extractor=extractor, runtimes=runtimes, batches=batches, runtime_quality=runtime_quality,
    )  # fmt: skip
    return carry_out(steps, report)


def carry_out(steps: Generator[Progress, None, Found], report: Report) -> Found:
    """Carry long work out, reporting its progress; what it gives in the end."""
    while True:
        try:
            report(next(steps))
        except StopIteration as finished:
            found: Found = finished.value
            return found


def measuring(
    workload: Workload,
    recipe: Recipe,
    *,
    content: bytes | None = None,
    stored: Mapping[str, Path] = NOTHING_STORED,
    store: Store | None = None,
    n_samples: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    extractor: str | None = None,
    runtimes: Sequence[str] = ("eager",),
    batches: Sequence[int] = (1,),
    runtime_quality: bool = True,
) -> Generator[Progress, None, Measurement]:
    """Measure a recipe unless the store has it; yields progress, returns the measurement.

    Args:
        content: weights file of an artifact to measure in place of applying the recipe; it is always
            measured anew and not kept.
        stored: folders of the artifact with files of runtimes, by runtime.
        n_samples: samples for the quality metric, as many as a published figure takes without it; compare at
            equal numbers only.
        settings: sampling settings that differ from the workload's defaults.
        runtimes, batches: latencies that must be on record for this machine.
        runtime_quality: also sample in the runtimes other than eager and compare, which takes as long as one
            measurement of quality each.

    Raises:
        RecipeError: the recipe names a layer that the workload does not have.
        EvaluationError: unknown sampling option, too few samples, or a runtime that can't take the model.
    """
    for runtime in runtimes:
        check_runtime(runtime, workload)
    request = make_request(workload, recipe, n_samples=n_samples, seed=seed, settings=settings, extractor=extractor)
    if content is not None:
        store = None
    measurement = store.measurement(request.signature) if store else None
    missing = untimed(measurement, runtimes, batches)
    strange = unjudged(measurement, runtimes) if runtime_quality else []
    if measurement and not missing and not strange:
        return measurement
    needed = list(dict.fromkeys([name for name, _ in missing] + strange))
    yield from _ask(Subject.dense(workload), needed)
    shipped = yield from Shipped.steps(workload, recipe, seed=seed, content=content)
    yield from _ask(shipped.subject, needed, stored)
    drawn: Drawn | None = None
    if measurement is None:
        drawn = yield from draw_request(shipped, request)
        measurement = measure_drawn(shipped, request, drawn)
        if store:
            store.save(measurement)
            store.save_picture(request.signature, *kept_samples(shipped, request))
    judged, timed = list(measurement.runtime_quality), list(measurement.latency)
    for name in strange:
        drawn = drawn or (yield from draw_request(shipped, request))
        quality = yield from measure_runtime_quality(shipped, request, drawn, runtime=name, stored=stored.get(name))
        judged.append(quality)
        if store:
            store.save_runtime_quality(request.signature, quality)
    for number, (runtime, batch) in enumerate(missing):
        yield Progress(f"timing {runtime}, batch {batch}", number, len(missing))
        with threads(1):
            latency = measure_latency(
                shipped.subject,
                runtime=runtime,
                batch=batch,
                settings=request.settings,
                stored=stored.get(runtime),
            )
        timed.append(latency)
        if store:
            store.save_latency(request.signature, latency)
    return measurement.model_copy(update={"latency": tuple(timed), "runtime_quality": tuple(judged)})


def _ask(
    subject: Subject, names: Sequence[str], stored: Mapping[str, Path] = NOTHING_STORED
) -> Generator[Progress, None, None]:
    """Open a model in every runtime, so that one that can't take it says so before anything is measured."""
    for number, name in enumerate(names):
        if name != SIMULATING:
            yield Progress(f"opening {subject.workload.name} in {name}", number, len(names))
        known_runtimes[name](subject, stored=stored.get(name))


def kept_samples(shipped: Shipped, request: EvaluationRequest) -> tuple[str, bytes]:
    """The first samples, as the gallery and the sliders show them: a tile of images, or texts."""
    workload = shipped.workload
    n = min(workload.preview.n_samples_full, request.n_samples)
    outputs = workload.generate(shipped.model, 0, n, seed=request.seed, settings=request.settings)
    if makes_texts(workload):
        return TEXTS, pack_texts(SideBySide(workload.prompts(0, n), workload.references(0, n), outputs))
    return SAMPLES, to_webp(tile(outputs.numpy()))


def untimed(measurement: Measurement | None, runtimes: Sequence[str], batches: Sequence[int]) -> list[tuple[str, int]]:
    """Pairs of runtime and batch that this machine has not timed a measurement with."""
    here = machine()["processor"]
    known = {(own.runtime, own.batch) for own in measurement.latency if own.machine == here} if measurement else set()
    return [pair for pair in product(runtimes, batches) if pair not in known]


def unjudged(measurement: Measurement | None, runtimes: Sequence[str]) -> list[str]:
    """Runtimes whose own samples this machine has not judged; eager's are the measurement's."""
    here = machine()["processor"]
    known = {own.runtime for own in measurement.runtime_quality if own.machine == here} if measurement else set()
    return [name for name in dict.fromkeys(runtimes) if name != SIMULATING and name not in known]
