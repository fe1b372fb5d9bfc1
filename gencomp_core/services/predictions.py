"""Predictions, goal-seeking and the ledger from what is kept, without torch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pandas as pd

from gencomp_core.analysis.planning.amounts import read_budgets, shadow_lines
from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.analysis.planning.instance import Instance
from gencomp_core.analysis.planning.ledger import account, ledger_table
from gencomp_core.analysis.planning.narrowing import Widths
from gencomp_core.analysis.planning.planner import make_plan
from gencomp_core.analysis.planning.predicting import Measured, fit_quality, predict
from gencomp_core.errors import PlanError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records.plans import Budgets, KeptPrediction, Plan, PlanBasis, Prediction
from gencomp_core.services import library
from gencomp_core.services.speeds import latency_model
from gencomp_core.store import Store
from gencomp_core.store.predictions import (
    basis_key,
    kept_predictions,
    load_basis,
    measured_recipes,
    save_prediction,
)
from gencomp_core.workloads import card_of

__all__ = [
    "basis_of", "budgets_of", "can_predict", "instance_of", "ledger", "ledger_account", "planned",
    "predicted", "shadow_lines",
]  # fmt: skip


CORRECTIONS = 6
SLACK = 0.999
Counted = Callable[[Recipe], tuple[int, int]]
"""Bytes of the weights file and multiply-accumulates that a recipe leaves."""


def can_predict(store: Store, workload: str) -> bool:
    """Whether a scan with prices of the workload is kept."""
    return basis_key(store, workload) is not None


def instance_of(store: Store, workload: str, *, runtime: str | None = None, batch: int = 1) -> Instance:
    """What plans and predictions of a workload rest on, with all measurements so far.

    Args:
        runtime: whose milliseconds are meant; None for the fastest that is known.
        batch: samples together.

    Raises:
        PlanError: the workload was never scanned for it, or nothing is known of the runtime.
    """
    basis = basis_of(store, workload)
    return _instance(store, workload, basis.prices.weights_hash, basis.made_at, store.count(), runtime, batch)


def basis_of(store: Store, workload: str) -> PlanBasis:
    """The scores, anchors and prices that plans of a workload rest on.

    Raises:
        PlanError: the workload was never scanned for it.
    """
    key = basis_key(store, workload)
    basis = None if key is None else _basis(store, workload, *key)
    if basis is None:
        raise PlanError(
            f"{workload} has no scan to predict from. Run 'gencomp plan {workload} --max-size 1MB' once, which scans."
        )
    return basis


def predicted(store: Store, workload: str, recipe: Recipe) -> Prediction | str:
    """What a recipe is expected to cost and to give, or why that can't be told; kept for the ledger.

    Raises:
        PlanError: the workload was never scanned for it.
    """
    instance = instance_of(store, workload)
    found = predict(instance, recipe)
    if isinstance(found, Prediction):
        _keep(store, instance, recipe, found, source="slider")
    return found


def planned(store: Store, workload: str, budgets: Budgets, *, counted: Sequence[Counted] = ()) -> Plan:
    """The plan under budgets; its prediction is kept for the ledger.

    Args:
        counted: ways to count what a recipe leaves that removes channels or rounds inputs, whose bytes are else known
            to a few parts in a thousand; quick ones first, the last one is exact. A budget that is broken is
            tightened, and the plan made again.

    Raises:
        PlanError: no scan, or budgets that no choice keeps.
    """
    instance = instance_of(store, workload, runtime=budgets.runtime, batch=budgets.batch)
    plan = _checked(instance, budgets, counted) if counted else make_plan(instance, budgets)
    _keep(store, instance, Recipe.from_dict(plan.recipe), plan.predicted, source="plan")
    return plan


def _checked(instance: Instance, budgets: Budgets, counted: Sequence[Counted]) -> Plan:
    """A plan that keeps its budgets as they are counted, by one way after the other."""
    asked, plan = budgets, make_plan(instance, budgets)
    for count in counted:
        for _ in range(CORRECTIONS):
            if plan.predicted.size_is_exact:
                return plan
            size, macs = count(Recipe.from_dict(plan.recipe))
            tighter = _tightened(asked, budgets, size, macs)
            if tighter is None:
                break
            asked, plan = tighter, make_plan(instance, tighter)
        else:
            raise PlanError(
                f"No plan was found that keeps the budgets as counted: the last one had {size:,} bytes and {macs:,} "
                "multiply-accumulates. Allow a little more."
            )
    told = plan.predicted.model_copy(update={"size_bytes": size, "macs": macs, "size_is_exact": True})
    return plan.model_copy(update={"predicted": told, "budgets": budgets})


def _tightened(asked: Budgets, budgets: Budgets, size: int, macs: int) -> Budgets | None:
    """What to ask for in place of budgets that a plan breaks as counted; None where it keeps them."""
    over = {
        name: int(SLACK * limit / value * getattr(asked, name))
        for name, value, limit in (("size_bytes", size, budgets.size_bytes), ("macs", macs, budgets.macs))
        if limit is not None and value > limit
    }
    return asked.model_copy(update=over) if over else None


def budgets_of(
    workload: str,
    *,
    size: str | None = None,
    latency: str | None = None,
    macs: str | None = None,
    loss: str | None = None,
    runtime: str | None = None,
    batch: int = 1,
) -> Budgets:
    """Budgets from what a user typed, such as `500kB`, `20ms`, `50M`, `10%` or `1.5FID`.

    Raises:
        PlanError: one line with what can't be read.
        UnknownNameError: no such workload.
    """
    if batch < 1:
        raise PlanError(f"--batch must be at least 1, got {batch}. Write how many samples are generated together.")
    found = read_budgets(size=size, latency=latency, macs=macs, loss=loss, metric=card_of(workload).metric)
    return found.model_copy(update={"runtime": runtime, "batch": batch})


def ledger(store: Store, workload: str) -> pd.DataFrame:
    """Every prediction of a workload beside the first measurement made after it, newest first."""
    figures = _with_weights(library.figures(store, workload))
    return ledger_table(kept_predictions(store, workload), figures, store.latency_rows(workload))


def ledger_account(table: pd.DataFrame) -> dict[str, Any]:
    """The planner's own error over a ledger."""
    return account(table)


@lru_cache(maxsize=16)
def _basis(store: Store, workload: str, weights_hash: str, made_at: str) -> PlanBasis | None:
    return load_basis(store, workload, weights_hash)


@lru_cache(maxsize=16)
def _instance(
    store: Store, workload: str, weights_hash: str, made_at: str, n_measurements: int, runtime: str | None, batch: int
) -> Instance:
    """Made anew when something was measured, which refits the relation to quality."""
    basis = _basis(store, workload, weights_hash, made_at)
    assert basis is not None
    speed = basis.speed
    damages = Damages.of(basis.scores, basis.anchors)
    damages = replace(damages, inputs=speed.input_errors if speed else {})
    table = _with_weights(library.figures(store, workload))
    facts = library.metric_of(workload)
    return Instance(
        basis.prices,
        damages,
        widths=Widths(speed.groups) if speed else None,
        input_bytes=speed.input_bytes if speed else 0.0,
        latency=latency_model(store, basis.prices, speed, runtime=runtime, batch=batch),
        quality=fit_quality(
            _measured(store, workload, table, weights_hash),
            damages,
            [layer.layer for layer in basis.prices.layers],
            metric=card_of(workload).metric,
            better=facts.better,
        ),
    )


def _measured(store: Store, workload: str, table: pd.DataFrame, weights_hash: str) -> list[Measured]:
    """Compressed configurations of these weights, under the conditions that most of them share."""
    if table.empty:
        return []
    own = table[(table["weights"] == weights_hash[:8]) & ~table["is_dense"]].dropna(subset=["quality_change"])
    if own.empty:
        return []
    own = own[own["conditions"] == library.conditions(own)[0]]
    recipes = measured_recipes(store, workload)
    return [
        Measured(
            Recipe.from_dict(recipes[str(row["signature"])]),
            change=float(row["quality_change"]),
            low=float(row["change_low"]),
            high=float(row["change_high"]),
            dense=float(row["dense_quality"]),
        )
        for row in own.to_dict("records")
    ]


def _with_weights(table: pd.DataFrame) -> pd.DataFrame:
    """With the dense weights that a measurement belongs to, which stand last in its conditions."""
    return table if table.empty else table.assign(weights=table["conditions"].str.rpartition(", ")[2])


def _keep(store: Store, instance: Instance, recipe: Recipe, found: Prediction, *, source: str) -> None:
    kept = KeptPrediction(
        workload=instance.prices.workload,
        weights_hash=instance.prices.weights_hash,
        recipe=recipe.to_dict(),
        source="plan" if source == "plan" else "slider",
        prediction=found,
        predicted_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    save_prediction(store, kept)
