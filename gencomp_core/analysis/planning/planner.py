"""The planner: one option per layer, least damage under budgets, or fewest bytes under an allowed loss. No torch."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping

from gencomp_core.analysis.planning import knapsack
from gencomp_core.analysis.planning.amounts import round_up
from gencomp_core.analysis.planning.instance import Chosen, Instance, Total
from gencomp_core.analysis.planning.messages import impossible
from gencomp_core.analysis.planning.places import Places, about_best_place, best_place, places_of
from gencomp_core.analysis.planning.solving import uncounted
from gencomp_core.errors import PlanError
from gencomp_core.records.plans import PLANNER_VERSION, BudgetName, Budgets, LayerChoice, Plan, ShadowPrice

STEP = 0.1
ROUGH = 1e-3
LEAST_GAIN = 2 * ROUGH


def make_plan(instance: Instance, budgets: Budgets) -> Plan:
    """The plan for a workload under budgets.

    Without an allowed loss damage is minimised, with one bytes are. The bytes of the plan are those of the file.

    Raises:
        PlanError: no budget; budgets that no choice keeps, with the nearest that can be kept; or one that nothing is
            known of.
    """
    check_given(budgets)
    started = time.perf_counter()
    minimise: Total = "damage" if budgets.loss is None else "size_bytes"
    limits = _limits(instance, budgets)
    places = places_of(instance, limits)
    found = best_place(places, minimise, limits)
    if found is None:
        dense = instance.quality.dense if instance.quality else None
        nearest = _nearest(places, limits)
        raise impossible(budgets, nearest, dense_quality=dense, narrows=instance.widths is not None)
    instance, best = found
    solve_seconds = time.perf_counter() - started
    prices = tuple(_shadow_prices(places, instance, minimise, limits, best.options, budgets))
    return Plan(
        workload=instance.prices.workload,
        weights_hash=instance.prices.weights_hash,
        budgets=budgets,
        minimised="damage" if minimise == "damage" else "size_bytes",
        recipe=instance.recipe(best.options).to_dict(),
        layers=tuple(_layers(instance, best.options)),
        removed=_removed(instance),
        predicted=instance.prediction(best.options),
        binding=tuple(own.budget for own in prices),
        shadow_prices=prices,
        mip_gap=best.gap,
        solve_seconds=solve_seconds,
        scan=instance.damages.method,
        unscored=tuple(own.layer for own in instance.prices.layers if own.layer not in instance.damages.layers),
        signature=_signature(instance, budgets),
    )


def _removed(instance: Instance) -> dict[str, float]:
    """Part of each group of channels that goes."""
    steps = {group.name: group.n_steps for group in instance.widths.groups} if instance.widths else {}
    return {name: n / steps[name] for name, n in instance.narrowing.removed.items()}


def check_given(budgets: Budgets) -> None:
    """Refuse to plan without any budget.

    Raises:
        PlanError: there is none.
    """
    if not budgets.given and budgets.loss is None:
        raise PlanError("A plan needs a budget. Give --max-size, --max-latency, --max-macs or --max-loss.")


def _limits(instance: Instance, budgets: Budgets) -> dict[Total, float]:
    """Most of each total.

    Raises:
        PlanError: milliseconds or a loss of which nothing is known.
    """
    limits: dict[Total, float] = {}
    for name, value in budgets.given.items():
        assert name != "loss"
        limits[name] = value
    if "latency_ms" in limits and instance.latency is None:
        raise PlanError(
            "--max-latency needs a latency of this workload, which was never timed here. Run 'gencomp evaluate' on "
            "it once, or leave --max-latency out."
        )
    if budgets.loss is not None:
        limits["damage"] = _damage_at(instance, budgets, 0.0)
    return limits


def _damage_at(instance: Instance, budgets: Budgets, more: float) -> float:
    """Damage that an allowed loss, and `more` in units of the metric, stands for."""
    if instance.quality is None:
        raise PlanError(
            "--max-loss needs measured configurations of this workload that say what damage means, and there are too "
            "few. Evaluate some recipes, or give --max-size in its place."
        )
    assert budgets.loss is not None
    return instance.quality.damage_at(budgets.loss.absolute(instance.quality.dense) + more)


def _nearest(places: Places, limits: Mapping[Total, float]) -> dict[BudgetName, float]:
    """The least that each budget must be while the others hold; those that alone don't help are missing."""
    nearest: dict[BudgetName, float] = {}
    for name in limits:
        found = best_place(places, name, {other: limit for other, limit in limits.items() if other != name})
        if found is None:
            continue
        instance, choice = found
        least = instance.total(name, choice.options)
        if name == "damage":
            assert instance.quality is not None
            nearest["loss"] = instance.quality.loss(least)[0]
        else:
            nearest[name] = least
    return nearest


def _shadow_prices(
    places: Places, instance: Instance, minimise: Total, limits: Mapping[Total, float], chosen: Chosen, budgets: Budgets
) -> Iterator[ShadowPrice]:
    """What a tenth more of each budget that binds buys, from solving again with it."""
    now, damage, size = (instance.total(name, chosen) for name in (minimise, "damage", "size_bytes"))
    offset = uncounted(instance, chosen)
    for name, limit in limits.items():
        if name == "damage":
            assert instance.quality is not None
            assert budgets.loss is not None
            step = round_up(STEP * budgets.loss.absolute(instance.quality.dense), digits=1)
            more = {**limits, name: _damage_at(instance, budgets, step)}
        else:
            step = round_up(STEP * limit, digits=1)
            more = {**limits, name: limit + step}
        if minimise == "size_bytes":
            more.pop("size_bytes", None)
        if not _binds(places, minimise, limits, name, now, offset):
            continue
        found = about_best_place(places, minimise, more, offset=offset, gap=ROUGH)
        if (
            found is None or found[0].total(minimise, found[1].options) >= now
        ):  # options lie further apart than the step
            found = instance, knapsack.Choice(tuple(chosen), 0.0)
        there, choice = found
        less = damage - there.total("damage", choice.options)
        better = None
        if instance.quality is not None:
            better = instance.quality.loss(damage)[0] - instance.quality.loss(damage - less)[0]
        yield ShadowPrice(
            budget="loss" if name == "damage" else name,
            step=step,
            damage=less,
            quality=better,
            saved_bytes=round(size - there.total("size_bytes", choice.options)) if minimise == "size_bytes" else None,
        )


def _binds(
    places: Places, minimise: Total, limits: Mapping[Total, float], name: Total, now: float, offset: float
) -> bool:
    """Whether the plan would be better without a budget."""
    others = {other: limit for other, limit in limits.items() if other != name and other != minimise}
    found = about_best_place(places, minimise, others, offset=offset, gap=ROUGH)
    return found is not None and now - found[0].total(minimise, found[1].options) > LEAST_GAIN * now


def _layers(instance: Instance, chosen: Chosen) -> Iterator[LayerChoice]:
    own = zip(instance.prices.layers, instance.options, instance.columns["damage"], chosen, strict=True)
    for layer, options, damages, position in own:
        yield LayerChoice(
            layer=layer.layer,
            option=options[position].option,
            damage=float(damages[position]),
            size_bytes=options[position].footprint.n_bytes,
            dense_size_bytes=options[0].footprint.n_bytes,
        )


def _signature(instance: Instance, budgets: Budgets) -> str:
    """16 hex digits; equal for equal weights, options, damages and budgets under the same planner version."""
    prices = instance.prices
    options = [[layer.layer, [own.option.model_dump() for own in layer.options]] for layer in prices.layers]
    damages = [[float(value) for value in own] for own in instance.columns["damage"]]
    text = json.dumps(
        [PLANNER_VERSION, prices.workload, prices.weights_hash, options, damages, budgets.model_dump()], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
