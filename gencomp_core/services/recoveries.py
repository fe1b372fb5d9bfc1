"""Recovery studies that are on record or were made here: runs, curves, samples along the way. No torch."""

import gzip
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import pandas as pd
from pydantic import ValidationError

from gencomp_core.analysis.recovery_curves import damage_of, damaged_by, gap_of, gap_per_minute, held_out_gap
from gencomp_core.analysis.recovery_planning import RungForecast, forecast
from gencomp_core.data.assets import check_asset
from gencomp_core.errors import DataError, PlanError, UnknownNameError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Measurement
from gencomp_core.records.recovery import Damage, RecoveryRun
from gencomp_core.runtime_env import ASSETS
from gencomp_core.store import Jobs, Store

ALONG, ALONG_TEXTS = "along", "along-texts"
"""Kinds of picture in the store."""
FOLDER = ASSETS / "demo" / "recovery"
RUNS_FILE = FOLDER / "runs.jsonl.gz"
COMMAND = "python -m tools.record_recovery"
MOST_MINUTES = 10_000
WHOLE, QAT = "everything", "quantization-aware training"
COMPARISONS: dict[str, tuple[str, ...] | None] = {
    "everything there is": None,
    "one-shot or iterative": (WHOLE, "iterative pruning", "movement pruning", "regrowth", "hard concrete pruning"),
    "with or without a teacher": (WHOLE, f"{WHOLE}, no teacher", f"{WHOLE}, features matched"),
    "cheap rungs or everything": (WHOLE, "low-rank additions", "norms and biases"),
    "tuned or trained under rounding": (WHOLE, QAT),
}
"""Rungs beside each other, after the same damage."""


@cache
def recorded() -> tuple[RecoveryRun, ...]:
    """Runs that ship; none before they were recorded.

    Raises:
        DataError: the file is damaged or was made by another version.
    """
    if not RUNS_FILE.exists():
        return ()
    check_asset(RUNS_FILE)
    try:
        with gzip.open(RUNS_FILE, "rt") as lines:
            return tuple(RecoveryRun.model_validate_json(line) for line in lines)
    except (OSError, EOFError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{RUNS_FILE} can't be read ({reason}). Restore it, or run '{COMMAND}'.") from None


def made_here(store: Store) -> list[RecoveryRun]:
    """Runs of finished jobs in a store, newest first; those of another version are left out."""
    found = []
    for job in Jobs(store).all(states=["done"]):
        if job.kind == "recover" and job.result:
            try:
                found.append(RecoveryRun.model_validate(job.result))
            except ValidationError:
                continue
    return found


def runs_of(store: Store, workload: str | None = None) -> list[RecoveryRun]:
    """Runs made here and recorded ones, each once."""
    found = {run.id: run for run in (*recorded(), *made_here(store))}
    return [run for run in found.values() if workload is None or run.workload == workload]


def compared(runs: Sequence[RecoveryRun], comparison: str) -> list[RecoveryRun]:
    """Runs that a comparison is about; none where there are no two to compare.

    Raises:
        UnknownNameError: no comparison has the name.
    """
    if comparison not in COMPARISONS:
        raise UnknownNameError(f"No comparison named {comparison!r}. Available: {', '.join(COMPARISONS)}.")
    wanted = COMPARISONS[comparison]
    if wanted is None:
        return list(runs)
    groups: dict[str, list[RecoveryRun]] = {}
    for run in runs:
        if run.rung in wanted:
            groups.setdefault(run.damage_title, []).append(run)
    several = [own for own in groups.values() if len({run.rung for run in own}) > 1]
    return max(several, key=len, default=[])


def labels(runs: Sequence[RecoveryRun]) -> dict[str, str]:
    """What a run is called in pickers and legends, by id; unique."""
    return {run.id: f"{run.title} · seed {run.seed} · {run.id[:4]}" for run in runs}


def overview(runs: Sequence[RecoveryRun]) -> pd.DataFrame:
    """One row a run: what it cost and what came back, with intervals."""
    names = labels(runs)
    rows: list[dict[str, Any]] = []
    for run in runs:
        gap, pace = gap_of(run), gap_per_minute(run)
        rows.append(
            {
                "id": run.id, "run": names[run.id], "damage": run.damage_title, "rung": run.rung, "seed": run.seed,
                "cpu_minutes": run.seconds / 60, "quality": run.quality.value,
                "change": run.recovered.value, "change_low": run.recovered.low, "change_high": run.recovered.high,
                "damaged_change": run.damaged.value if run.damaged else None,
                "gap": gap.value if gap else None, "gap_low": gap.low if gap else None,
                "gap_high": gap.high if gap else None, "gap_per_minute": pace.value if pace else None,
                "pace_low": pace.low if pace else None, "pace_high": pace.high if pace else None,
                "n_samples": run.n_samples, "size_bytes": run.size_bytes, "machine": run.machine,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def curve_table(runs: Sequence[RecoveryRun]) -> pd.DataFrame:
    """One row a look: step, seconds, held-out figure, share of its damage that is gone, sparsity, bits."""
    names, rows = labels(runs), []
    for run in runs:
        gaps = dict(held_out_gap(run))
        for point in run.points:
            own = {"run": names[run.id], **point.model_dump(), "gap": gaps.get(point.seconds)}
            rows.append({**own, "dense": run.dense_held_out, "damaged": run.damaged_held_out})
    return pd.DataFrame(rows)


def picture(store: Store, run: RecoveryRun) -> bytes | None:
    """A sheet of the same samples along the way, one row a look (WEBP); None where none is kept."""
    path = FOLDER / f"{run.id}.webp"
    return path.read_bytes() if path.exists() else store.picture(run.signature, ALONG)


def texts(store: Store, run: RecoveryRun) -> dict[str, Any] | None:
    """Steps, sources, references and the texts of each look; None where none are kept.

    Raises:
        DataError: they are damaged.
    """
    path = FOLDER / f"{run.id}.json.gz"
    content = path.read_bytes() if path.exists() else store.picture(run.signature, ALONG_TEXTS)
    if content is None:
        return None
    try:
        found: dict[str, Any] = json.loads(gzip.decompress(content))
    except (OSError, EOFError, ValueError):
        raise DataError(f"The texts of {run.title} are damaged. Start the study again.") from None
    return found


def latest_of(store: Store, workload: str, recipe: dict[str, Any]) -> RecoveryRun | None:
    """The run of a recipe, the newest of this store first."""
    own = [run for run in (*made_here(store), *recorded()) if run.workload == workload and run.recipe == recipe]
    return own[0] if own else None


def measured(store: Store, run: RecoveryRun) -> Measurement | None:
    """The measurement behind a run, where this store has it."""
    return store.measurement(run.signature)


def damages_of(store: Store, workload: str) -> list[str]:
    """Kinds of damage that there are curves of, most curves first."""
    kinds: list[str] = [run.damaged_by for run in runs_of(store, workload) if run.damaged_by != "none"]
    return sorted(set(kinds), key=lambda kind: (-kinds.count(kind), kind))


def forecasts(store: Store, workload: str, minutes: float, *, damaged_by: Damage | None) -> list[dict[str, Any]]:
    """What each rung is likely to give after a kind of damage, as plain values, best first."""
    return forecast_table(forecast(runs_of(store, workload), 60 * minutes, damaged_by=damaged_by))


def plan_recovery(store: Store, workload: str, minutes: float, *, recipe: Recipe | None = None) -> list[RungForecast]:
    """What each rung of training is likely to bring back in so many minutes of processor time, best first.

    Args:
        recipe: what does the damage, whose kind decides which curves count; training in it is left out.

    Raises:
        PlanError: no time, or no curves of this workload.
    """
    if not 0 < minutes <= MOST_MINUTES:
        raise PlanError(f"minutes must be in (0, {MOST_MINUTES}], got {minutes}. Give the minutes of tuning.")
    damage = None if recipe is None else damaged_by(damage_of(recipe))
    found = forecast(runs_of(store, workload), 60 * minutes, damaged_by=None if damage == "none" else damage)
    if not found:
        raise PlanError(
            f"A recovery plan needs recorded curves, got none of {workload}. Make one: 'gencomp recover {workload} "
            "--recipe FILE' with a recipe that trains."
        )
    return found


def forecast_table(rows: Sequence[RungForecast]) -> list[dict[str, Any]]:
    """The same as plain values."""
    return [
        {
            "rung": row.rung, "gap": row.gap.value, "gap_low": row.gap.low, "gap_high": row.gap.high,
            "steps": row.steps, "n_curves": row.n_curves, "same_damage": row.same_damage, "beyond": row.beyond,
        }
        for row in rows
    ]  # fmt: skip
