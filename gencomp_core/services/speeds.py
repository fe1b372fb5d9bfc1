"""Milliseconds that a plan goes by: the latency model of this machine, or multiply-accumulates in eager. No torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gencomp_core.analysis.latency_model.model import SPREAD, GenerationCosts
from gencomp_core.analysis.latency_model.planning import option_ms
from gencomp_core.analysis.latency_model.work import LayerWork
from gencomp_core.analysis.planning.instance import LatencyModel, MsOf
from gencomp_core.errors import PlanError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records.footprints import PriceList
from gencomp_core.records.machines import MachineProfile
from gencomp_core.records.speed import LayerUse, SpeedBasis
from gencomp_core.runtime_env import machine
from gencomp_core.services.machines import recorded_profile
from gencomp_core.store import Store

FAVOURITE = "openvino"
"""The runtime that a latency budget means where none is named: the one that runs integers on a CPU."""


def latency_model(
    store: Store, prices: PriceList, speed: SpeedBasis | None, *, runtime: str | None = None, batch: int = 1
) -> LatencyModel | None:
    """What is known of milliseconds, corrected by the dense model where it was timed; None where nothing is.

    Args:
        speed: work of the layers; without it only eager and a batch of one are known, in proportion to operations.
        runtime: that is meant; None for the fastest that this machine was timed in.

    Raises:
        PlanError: a runtime that this machine was not timed in.
    """
    profile = recorded_profile() if speed else None
    if speed is not None and profile is not None:
        return _fitted(store, prices, speed, profile, runtime=_chosen(profile, runtime), batch=batch)
    if runtime not in (None, "eager") or batch != 1:
        raise PlanError(
            f"--runtime {runtime or 'eager'} with --batch {batch} needs timings of single layers on this machine. "
            "Run 'gencomp machine' once, which takes some minutes."
        )
    dense_ms = dense_latency(store, prices, runtime="eager", batch=1)
    return None if dense_ms is None else LatencyModel.by_macs(prices, dense_ms)


def _chosen(profile: MachineProfile, runtime: str | None) -> str:
    known = list(profile.call_ms)
    if runtime is None:
        return FAVOURITE if FAVOURITE in known else known[0]
    if runtime not in known:
        raise PlanError(
            f"--runtime must be one of those that single layers were timed in, {', '.join(known)}, got {runtime!r}. "
            "Choose one of them, or run 'gencomp machine --again'."
        )
    return runtime


def _fitted(
    store: Store, prices: PriceList, speed: SpeedBasis, profile: MachineProfile, *, runtime: str, batch: int
) -> LatencyModel:
    costs = GenerationCosts.of(profile)
    table = {name: _work(own, batch) for name, own in speed.uses.items()}
    dense_ms = dense_latency(store, prices, runtime=runtime, batch=batch)
    # a graph with integer inputs widens all other integer weights (decision 0017)
    alone = not speed.input_errors

    def narrowed(kept: Mapping[str, tuple[float, float]]) -> MsOf:
        return option_ms(costs, table, runtime, dense_ms=dense_ms, kept=kept, weights_alone=alone)[0]

    other = option_ms(costs, table, runtime, dense_ms=dense_ms, weights_alone=alone)[1]
    fit = costs.fits.get(runtime)
    known, unknown = (fit.anchored_spread, fit.spread) if fit else (SPREAD / 2, SPREAD)
    spread = unknown if dense_ms is None else known
    return LatencyModel(narrowed({}), other, narrowed, runtime=runtime, batch=batch, spread=spread)


def _work(own: LayerUse, batch: int) -> LayerWork:
    """The work for so many samples: what is computed and moved grows with them, what is called does not."""
    one = LayerWork(**own.model_dump())
    return replace(one, macs=batch * one.macs, n_in=batch * one.n_in, n_out=batch * one.n_out)


def dense_latency(store: Store, prices: PriceList, *, runtime: str, batch: int) -> float | None:
    """Milliseconds of the dense model on one thread, as last timed, here before elsewhere; None where it never was."""
    rows: dict[str, dict[str, Any]] = {row["signature"]: row for row in store.rows(prices.workload)}
    timed = [
        row
        for row in store.latency_rows(prices.workload)
        if (row["runtime"], row["batch"], row["threads"]) == (runtime, batch, 1)
        and rows[row["signature"]]["conditions"].endswith(prices.weights_hash[:8])
    ]
    timed = [row for row in timed if row["machine"] == machine()["processor"]] or timed
    dense = [row for row in timed if rows[row["signature"]]["recipe_signature"] == Recipe().signature]
    if dense:
        return float(dense[-1]["median_ms"])
    found = store.measurement(timed[-1]["signature"]) if timed else None
    latencies = found.latency if found else ()
    return next((own.dense_median_ms for own in latencies if (own.runtime, own.batch) == (runtime, batch)), None)
