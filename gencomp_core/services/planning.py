"""Plans: scan and price a workload once, then choose under budgets."""

import json
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gencomp_core.analysis.measurement import now
from gencomp_core.analysis.planning.anchors import anchors_of
from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.analysis.planning.menu import MENU
from gencomp_core.analysis.planning.planner import check_given
from gencomp_core.analysis.planning.pricing import price_list
from gencomp_core.analysis.planning.trials import speed_basis
from gencomp_core.artifact.packing import pack
from gencomp_core.errors import PlanError
from gencomp_core.evaluate.cost import count_macs
from gencomp_core.recipes.activations import ActivationQuantization
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.structure import ChannelPruning
from gencomp_core.records import LayerOption, Progress
from gencomp_core.records.plans import BASIS_VERSION, Budgets, Plan, PlanBasis
from gencomp_core.services.measuring import Report, ignore
from gencomp_core.services.predictions import budgets_of as budgets_of
from gencomp_core.services.predictions import planned
from gencomp_core.services.scanning import scan
from gencomp_core.store import Store
from gencomp_core.store.predictions import load_basis, save_basis
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload, complete_settings


def plan(
    store: Store,
    workload: str,
    budgets: Budgets,
    *,
    options: Sequence[LayerOption] = MENU,
    again: bool = False,
    seed: int = 0,
    report: Report = ignore,
) -> Plan:
    """The plan for a workload under budgets; scanned and priced first where that was not done for these weights.

    Args:
        options: of each layer, where it is scanned.
        again: scan anew.
        seed: of the scan's samples.
        report: called with the progress.

    Raises:
        PlanError: no budget, or budgets that no choice keeps.
    """
    steps = plan_steps(store, workload, budgets, options=options, again=again, seed=seed)
    while True:
        try:
            report(next(steps))
        except StopIteration as finished:
            found: Plan = finished.value
            return found


def plan_steps(
    store: Store,
    workload: str,
    budgets: Budgets,
    *,
    options: Sequence[LayerOption] = MENU,
    again: bool = False,
    seed: int = 0,
) -> Generator[Progress, None, Plan]:
    """The same as a generator: yields progress, returns the plan."""
    check_given(budgets)  # before a scan that takes long
    loaded = load_workload(workload)
    known = load_basis(store, loaded.name, loaded.weights_hash)
    if known is None or again:
        known = yield from prepare(store, loaded, options=options, seed=seed)
    if known.speed is None and (budgets.latency_ms is not None or budgets.macs is not None):
        yield from prepare_speed(store, loaded, known, seed=seed)
    yield Progress("planning", 0, 1)
    return planned(
        store, loaded.name, budgets, counted=(partial(_about, loaded, seed), partial(_counted, loaded, seed))
    )


def prepare(
    store: Store, workload: Workload, *, options: Sequence[LayerOption] = MENU, seed: int = 0
) -> Generator[Progress, None, PlanBasis]:
    """Scan options of a workload, try some to the end, price all, and keep what was found."""
    report = yield from scan(store, workload, method="fisher", options=options, seed=seed)
    scores = tuple(score for score in report.scores if score.position is None)
    anchors = yield from anchors_of(workload, Damages.of(scores), seed=seed)
    prices = yield from price_list(workload, options)
    basis = PlanBasis(prices=prices, scores=scores, anchors=anchors, made_at=now(), version=BASIS_VERSION)
    save_basis(store, basis)
    return basis


def prepare_speed(
    store: Store, workload: Workload, basis: PlanBasis, *, seed: int = 0
) -> Generator[Progress, None, PlanBasis]:
    """Try narrower layers and rounded inputs, and keep what was found with the basis."""
    speed = yield from speed_basis(workload, seed=seed)
    found = basis.model_copy(update={"speed": speed, "made_at": now()})
    save_basis(store, found)
    return found


def _about(workload: Workload, seed: int, recipe: Recipe) -> tuple[int, int]:
    """The same shapes without gradients, refits and calibration, which move bytes only where zeros are counted."""
    return _counted(workload, seed, Recipe(stages=tuple(_quick(stage) for stage in recipe.stages)))


def _quick(stage: Stage) -> Stage:
    if isinstance(stage, ChannelPruning):
        return stage.model_copy(update={"importance": "magnitude", "refit": False})
    return stage.model_copy(update={"calibration_samples": 1}) if isinstance(stage, ActivationQuantization) else stage


def _counted(workload: Workload, seed: int, recipe: Recipe) -> tuple[int, int]:
    variant = compress(workload, recipe, seed=seed)
    settings = complete_settings(workload)
    packed = pack(variant.model, variant.quantized, variant.changes)
    return packed.size_bytes, count_macs(workload, variant.model, settings)


def write_recipe(found: Plan, path: Path) -> None:
    """Write the recipe of a plan as YAML, or as JSON where the name ends so.

    Raises:
        PlanError: the file can't be written.
    """
    recipe = Recipe.from_dict(found.recipe)
    text = json.dumps(recipe.to_dict(), indent=2) if path.suffix == ".json" else recipe.to_yaml()
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PlanError(f"--out {path} can't be written ({error.strerror or error}). Choose another file.") from None


def plan_job(store: Store, parameters: Mapping[str, Any]) -> Generator[Progress, None, dict[str, Any]]:
    """A plan as a job: what the button on Explore starts.

    Args:
        parameters: `workload`, and optionally `max_size`, `max_latency`, `max_macs`, `max_loss`, `runtime`, `batch`,
            `seed`, `rescan`.
    """
    workload = parameters["workload"]
    amounts = {name: parameters.get(f"max_{name}") for name in ("size", "latency", "macs", "loss")}
    budgets = budgets_of(
        workload, **amounts, runtime=parameters.get("runtime"), batch=int(parameters.get("batch") or 1)
    )
    found = yield from plan_steps(
        store, workload, budgets, again=bool(parameters.get("rescan")),
        seed=parameters.get("seed") or 0,
    )  # fmt: skip
    return found.model_dump(mode="json")
