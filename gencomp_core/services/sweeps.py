"""Sweeps before and after they run: grids, presets, what they cost, what they found. No torch."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from gencomp_core.analysis.configuration import Configuration
from gencomp_core.analysis.grid import Grid
from gencomp_core.errors import GridError
from gencomp_core.records import METRICS, Failure, Measurement
from gencomp_core.registry import suggestion
from gencomp_core.store import Failures, Store, Studies
from gencomp_core.workloads import card_of

MOST_LOOKED_AT = 8
_PRUNING = {"kind": "magnitude-pruning"}
_ROUNDING = {"kind": "weight-quantization"}


@dataclass(frozen=True)
class Preset:
    """A grid for every workload.

    Attributes:
        about: what it shows, for people.
        stages: of the grid.
        of_published: samples, as a fraction of what a published figure takes.
    """

    about: str
    stages: list[dict[str, Any]]
    of_published: float


PRESETS = {
    "quick": Preset(
        "Does pruning or rounding hurt at all? Few samples, wide intervals.",
        [{**_PRUNING, "sparsity": ["skip", 0.5]}, {**_ROUNDING, "bits": ["skip", 8, 4]}],
        0.1,
    ),
    "standard": Preset(
        "Where does each begin to hurt, and both together? The sample count of the recorded study.",
        [
            {**_PRUNING, "sparsity": ["skip", 0.3, 0.5, 0.7]},
            {**_ROUNDING, "bits": ["skip", 8, 6, 4, 3]},
        ],
        0.2,
    ),
    "thorough": Preset(
        "The whole trade-off, with scope and group size, over as many samples as a published figure takes.",
        [
            {**_PRUNING, "sparsity": ["skip", 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], "scope": ["layer", "global"]},
            {**_ROUNDING, "bits": ["skip", 8, 6, 5, 4, 3, 2], "granularity": ["channel", "group"]},
        ],
        1.0,
    ),
}


@dataclass(frozen=True)
class Cost:
    """What a grid will take.

    Attributes:
        n: different configurations.
        n_stored: that the store seems to have.
        seconds_each: of one, from stored measurements of the workload; None where there are none.
        n_timed: stored measurements that this is the median of.
        workers: processes that share the work.
    """

    n: int
    n_stored: int
    seconds_each: float | None
    n_timed: int
    workers: int = 1

    @property
    def minutes(self) -> float | None:
        """Of all that is missing, by all workers; None while nothing was timed."""
        if self.seconds_each is None:
            return None
        return (self.n - self.n_stored) * self.seconds_each / self.workers / 60

    def sentence(self) -> str:
        """For people, before the start."""
        stored = f", {self.n_stored} of them stored already" if self.n_stored else ""
        told = f"{self.n} configurations{stored}: "
        if self.minutes is None:
            return told + "the first one is timed, then the time left is known."
        by = f" by {self.workers} workers" if self.workers > 1 else ""
        return (
            f"{told}about {_duration(self.minutes)}{by} ({self.seconds_each:.1f} s each, from {self.n_timed} stored "
            "measurements)."
        )


def read_grid(name: str, workload: str) -> Grid:
    """The grid of a preset or of a file.

    Raises:
        GridError: there is neither, or the file is no grid.
    """
    if name in PRESETS:
        return preset_grid(name, workload)
    path = Path(name)
    if not path.exists():
        raise GridError(
            f"--grid must be a file or one of {', '.join(PRESETS)}, got {name!r}.{suggestion(name, list(PRESETS))} "
            "Check the path."
        )
    return Grid.from_file(path)


def preset_grid(name: str, workload: str) -> Grid:
    """The grid of a preset, with a sample count for the metric of the workload."""
    preset, facts = PRESETS[name], METRICS[card_of(workload).metric]
    samples = max(facts.least, round(facts.n_samples * preset.of_published))
    return Grid.from_dict({"stages": preset.stages, "samples": samples}, source=name)


def cost_of(
    store: Store, grid: Grid, workload: str, *, samples: int | None = None, seed: int | None = None, workers: int = 1
) -> Cost:
    """What a grid will take, by what measurements of its workloads took before."""
    configurations = grid.configurations(workload, samples=samples, seed=seed)
    rows = {name: store.rows(name) for name in {one.workload for one in configurations}}
    n_stored = sum(any(_fits(one, row) for row in rows[one.workload]) for one in configurations)
    seconds = [
        found.seconds * _count(one) / found.request.n_samples
        for name, kept in rows.items()
        for one in [next(one for one in configurations if one.workload == name)]
        for row in sorted(kept, key=lambda row: (row["origin"] != "local", abs(row["n_samples"] - _count(one))))[
            :MOST_LOOKED_AT
        ]
        if (found := store.measurement(row["signature"])) is not None and found.seconds > 0
    ]
    return Cost(len(configurations), n_stored, median(seconds) if seconds else None, len(seconds), workers)


def report(store: Store, result: dict[str, Any]) -> dict[str, Any]:
    """What a sweep found: its counts, its measurements in the order of the grid, and what failed."""
    study = Studies(store).get(result["study"])
    signatures = study.signatures if study else ()
    found = [measurement for one in signatures if (measurement := store.measurement(one)) is not None]
    failed = Failures(store).of(signatures)
    return {
        **result,
        "measurements": [Measurement.summary(one) for one in found],
        "failures": [failed[one].summary() for one in signatures if one in failed],
    }


def members(store: Store, study_id: str) -> list[dict[str, Any]]:
    """Members of a study as plain rows: measured, failed with the reason, or still missing; none for no study."""
    study = Studies(store).get(study_id)
    if study is None:
        return []
    rows = {row["signature"]: row for row in store.rows()}
    failed = Failures(store).of(study.signatures)
    return [_member(signature, rows.get(signature), failed.get(signature)) for signature in study.signatures]


def _member(signature: str, row: dict[str, Any] | None, failure: Failure | None) -> dict[str, Any]:
    about = row or (failure.model_dump() if failure else {})
    return {
        "workload": about.get("workload"),
        "title": about.get("title"),
        "status": "failed" if failure else (row["status"] if row else "missing"),
        "reason": failure.reason if failure else None,
        **{name: row[name] if row else None for name in ("size_bytes", "quality", "quality_low", "quality_high")},
        "signature": signature,
    }


def _fits(configuration: Configuration, row: dict[str, Any]) -> bool:
    """Whether a stored row seems to be this configuration's; weights and versions are not looked at."""
    return (
        row["recipe_signature"] == configuration.recipe.signature
        and row["n_samples"] == _count(configuration)
        and f", seed {configuration.seed}, " in row["conditions"]
        and all(f" {name} {value}," in row["conditions"] for name, value in configuration.settings.items())
    )


def _count(configuration: Configuration) -> int:
    return configuration.n_samples or METRICS[card_of(configuration.workload).metric].n_samples


def _duration(minutes: float) -> str:
    if minutes < 1.5:
        return f"{60 * minutes:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
