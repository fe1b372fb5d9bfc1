"""Measurements in a process of their own: the same command line that a user could type."""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtime_env import command_environment, home

State = Literal["none", "running", "ended"]


@dataclass(frozen=True)
class Job:
    """One measurement under way, or that has ended.

    Attributes:
        state: `none` when it was never started.
        line: last line of its log: progress, or why it failed.
        command: command line that does the same.
    """

    state: State
    line: str
    command: str


def start_measurement(workload: str, recipe: Recipe, *, n_samples: int) -> None:
    """Start measuring a recipe, unless that is under way already (two clicks make one job)."""
    folder = _folder(workload, recipe, n_samples)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if job_state(workload, recipe, n_samples=n_samples).state == "running":
            return
        (folder / "recipe.yaml").write_text(recipe.to_yaml())
        with (folder / "log.txt").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *_arguments(workload, folder, n_samples)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env=command_environment(),
            )
        identity = {"pid": process.pid, "created": psutil.Process(process.pid).create_time()}
        (folder / "process.json").write_text(json.dumps(identity))


def job_state(workload: str, recipe: Recipe, *, n_samples: int) -> Job:
    """How the measurement of a recipe stands; a process that died counts as ended."""
    folder = _folder(workload, recipe, n_samples)
    command = shlex.join(["python", *_arguments(workload, folder, n_samples)])
    try:
        identity = json.loads((folder / "process.json").read_text())
        lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
    except (OSError, ValueError):
        return Job("none", "", command)
    return Job("running" if _alive(identity) else "ended", lines[-1] if lines else "starting", command)


def _arguments(workload: str, folder: Path, n_samples: int) -> list[str]:
    recipe = str(folder / "recipe.yaml")
    return ["-m", "gencomp_core", "evaluate", workload, "--recipe", recipe, "--samples", str(n_samples), "--json"]


def _folder(workload: str, recipe: Recipe, n_samples: int) -> Path:
    return home() / "jobs" / f"{workload.replace(':', '-')}-{recipe.signature}-{n_samples}"


def _alive(identity: dict[str, float]) -> bool:
    """Whether the very process runs: a pid that was given to another one has another creation time."""
    try:
        process = psutil.Process(int(identity["pid"]))
        same = abs(process.create_time() - identity["created"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError):
        return False
