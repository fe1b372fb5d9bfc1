"""Sensitivity scans: carry one out and keep it; what was kept is not computed again."""

import time
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gencomp_core.analysis.measurement import now
from gencomp_core.analysis.sensitivity import tables
from gencomp_core.analysis.sensitivity.options import Levels, options_for, read_levels
from gencomp_core.analysis.sensitivity.scan import scan_request, scan_steps, unit_of
from gencomp_core.analysis.sensitivity.subjects import channel_families, scannable_layers, untouchable_parts
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import (
    METRICS,
    LayerOption,
    LayerScore,
    Measurement,
    Progress,
    Scan,
    ScanReport,
    ScanRequest,
)
from gencomp_core.runtime_env import machine
from gencomp_core.services.measuring import carry_out as finished
from gencomp_core.services.measuring import ignore, measure
from gencomp_core.services.scores import correlations_of
from gencomp_core.store import Store
from gencomp_core.store.scores import kept_scan, kept_scores, save_scan
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Settings, Workload, makes_texts

SECONDS_UNSAVED = 2.0


def scan(
    store: Store,
    workload: Workload,
    *,
    axes: Collection[str] = ("sparsity", "bits"),
    method: str = "fisher",
    direction: str = "only-this",
    n_samples: int | None = None,
    seed: int = 0,
    levels: Levels | None = None,
    group_sizes: Sequence[int | None] = (None,),
    sampling: Settings | None = None,
    options: Sequence[LayerOption] | None = None,
) -> Generator[Progress, None, ScanReport]:
    """Scan a workload, as far as its scores are not kept yet; yields progress, returns the report.

    Scores are saved as they come, so that a scan that was stopped goes on where it was. Measurements of `metric` go
    through `measure` and are kept as measurements too.

    Args:
        axes: `sparsity`, `bits`, `pruning_ratio`, `joint`.
        method: `fisher`, `proxy` or `metric`.
        direction: `only-this` or `all-but-this`.
        n_samples: calibration samples; for `metric`, samples of the quality metric.
        levels: in place of the usual ones, by axis.
        group_sizes: weights that share a scale, for every width; None is one scale a channel.
        sampling: settings of `metric` that differ from the workload's defaults.
        options: in place of those of the axes.

    Raises:
        EvaluationError: a value that is out of range, or outputs that the method can't use.
        StoreError: what is kept of the scan can't be read.
    """
    request = scan_request(
        workload, method=method, direction=direction, n_samples=n_samples, seed=seed, sampling=sampling
    )
    options = options or options_for(axes, levels=levels, group_sizes=group_sizes)
    kept = kept_scores(store, request.signature)
    known = {(score.layer, score.option) for score in kept}
    started = time.perf_counter()

    def measured(recipe: Recipe) -> Measurement:
        return measure(
            workload,
            recipe,
            store=store,
            n_samples=request.n_samples,
            seed=request.seed,
            settings=request.settings,
            runtimes=(),
        )

    found = kept_scan(store, request.signature) or _begun(workload, request, measured)
    if any(option.pruning_ratio for option in options) and not found.fixed_channels:
        found = found.model_copy(update={"fixed_channels": channel_families(workload, seed=seed)[1]})
    keeper = _Keeper(store, found, started)
    try:
        for step in scan_steps(workload, request, options, known=known, measure=measured):
            if isinstance(step, LayerScore):
                keeper.take(step)
            else:
                keeper.save_now_and_then()
                yield step
    finally:
        keeper.save()
    return _report(store, keeper, options)


def scan_job(store: Store, parameters: Mapping[str, Any]) -> Generator[Progress, None, dict[str, Any]]:
    """A scan as a job; returns its signature.

    Args:
        parameters: `workload`, and optionally `axis` (a list), `method`, `direction`, `samples`, `seed`, `set`,
            `levels` (a list of AXIS=LEVEL,...), `group_size` (a list, 0 for a channel).
    """
    yield Progress("loading", 0, 1)
    report = yield from _asked(store, parameters)
    return {
        "signature": report.scan.signature,
        "n_new": report.n_new,
        "n_scores": len(report.scores),
        "seconds": report.seconds,
    }


def report_of(store: Store, parameters: Mapping[str, Any], result: Mapping[str, Any]) -> ScanReport:
    """The report of a scan that a job carried out, from what is kept."""
    found = finished(_asked(store, parameters), ignore)
    own = {name: result[name] for name in ("n_new", "seconds") if name in result}
    return found.model_copy(update=own)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse what no scan could be carried out with.

    Raises:
        GenCompError: a workload that does not exist, or a value that is out of range.
    """
    workload = load_workload(parameters["workload"])
    options_for(**_levels_of(parameters))
    scan_request(workload, **_request_of(parameters))


def _asked(store: Store, parameters: Mapping[str, Any]) -> Generator[Progress, None, ScanReport]:
    return scan(store, load_workload(parameters["workload"]), **_levels_of(parameters), **_request_of(parameters))


def _levels_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "axes": tuple(parameters.get("axis") or ("sparsity", "bits")),
        "levels": read_levels(parameters.get("levels") or ()),
        "group_sizes": [size or None for size in parameters.get("group_size") or (0,)],
    }


def _request_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": parameters.get("method") or "fisher",
        "direction": parameters.get("direction") or "only-this",
        "n_samples": parameters.get("samples"),
        "seed": parameters.get("seed") or 0,
        "sampling": parameters.get("set"),
    }


def _begun(workload: Workload, request: ScanRequest, measured: "object") -> Scan:
    """A scan without scores."""
    facts, dense_quality = METRICS[workload.metric], float("nan")
    if request.method == "metric":
        assert callable(measured)
        quality = measured(Recipe()).quality
        dense_quality = quality.value if quality else dense_quality
    return Scan(
        request=request,
        signature=request.signature,
        unit=unit_of(workload, request.method),
        allowance=tables.allowance(request.method, facts, are_texts=makes_texts(workload), dense_quality=dense_quality),
        layers=tuple(scannable_layers(workload.model)),
        untouchable=untouchable_parts(workload),
        machine=machine(),
        measured_at=now(),
    )


@dataclass
class _Keeper:
    """Saves scores as they come, several together."""

    store: Store
    scan: Scan
    started: float
    unsaved: list[LayerScore] = field(default_factory=list)
    n_new: int = 0
    saved_at: float = 0.0

    def take(self, score: LayerScore) -> None:
        self.unsaved.append(score)
        self.n_new += 1

    def save_now_and_then(self) -> None:
        if self.unsaved and time.perf_counter() - self.saved_at > SECONDS_UNSAVED:
            self.save()

    def save(self) -> None:
        if self.unsaved:
            now_spent = self.scan.seconds + self.seconds
            save_scan(self.store, self.scan.model_copy(update={"seconds": now_spent}), self.unsaved)
            self.unsaved = []
        self.saved_at = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started


def _report(store: Store, keeper: _Keeper, options: Sequence[LayerOption]) -> ScanReport:
    scan, wanted = keeper.scan, {option: number for number, option in enumerate(options)}
    order: Mapping[str, int] = {name: number for number, name in enumerate(scan.layers)}
    scores = [s for s in kept_scores(store, scan.signature, positions=True) if s.option in wanted]
    scores.sort(key=lambda s: (order.get(s.layer, len(order)), s.layer, wanted[s.option]))
    correlations = correlations_of(store, scan, scores)
    return ScanReport(
        scan=kept_scan(store, scan.signature) or scan,
        scores=tuple(scores),
        n_new=keeper.n_new,
        seconds=keeper.seconds,
        unsafe=tables.unsafe_layers(scores, allowed=scan.allowance),
        rank_correlations=tuple(correlations),
        warnings=tuple(tables.warnings_for(correlations)),
    )
