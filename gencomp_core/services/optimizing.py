"""The guided workflow as one job: dense, plan, tune, measure, choose, export, verify, and a report of all of it.

Every step is kept under its signature (measurements, scans, tuned weights, the number of tuning steps), so that a
workflow that was stopped goes on where it was.
"""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gencomp_core.analysis.choosing import best_of, fastest, loss_of, shortfalls
from gencomp_core.artifact.save import check_out
from gencomp_core.errors import EvaluationError, MissingDependencyError, PlanError, RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS, Measurement, Progress, job_signature
from gencomp_core.records.plans import Budgets, Loss, Plan
from gencomp_core.runtime_env import home, machine
from gencomp_core.runtimes.registry import SHIPPED, SIMULATING, check_runtime
from gencomp_core.services import library
from gencomp_core.services.exporting import export
from gencomp_core.services.measuring import measuring
from gencomp_core.services.planning import plan_steps
from gencomp_core.services.predictions import budgets_of
from gencomp_core.services.reporting import Tried, configuration_report, write_report
from gencomp_core.store import Store
from gencomp_core.variant import compression_steps
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload, makes_texts

MINUTES = 5.0
BOLDER = 3.0
"""With tuning to follow, plans may lose so many times the allowed loss before it."""
BLOCKS = (1, 2, 3)
CHANNELS = (0.2, 0.35, 0.5)
"""Removed one after the other, where time is a goal, until it is kept."""
FEW_STEPS, SOME_STEPS = 8, 24
SHARE_OF_STEPS = 0.8
"""Of the minutes, the rest being looks at held-out data."""
MOST_STEPS = 20_000
Steps = Generator[Progress, None, None]


@dataclass(eq=False)
class _Workflow:
    """A workflow under way.

    Attributes:
        tried: configurations that were measured, in order.
        notes: what could not be done, and why.
    """

    store: Store
    workload: Workload
    goal: Budgets
    parameters: Mapping[str, Any]
    tried: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)

    @property
    def seed(self) -> int:
        return int(self.parameters.get("seed") or 0)

    @property
    def here(self) -> str:
        return str(machine()["processor"])

    def n_samples(self) -> int:
        """As asked for, or as most stored measurements have."""
        n = self.parameters.get("samples")
        if n is None:
            n = library.usual_samples(library.figures(self.store, self.workload.name), self.workload.name)
            n = min(n, self.workload.n_prompts) if makes_texts(self.workload) else n
        return int(n)

    def runtimes(self) -> Iterator[str]:
        """Eager, and the runtimes that ship where they can take the workload."""
        yield SIMULATING
        for name in SHIPPED:
            try:
                check_runtime(name, self.workload)
            except (EvaluationError, MissingDependencyError) as error:
                self.notes.append(str(error))
            else:
                yield name

    def measure(self, recipe: Recipe) -> Generator[Progress, None, Measurement]:
        """Measure a configuration in every runtime that takes it."""
        names = tuple(self.runtimes())
        for wanted in (names, names[:1]):
            steps = measuring(
                self.workload, recipe, store=self.store, n_samples=self.n_samples(), seed=self.seed,
                settings=self.parameters.get("set"), runtimes=wanted, runtime_quality=False,
            )  # fmt: skip
            try:
                found: Measurement = yield from _told(steps, f"measuring {recipe.title()}")
                return found
            except (EvaluationError, MissingDependencyError) as error:
                if wanted == names[:1]:
                    raise
                self.notes.append(str(error))
        raise AssertionError("the last runtime raises")

    def attempt(self, recipe: Recipe) -> Steps:
        """Measure a configuration and remember it; what can't be made is a note."""
        try:
            found = yield from self.measure(recipe)
        except RecipeError as error:
            self.notes.append(f"{recipe.title()}: {error}")
            return
        if found.signature not in {one.signature for one in self.tried}:
            self.tried.append(found)

    def best(self) -> Measurement:
        """The best so far."""
        return best_of(self.tried, self.goal, machine=self.here)

    def missed(self, measurement: Measurement) -> list[str]:
        """Goals that a configuration misses."""
        return shortfalls(measurement, self.goal, machine=self.here)

    def missed_by_structure(self, measurement: Measurement) -> list[str]:
        """The same without the loss, which tuning can mend."""
        return shortfalls(measurement, self.goal.model_copy(update={"loss": None}), machine=self.here)


def optimize(store: Store, parameters: Mapping[str, Any]) -> Generator[Progress, None, dict[str, Any]]:
    """Find, tune, export and verify a configuration under goals.

    Args:
        parameters: `workload`, `out` (folder of the artifact); optionally `max_size`, `max_latency`, `max_macs`,
            `max_loss` (as typed; the workload's usual loss where there is none of them), `minutes` of tuning,
            `samples`, `seed`, `set`.

    Returns:
        What was chosen with its figures, what was tried, what was missed, and what `verify` found.

    Raises:
        PlanError: a goal that can't be read, or a size that no plan keeps.
        ArtifactError: `out` has content.
    """
    started = time.perf_counter()
    yield Progress("loading", 0, 1)
    name, out = parameters["workload"], Path(parameters["out"])
    check_out(out)
    goal = budgets_of(
        name, size=parameters.get("max_size"), latency=parameters.get("max_latency"),
        macs=parameters.get("max_macs"), loss=parameters.get("max_loss"),
    )  # fmt: skip
    workload = load_workload(name)
    if not goal.given and goal.loss is None:
        goal = goal.model_copy(update={"loss": Loss(value=METRICS[workload.metric].usual_loss)})
    flow = _Workflow(store, workload, goal, parameters)
    yield from flow.attempt(Recipe())
    yield from _plan(flow)
    if goal.latency_ms is not None or goal.macs is not None:
        yield from _restructure(flow)
    yield from _tune(flow)
    chosen, missed = flow.best(), flow.missed(flow.best())
    yield Progress("exporting", 0, 1)
    verified = export(name, library.recipe_of(chosen), out, seed=flow.seed, measurement=chosen)
    page = out.with_name(f"{out.name}-report.html")
    report = configuration_report(store, chosen, tried=Tried(tuple(flow.tried), tuple(missed), tuple(flow.notes)))
    write_report(report, page)
    return {
        "workload": name,
        "artifact": str(out),
        "report": str(page),
        "goal": goal.model_dump(mode="json"),
        "met": not missed,
        "missed": missed,
        "chosen": chosen.summary(),
        "tried": [_row(flow, one) for one in flow.tried],
        "plans": [own.model_dump(mode="json", exclude={"layers"}) for own in flow.plans],
        "notes": list(dict.fromkeys(flow.notes)),
        "verify": verified,
        "seconds": time.perf_counter() - started,
    }


def _plan(flow: _Workflow) -> Steps:
    """Plans under the goals that the planner knows, with float and with integer activations."""
    goal, tuned = flow.goal, bool(flow.parameters.get("minutes", MINUTES))
    wanted = [Budgets(size_bytes=goal.size_bytes)] if goal.size_bytes else []
    if goal.size_bytes is None and goal.loss is not None:
        bold = goal.loss.model_copy(update={"value": goal.loss.value * BOLDER})
        wanted = [Budgets(loss=loss) for loss in ((goal.loss, bold) if tuned else (goal.loss,))]
    recipes = []
    for budgets in wanted:
        try:
            plan = yield from _told(plan_steps(flow.store, flow.workload.name, budgets, seed=flow.seed), "planning")
        except PlanError as error:
            if budgets.size_bytes is not None:
                raise
            flow.notes.append(str(error))
            continue
        flow.plans.append(plan)
        recipes.append(Recipe.from_dict(plan.recipe))
    if not recipes:  # nothing is known of what damage means yet
        recipes = [Recipe.from_dict({"stages": [{"kind": "weight-quantization", "bits": bits}]}) for bits in (8, 6, 4)]
    for recipe in recipes:
        yield from flow.attempt(recipe)
        if not makes_texts(flow.workload) and not recipe.is_dense:
            yield from flow.attempt(_with_integers(recipe))


def _tune(flow: _Workflow) -> Steps:
    """Give configurations their quality back, as far as the minutes reach."""
    minutes = float(flow.parameters.get("minutes", MINUTES))
    chosen = _worth_tuning(flow)
    if not minutes:
        return
    for measurement in chosen:
        recipe = library.recipe_of(measurement)
        try:
            n_steps = yield from _steps_for(flow, recipe, 60 * minutes / len(chosen))
            yield from flow.attempt(_tuned(recipe, n_steps))
        except RecipeError as error:
            flow.notes.append(f"Nothing was tuned: {error}")
            return


def _worth_tuning(flow: _Workflow) -> list[Measurement]:
    """Those whose size and time are as wanted; the one that loses least where time is a goal, else the smallest."""
    compressed = [one for one in flow.tried if one.recipe["stages"]]
    timed = flow.goal.latency_ms is not None or flow.goal.macs is not None
    kept = [one for one in compressed if not flow.missed_by_structure(one)]
    if timed and kept:
        return sorted(kept, key=lambda one: (loss_of(one), one.signature))[:1]
    if not compressed:
        return []
    smallest = min(compressed, key=lambda one: (one.size_bytes, one.signature))
    return [one for one in compressed if one.size_bytes <= 1.02 * smallest.size_bytes][:2]


def _restructure(flow: _Workflow) -> Steps:
    """Remove blocks or channels until bytes and time are kept: what small integers can't do in every runtime."""
    bits = 8 if flow.goal.size_bytes is None else 4
    structures: list[dict[str, Any]] = [
        *({"kind": "block-removal", "n_blocks": n} for n in BLOCKS),
        *({"kind": "channel-pruning", "pruning_ratio": ratio, "importance": "taylor"} for ratio in CHANNELS),
    ]
    for structure in structures:
        if any(not flow.missed_by_structure(one) for one in flow.tried):
            return
        recipe = Recipe.from_dict({"stages": [structure, {"kind": "weight-quantization", "bits": bits}]})
        yield from flow.attempt(recipe if makes_texts(flow.workload) else _with_integers(recipe))


def _steps_for(flow: _Workflow, recipe: Recipe, seconds: float) -> Generator[Progress, None, int]:
    """Optimizer steps that take about so many seconds here; measured once, and kept for when the job goes on."""
    name = job_signature("tuning", {**flow.parameters, "recipe": recipe.signature, "seconds": seconds})
    path = home() / "workflows" / f"{name}.json"
    if path.exists():
        return int(json.loads(path.read_text())["steps"])
    took = []
    for n_steps in (FEW_STEPS, SOME_STEPS):
        begun = time.perf_counter()
        tuned = _tuned(recipe, n_steps, learning_rate=1e-6 * (1 + begun % 1))  # never made before, so never read back
        yield from _told(compression_steps(flow.workload, tuned, seed=flow.seed), "trying how fast it tunes")
        took.append(time.perf_counter() - begun)
    pace = max((took[1] - took[0]) / (SOME_STEPS - FEW_STEPS), 1e-3)
    steps = int(min(MOST_STEPS, max(SOME_STEPS, SHARE_OF_STEPS * seconds / pace)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"steps": steps, "seconds_a_step": pace}))
    return steps


def _tuned(recipe: Recipe, n_steps: int, **fields: Any) -> Recipe:
    """The recipe with tuning: after pruning where weights are pruned and rounded, and at the end."""
    stages = list(recipe.to_dict()["stages"])
    rounds = [i for i, stage in enumerate(stages) if stage["kind"] == "weight-quantization"]
    if not rounds:
        return Recipe.from_dict({"stages": [*stages, {"kind": "fine-tune", "steps": n_steps, **fields}]})
    before = stages[: rounds[0]]
    first = n_steps // 2 if before else 0
    middle = [{"kind": "fine-tune", "steps": first, **fields}] if first else []
    last = {"kind": "quantization-aware-training", "steps": n_steps - first, **fields}
    return Recipe.from_dict({"stages": [*before, *middle, *stages[rounds[0] :], last]})


def _with_integers(recipe: Recipe) -> Recipe:
    """The recipe with 8-bit activations, which runtimes execute as integers."""
    return Recipe.from_dict({"stages": [*recipe.to_dict()["stages"], {"kind": "activation-quantization"}]})


def _row(flow: _Workflow, measurement: Measurement) -> dict[str, Any]:
    latency = fastest(measurement, machine=flow.here)
    return {
        "title": measurement.title,
        "signature": measurement.signature,
        "size_bytes": measurement.size_bytes,
        "quality": measurement.quality.model_dump(mode="json") if measurement.quality else None,
        "quality_change": measurement.quality_change.model_dump() if measurement.quality_change else None,
        "latency_ms": latency.median_ms if latency else None,
        "runtime": latency.runtime if latency else None,
        "missed": flow.missed(measurement),
    }


def _told(steps: Generator[Progress, None, Any], what: str) -> Generator[Progress, None, Any]:
    """The same steps, each told together with what they are part of."""
    while True:
        try:
            own = next(steps)
        except StopIteration as finished:
            return finished.value
        yield Progress(f"{what}: {own.what}", own.done, own.total)
