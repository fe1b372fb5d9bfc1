"""Measurements in processes of their own (UX.md, A14 and A16)."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services import jobs
from gencomp_core.store import Store
from tests.tiny import quantization, recipe

RECIPE = recipe(quantization(8))
PATIENCE = 120.0


def wait_for_end(chosen: Recipe, n_samples: int) -> jobs.Job:
    deadline = time.monotonic() + PATIENCE
    while (job := jobs.job_state("fashion-vae", chosen, n_samples=n_samples)).state == "running":
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
    return job


def pid_of(home: Path) -> int:
    (file,) = home.glob("jobs/*/process.json")
    return int(json.loads(file.read_text())["pid"])


def test_two_clicks_make_one_job_that_keeps_its_measurement(home: Path) -> None:
    assert jobs.job_state("fashion-vae", RECIPE, n_samples=60).state == "none"
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: jobs.start_measurement("fashion-vae", RECIPE, n_samples=60), range(2)))
    assert jobs.job_state("fashion-vae", RECIPE, n_samples=60).state == "running"
    pid = pid_of(home)
    jobs.start_measurement("fashion-vae", RECIPE, n_samples=60)
    assert pid_of(home) == pid
    job = wait_for_end(RECIPE, 60)
    assert not job.line.startswith("gencomp:"), job.line
    assert "evaluate fashion-vae" in job.command
    store = Store(os.environ["GENCOMP_STORE"])
    (row,) = [row for row in store.rows() if row["origin"] == "local"]  # a new store has the demo study as well
    assert (row["recipe_signature"], row["status"], row["n_samples"]) == (RECIPE.signature, "measured", 60)


def test_a_job_that_was_killed_counts_as_ended_and_can_be_started_again(home: Path) -> None:
    jobs.start_measurement("fashion-vae", RECIPE, n_samples=5000)
    pid = pid_of(home)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(RECIPE, 5000)
    jobs.start_measurement("fashion-vae", RECIPE, n_samples=5000)
    assert pid_of(home) != pid
    os.kill(pid_of(home), signal.SIGKILL)
    wait_for_end(RECIPE, 5000)


def test_a_job_that_fails_says_why_in_its_last_line() -> None:
    chosen = recipe(quantization(8, layers={"no_such_layer": {"bits": 4}}))
    jobs.start_measurement("fashion-vae", chosen, n_samples=60)
    job = wait_for_end(chosen, 60)
    assert job.state == "ended"
    assert job.line.startswith("gencomp: ")
    assert "no_such_layer" in job.line
