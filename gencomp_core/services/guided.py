"""The way from a dense model to a shipped one: which steps were done, and which is next. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gencomp_core.analysis.recovery_curves import PRUNING, QUANTIZING, RESTRUCTURING
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.recovery import QuantizationAwareTraining, TuningStage
from gencomp_core.runtime_env import home
from gencomp_core.services import library, recoveries
from gencomp_core.services.predictions import can_predict
from gencomp_core.services.scores import scans_of
from gencomp_core.store import Jobs, Store
from gencomp_core.store.predictions import measured_recipes

State = Literal["done", "next", "open"]


@dataclass(frozen=True)
class GuidedStep:
    """One step of the way.

    Attributes:
        title, why: for people.
        state: done, the next one, or open.
        found: what is there of it.
        page: where it is done.
    """

    title: str
    why: str
    state: State
    found: str
    page: str


def guided_path(store: Store, workload: str) -> list[GuidedStep]:
    """All steps in order; the first that nothing was found of is the next one."""
    recipes = [Recipe.from_dict(own) for own in measured_recipes(store, workload).values()]
    kinds: list[set[str]] = [{stage.kind for stage in own.stages} for own in recipes]
    trained = [[stage for stage in own.stages if isinstance(stage, TuningStage)] for own in recipes]
    runs = recoveries.runs_of(store, workload)
    rounding = [
        any(isinstance(stage, QuantizationAwareTraining) for stage in own) for own in trained
    ]  # fmt: skip
    jobs = [job for job in Jobs(store).all(states=["done"]) if job.workload == workload]
    exported = sum(job.kind == "optimize" for job in jobs)
    table = library.figures(store, workload)
    best = None if table.empty else library.recommended(table, workload)
    n_qat = sum(rounding) + sum("quantization-aware" in run.rung for run in runs)
    rows: list[tuple[str, str, int | bool, str, str]] = [
        ("Dense", "the baseline of every figure", sum(own.is_dense for own in recipes), "measured", "explore"),
        ("Scan", "which layers bear what", len(scans_of(store, workload)), "scans", "sensitivity"),
        ("Plan", "what each layer gets under a budget", can_predict(store, workload), "can be made", "explore"),
        ("Prune", "zeros, channels, blocks", _n(kinds, PRUNING | RESTRUCTURING), "configurations", "explore"),
        ("Tune", "training gives quality back", sum(map(bool, trained)) + len(runs), "trainings", "recover"),
        ("Quantize", "fewer bits a weight", _n(kinds, QUANTIZING), "configurations", "explore"),
        ("QAT", "training under the rounding", n_qat, "trainings", "recover"),
        ("Evaluate", "smallest that is surely good enough", best is not None, "recommended", "pareto"),
        ("Export", "packed, self-tested, verified", exported, "by the whole workflow", "export"),
    ]
    steps: list[GuidedStep] = []
    for title, why, n, what, page in rows:
        before = any(step.state == "next" for step in steps)
        state: State = "done" if n else "open" if before else "next"
        counted = f"{int(n)} {what.removesuffix('s') if int(n) == 1 else what}"
        found = what if n is True else counted if n else "nothing so far"
        steps.append(GuidedStep(title, why, state, found, page))
    return steps


def optimize_parameters(workload: str, *, max_size: str, minutes: float) -> dict[str, Any]:
    """Of the job that goes the whole way: the same as `gencomp optimize` has, into a new folder below the home."""
    folder = home() / "artifacts"
    number = 1
    while (out := folder / f"{Path(workload).name}-{number}").exists():
        number += 1
    return {
        "workload": workload, "out": str(out), "max_size": max_size, "max_latency": None, "max_macs": None,
        "max_loss": None, "minutes": minutes, "samples": None, "set": None, "seed": 0,
    }  # fmt: skip


def _n(kinds: Iterable[set[str]], wanted: set[str]) -> int:
    return sum(bool(own & wanted) for own in kinds)
