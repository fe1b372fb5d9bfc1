"""Search the frontier of a workload: many configurations over few samples, the promising ones measured and kept."""

import hashlib
import json
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gencomp_core.analysis.axes import AxisFacts, searched_axis
from gencomp_core.analysis.grid import Grid
from gencomp_core.analysis.measurement import make_request
from gencomp_core.analysis.pareto import hypervolume, knee, on_frontier, reference_point, strict_frontier
from gencomp_core.analysis.search.loop import SearchPlan
from gencomp_core.analysis.search.loop import search as carry_out
from gencomp_core.analysis.search.screening import Screener, as_screening
from gencomp_core.analysis.search.space import Space, default_grid
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS, EvaluationRequest, Progress, Screening, Study, Trial
from gencomp_core.services import library
from gencomp_core.services.measuring import measure
from gencomp_core.store import Screenings, Store, Studies
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload

TRIALS = 100
FEWER = 20
"""How many times fewer samples the first rung has."""


def search(store: Store, parameters: Mapping[str, Any]) -> Generator[Progress, None, dict[str, Any]]:
    """Search, keep what is measured, and report; asked again, it goes on where it was stopped.

    Args:
        parameters: `workload`, and optionally `trials`, `grid` (plain form of a grid file), `x`, `samples`,
            `minutes`, `seed`, `set`, `extractor`.

    Returns:
        The report, as `gencomp search --json` prints it.

    Raises:
        EvaluationError, RecipeError: a parameter is out of range, before anything is computed.
    """
    started = time.monotonic()
    x = searched_axis(parameters.get("x") or "size_bytes")
    space = _space(parameters.get("grid"), x)
    yield Progress("loading", 0, 1)
    workload = load_workload(parameters["workload"])
    request = _request(store, workload, parameters)
    plan = _plan(workload, request, x, parameters)
    evaluator = _Kept(store, workload, request, x)
    trials: list[Trial] = []
    for trial in carry_out(space, evaluator, plan):
        trials.append(trial)
        n = len({one.number for one in trials})
        yield Progress(f"trial {trial.number}, {trial.title}: {trial.verdict}", n, max(plan.trials, n))
    signature = _signature(space, plan, request)
    Studies(store).save(
        Study(
            id=signature,
            name=f"Search of {workload.title}",
            purpose="search",
            workload=workload.name,
            parameters={name: value for name, value in parameters.items() if value is not None},
            created_at=time.time(),
            signatures=tuple(trial.found.signature for trial in trials if trial.found and trial.verdict == "full"),
        )
    )
    return {
        "workload": workload.name,
        "signature": signature,
        "x": x.address,
        "n_samples": request.n_samples,
        "trials": _by_configuration(trials),
        **_frontier(trials, workload, x),
        "evaluations": evaluator.counts(),
        "seconds": time.monotonic() - started,
    }


@dataclass
class _Kept:
    """Screens and measures what the store does not have, and keeps it.

    Attributes:
        done: by what it was and number of samples: asked for, known before, wall seconds of the others.
    """

    store: Store
    workload: Workload
    request: EvaluationRequest
    x: AxisFacts
    done: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.screener = Screener(self.workload, self.request, self.x)
        self.screenings = Screenings(self.store)

    def screen(self, recipe: Recipe, n_samples: int) -> Screening:
        """Few samples."""
        started = time.monotonic()
        found = self.screenings.get(self.screener.signature(recipe, n_samples))
        known = found is not None
        if found is None:
            found = self.screener.screen(recipe, n_samples)
            self.screenings.save(found)
        self._count(("screening", n_samples), known, started)
        return found

    def measure(self, recipe: Recipe) -> Screening:
        """All samples."""
        started, request = time.monotonic(), self.request
        signature = request.model_copy(update={"recipe": recipe.to_dict()}).signature
        known = self.store.measurement(signature) is not None
        measurement = measure(
            self.workload,
            recipe,
            store=self.store,
            n_samples=request.n_samples,
            seed=request.seed,
            settings=request.settings,
            extractor=None if request.extractor == "sacrebleu" else request.extractor,
            runtimes=(self.x.runtime,) if self.x.timed else (),
            batches=(self.x.batch,),
        )
        self._count(("measurement", request.n_samples), known, started)
        return as_screening(measurement, self.x)

    def counts(self) -> list[dict[str, Any]]:
        """Screenings by number of samples, and measurements."""
        names = ("n_asked", "n_known", "seconds")
        ordered = sorted(self.done.items(), key=lambda item: (item[0][0] == "measurement", item[0][1]))
        return [{"kind": kind, "n_samples": n, **dict(zip(names, own, strict=True))} for (kind, n), own in ordered]

    def _count(self, what: tuple[str, int], known: bool, started: float) -> None:
        own = self.done.setdefault(what, [0, 0, 0.0])
        own[0] += 1
        own[1] += known
        own[2] += 0.0 if known else time.monotonic() - started


def _space(plain: Any, x: AxisFacts) -> Space:
    return Space.of(default_grid(x.column) if plain is None else Grid.from_dict(plain))


def _request(store: Store, workload: Workload, parameters: Mapping[str, Any]) -> EvaluationRequest:
    n_samples = parameters.get("samples")
    if n_samples is None:
        n_samples = library.usual_samples(library.figures(store, workload.name), workload.name)
    return make_request(
        workload,
        Recipe(),
        n_samples=n_samples,
        seed=parameters.get("seed") or 0,
        settings=parameters.get("set"),
        extractor=parameters.get("extractor"),
    )


def _plan(workload: Workload, request: EvaluationRequest, x: AxisFacts, parameters: Mapping[str, Any]) -> SearchPlan:
    least = METRICS[workload.metric].least
    few = min(request.n_samples, max(least, request.n_samples // FEWER))
    minutes = parameters.get("minutes")
    return SearchPlan(
        metric=workload.metric,
        x=x.address,
        rungs=(few, request.n_samples),
        trials=parameters.get("trials") or TRIALS,
        seconds=None if minutes is None else 60 * minutes,
        seed=parameters.get("seed") or 0,
    )


def _signature(space: Space, plan: SearchPlan, request: EvaluationRequest) -> str:
    """16 hex digits; equal for searches that take the same steps."""
    asked = [sorted(space.recipes), plan.x, plan.rungs, plan.trials, plan.seed, plan.tolerance, request.signature]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def _by_configuration(trials: list[Trial]) -> list[dict[str, Any]]:
    """Each configuration once, with what every rung found and what became of it."""
    rungs: dict[int, dict[int, dict[str, Any]]] = {}
    last: dict[int, Trial] = {}
    for trial in trials:
        last[trial.number] = trial
        if trial.found is not None:
            rungs.setdefault(trial.number, {})[trial.n_samples] = trial.found.model_dump(
                exclude={"workload", "title", "costs", "seconds"}
            )
    return [
        {
            **trial.model_dump(include={"number", "title", "recipe", "cost", "verdict", "reason"}),
            "rungs": list(rungs.get(number, {}).values()),
        }
        for number, trial in sorted(last.items())
    ]


def _frontier(trials: list[Trial], workload: Workload, x: AxisFacts) -> dict[str, Any]:
    """Measured configurations that no cheaper one surely beats, and the area that all of them dominate."""
    facts = METRICS[workload.metric]
    measured = {trial.number: trial for trial in trials if trial.verdict == "full"}
    if 0 not in measured:
        return {"frontier": [], "hypervolume": None}
    rows = [(trial, trial.found.quality) for trial in measured.values() if trial.found and trial.found.quality]
    cost = np.array([trial.cost for trial, _ in rows], float)
    value, low, high = (np.array([getattr(own, name) for _, own in rows]) for name in ("value", "low", "high"))
    kept = on_frontier(cost, low, high, better=facts.better)
    line = strict_frontier(cost, value, better=facts.better)
    at = knee(cost[line], value[line], better=facts.better)
    knee_row = int(np.flatnonzero(line)[at]) if at is not None else None
    frontier = [
        {
            "signature": trial.found.signature if trial.found else None,
            "number": trial.number,
            "title": trial.title,
            "recipe": trial.recipe,
            x.column: trial.cost,
            "quality": quality.model_dump(),
            "change": trial.found.change.model_dump() if trial.found and trial.found.change else None,
            "on_line": bool(line[row]),
            "is_knee": row == knee_row,
        }
        for row, (trial, quality) in enumerate(rows)
        if kept[row]
    ]
    dense = next(quality for trial, quality in rows if trial.number == 0)
    reference = reference_point(
        np.log2(cost), dense_quality=dense.value, usual_loss=facts.usual_loss, better=facts.better
    )
    area = hypervolume(np.log2(cost), value, reference=reference, better=facts.better)
    return {
        "frontier": sorted(frontier, key=lambda row: row[x.column]),
        "hypervolume": {
            "value": area,
            "reference": {x.column: 2 ** reference[0], "quality": reference[1]},
            "unit": f"halvings of {x.column} times {facts.title}",
        },
    }
