"""What few samples say of a recipe: exact cost, damage, and the metric where it is cheap to ask."""

import hashlib
import time
from collections.abc import Generator
from functools import cached_property
from typing import Any, TypeVar

from gencomp_core.analysis.axes import AxisFacts
from gencomp_core.analysis.judging import judge_for
from gencomp_core.analysis.measurement import Shipped, measure_latency
from gencomp_core.analysis.samples import Drawer
from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.cost import count_macs
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Estimate, EvaluationRequest, Measurement, Progress, Screening
from gencomp_core.runtime_env import threads
from gencomp_core.workloads.base import Workload, makes_texts

ROUNDS = 5
SCREENING_VERSION = "1"
"""Raise when the same screening now gives other numbers, beyond what raises `METHOD_VERSION`."""

T = TypeVar("T")


class Screener:
    """Screens recipes of one workload.

    Texts are not written for it: both models read the references, which says how far their predictions lie apart.
    Images are drawn, and give the metric as well.

    Args:
        request: full evaluation that the screening stands for: seed, settings, feature space.
        x: cost that is asked beside the bytes.
    """

    def __init__(self, workload: Workload, request: EvaluationRequest, x: AxisFacts) -> None:
        self.workload, self.request, self.x = workload, request, x
        self.judge = judge_for(workload, request.extractor)
        self.reads = makes_texts(workload)

    def signature(self, recipe: Recipe, n_samples: int) -> str:
        """16 hex digits; equal where the same is asked of the same recipe."""
        asked = [SCREENING_VERSION, self._request(recipe, n_samples).signature, self.x.address]
        return hashlib.sha256(" ".join(asked).encode()).hexdigest()[:16]

    def screen(self, recipe: Recipe, n_samples: int) -> Screening:
        """Compress, pack, unpack, and compare over the first samples.

        Raises:
            EvaluationError, RecipeError: the recipe can't be applied or judged.
        """
        started = time.process_time()
        request = self._request(recipe, n_samples)
        shipped = Shipped.of(self.workload, recipe, seed=request.seed)
        dense = self._dense.first(n_samples)
        samples, quality, change = dense, None, None
        if not self.reads:
            samples = dense if recipe.is_dense else _last(self._drawer.draw(shipped.model, n_samples, what=""))
            found, _, change = self.judge.quality(samples, dense)
            quality = Estimate(value=found.value, low=found.low, high=found.high)
        return Screening(
            signature=self.signature(recipe, n_samples),
            workload=self.workload.name,
            title=recipe.title(),
            n_samples=n_samples,
            costs={"size_bytes": shipped.packed.size_bytes, self.x.address: self._cost(shipped, request)},
            quality=quality,
            change=change,
            damage=self.judge.damage(shipped.model, samples, dense),
            seconds=time.process_time() - started,
        )

    def _request(self, recipe: Recipe, n_samples: int) -> EvaluationRequest:
        return self.request.model_copy(update={"recipe": recipe.to_dict(), "n_samples": n_samples})

    def _cost(self, shipped: Shipped, request: EvaluationRequest) -> float:
        match self.x.column:
            case "size_bytes":
                return shipped.packed.size_bytes
            case "macs":
                return count_macs(self.workload, shipped.model, request.settings)
            case "latency_ms":
                with threads(1):
                    return measure_latency(
                        shipped.subject,
                        runtime=self.x.runtime,
                        batch=self.x.batch,
                        settings=request.settings,
                        rounds=ROUNDS,
                    ).median_ms
            case _:
                raise ValueError(f"no cost of candidates: {self.x.column}")

    @cached_property
    def _drawer(self) -> Drawer[Any]:
        return Drawer(self.workload, seed=self.request.seed, settings=self.request.settings, judge=self.judge)

    @cached_property
    def _dense(self) -> Any:
        return _last(self._drawer.dense(self.request.n_samples))


def as_screening(measurement: Measurement, x: AxisFacts) -> Screening:
    """A measurement as what a search reads of it.

    Raises:
        EvaluationError: it has no quality, or not the cost that is searched.
    """
    quality = measurement.quality
    cost = cost_of(measurement, x)
    if quality is None or cost is None:
        raise EvaluationError(f"{measurement.title} has no {'quality' if quality is None else x.title}.")
    return Screening(
        signature=measurement.signature,
        workload=measurement.workload,
        title=measurement.title,
        n_samples=quality.n_samples,
        costs={"size_bytes": measurement.size_bytes, x.address: cost},
        quality=Estimate(value=quality.value, low=quality.low, high=quality.high),
        change=measurement.quality_change,
        seconds=measurement.seconds,
    )


def cost_of(measurement: Measurement, x: AxisFacts) -> float | None:
    """The cost of a measurement on an axis, or None where it was not measured."""
    if not x.timed:
        return float(getattr(measurement, x.column))
    name = {"latency_ms": "median_ms"}.get(x.column, x.column)
    for latency in measurement.latency:
        if (latency.runtime, latency.batch) == (x.runtime, x.batch):
            found = getattr(latency, name, None)
            return None if found is None else float(found)
    return None


def _last(steps: Generator[Progress, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            found: T = finished.value
            return found
