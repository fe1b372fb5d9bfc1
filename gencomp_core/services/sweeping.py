"""Measure every configuration of a grid that the store does not have yet."""

import logging
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from gencomp_core.analysis.configuration import Configuration
from gencomp_core.analysis.executors import workers
from gencomp_core.analysis.grid import Grid
from gencomp_core.analysis.judging import judge_for
from gencomp_core.analysis.measurement import Drawn, Shipped, draw_request, make_request, measure_drawn, now
from gencomp_core.analysis.samples import Drawer
from gencomp_core.analysis.sweep import Outcome, reason_of, spread
from gencomp_core.analysis.sweep import sweep as carry_out
from gencomp_core.records import EvaluationRequest, Failure, Measurement, Progress, Study, job_signature
from gencomp_core.runtime_env import home, threads
from gencomp_core.runtimes.registry import runtimes as known_runtimes
from gencomp_core.services.measuring import kept_samples, measuring, untimed
from gencomp_core.store import Failures, Store, Studies
from gencomp_core.workloads import load_workload

log = logging.getLogger("gencomp")
Steps = Generator[Progress, None, None]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Made:
    """What another process found, to be kept by this one.

    Attributes:
        measurement: without latencies.
        pictures: of its samples, by kind.
    """

    measurement: Measurement
    pictures: Mapping[str, bytes]


@dataclass
class _Sweep:
    """A sweep under way: what is wanted, and how many of it are there."""

    store: Store
    wanted: dict[str, Configuration]
    requests: dict[str, EvaluationRequest]
    measured: int = 0
    failed: int = 0
    stored: int = 0
    _signatures: dict[object, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._signatures = {one.identity: signature for signature, one in self.wanted.items()}

    def signature(self, configuration: Configuration) -> str:
        return self._signatures[configuration.identity]

    def progress(self, what: str, within: Progress | None = None) -> Progress:
        done = self.stored + self.measured + self.failed
        return Progress(what, done, len(self.wanted), within)

    def note(self, outcome: Outcome[Any]) -> None:
        """Keep a failure with its reason, or forget that there was one."""
        signature, failures = self.signature(outcome.configuration), Failures(self.store)
        if outcome.result is not None:
            self.measured += 1
            log.info("measured %s", outcome.configuration.title)
            return failures.forget([signature])
        self.failed += 1
        log.warning("failed: %s: %s", outcome.configuration.title, outcome.reason)
        request = self.requests[signature]
        return failures.save(
            Failure(
                signature=signature,
                workload=request.workload,
                title=outcome.configuration.recipe.title(),
                recipe=request.recipe,
                request=request,
                reason=outcome.reason,
                failed_at=now(),
            )
        )


def sweep(store: Store, parameters: Mapping[str, Any]) -> Generator[Progress, None, dict[str, Any]]:
    """Measure the configurations of a grid; what is stored, or failed before, is left alone.

    Args:
        parameters: `workload` and `grid` (plain values); optionally `samples`, `seed`, `workers`, `scheduler`.

    Raises:
        GridError, EvaluationError, UnknownNameError: the grid does not fit the workload; nothing was measured.
    """
    started = time.perf_counter()
    yield Progress("loading", 0, 1)
    grid = Grid.from_dict(parameters["grid"])
    configurations = grid.configurations(
        parameters["workload"], samples=parameters.get("samples"), seed=parameters.get("seed")
    )
    under_way = _prepared(store, configurations)
    study = Study(
        id=job_signature("sweep", parameters),
        name=f"{parameters['workload']}: {len(configurations)} configurations",
        purpose="sweep",
        workload=parameters["workload"],
        parameters=dict(parameters),
        created_at=time.time(),
        signatures=tuple(under_way.wanted),
    )
    Studies(store).save(study)
    todo = _todo(under_way)
    yield under_way.progress("starting")
    if todo:
        with workers(parameters.get("workers") or 1, parameters.get("scheduler")) as executor:
            yield from _one_by_one(under_way, todo) if executor is None else _through(under_way, todo, executor)
    return {
        "workload": parameters["workload"],
        "study": study.id,
        "n_configurations": len(configurations),
        "n_measured": under_way.measured,
        "n_stored": under_way.stored,
        "n_failed": len(Failures(store).of(under_way.wanted)),
        "seconds": round(time.perf_counter() - started, 3),
    }


def make(configuration: Configuration) -> Made:
    """Measure a configuration, without a store: what a worker process does."""
    workload = load_workload(configuration.workload)
    request = _request(configuration)
    with threads(1):
        shipped = Shipped.of(workload, configuration.recipe, seed=configuration.seed)
        measurement = measure_drawn(shipped, request, _drawn(shipped, request))
        return Made(measurement, dict([kept_samples(shipped, request)]))


def _drawn(shipped: Shipped, request: EvaluationRequest) -> Drawn:
    """Of several processes that need the same dense samples, one makes them; the others begin with their own."""
    folder = home() / "cache" / "dense"
    folder.mkdir(parents=True, exist_ok=True)
    guard = FileLock(folder / f"{request.dense().signature}.lock")
    try:
        guard.acquire(timeout=0)
    except Timeout:
        return _finished(draw_request(shipped, request, own_first=True, guard=guard))
    try:
        judge = judge_for(shipped.workload, request.extractor)
        drawer = Drawer(shipped.workload, seed=request.seed, settings=request.settings, judge=judge)
        _finished(drawer.dense(request.n_samples))
    finally:
        guard.release()
    return _finished(draw_request(shipped, request))


def _finished(steps: Generator[Progress, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            found: T = finished.value
            return found


def _request(configuration: Configuration) -> EvaluationRequest:
    return make_request(
        load_workload(configuration.workload),
        configuration.recipe,
        n_samples=configuration.n_samples,
        seed=configuration.seed,
        settings=configuration.settings,
        extractor=configuration.extractor,
    )


def _prepared(store: Store, configurations: Sequence[Configuration]) -> _Sweep:
    """Requests of all configurations: what does not fit the workload is told before anything is measured."""
    for runtime in configurations[0].runtimes:
        known_runtimes[runtime]
    requests = {request.signature: request for request in map(_request, configurations)}
    wanted = dict(zip(requests, configurations, strict=True))
    return _Sweep(store, wanted, requests)


def _todo(under_way: _Sweep) -> list[Configuration]:
    """What is neither stored with all its latencies nor failed before."""
    failed = Failures(under_way.store).of(under_way.wanted)
    todo = []
    for signature, configuration in under_way.wanted.items():
        found = under_way.store.measurement(signature)
        if found and not untimed(found, configuration.runtimes, configuration.batches):
            under_way.stored += 1
        elif signature in failed:
            under_way.failed += 1
        else:
            todo.append(configuration)
    return todo


def _one_by_one(under_way: _Sweep, todo: Sequence[Configuration]) -> Steps:
    """In this process, with the progress of each."""
    for configuration in todo:
        try:
            with closing(_measuring(under_way.store, configuration)) as steps:
                for inner in steps:
                    yield under_way.progress(configuration.title, inner)
            outcome = Outcome[object](configuration, True)
        except Exception as error:  # noqa: BLE001 (one configuration that fails is kept as failed, and the sweep goes on)
            outcome = Outcome[object](configuration, None, reason_of(error))
        under_way.note(outcome)
        yield under_way.progress(configuration.title)


def _measuring(store: Store, configuration: Configuration) -> Steps:
    yield from measuring(
        load_workload(configuration.workload),
        configuration.recipe,
        store=store,
        n_samples=configuration.n_samples,
        seed=configuration.seed,
        settings=configuration.settings,
        extractor=configuration.extractor,
        runtimes=configuration.runtimes,
        batches=configuration.batches,
        runtime_quality=False,  # a sweep times other runtimes; a chosen configuration is judged in them
    )


def _through(under_way: _Sweep, todo: Sequence[Configuration], executor: Executor) -> Steps:
    """In other processes; what is to be timed is timed here afterwards, when nothing else of the sweep runs."""
    store = under_way.store
    fresh = [one for one in todo if store.measurement(under_way.signature(one)) is None]
    to_time = {under_way.signature(one): one for one in todo if one.runtimes}
    started = time.monotonic()
    for outcome in carry_out(spread(fresh), make, executor):
        if outcome is not None:
            made, signature = outcome.result, under_way.signature(outcome.configuration)
            if made is not None:
                store.save_many([made.measurement], {signature: made.pictures}, origin="local")
            if made is None or signature not in to_time:
                to_time.pop(signature, None)
                under_way.note(outcome)
        yield under_way.progress(f"in other processes, {time.monotonic() - started:.0f} s")
    yield from _one_by_one(under_way, list(to_time.values()))
