"""Jobs in processes of their own (UX.md, A11 to A16)."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from gencomp_core.records import Job
from gencomp_core.services import jobs, library
from gencomp_core.services.processes import is_alive
from gencomp_core.store import Store
from tests.tiny import quantization, recipe

ROOT = Path(__file__).parents[2]
SLOW = "plugin:tests.tiny_plugin:slow"
GRID = {"stages": [quantization(8) | {"bits": ["skip", 8, 7, 6, 5, 4, 3, 2]}], "samples": 60}
PATIENCE = 180.0


@pytest.fixture
def store(no_demo: None) -> Iterator[Store]:
    """An empty store; no job outlives its test."""
    opened = library.open_store()
    yield opened
    for job in jobs.everyone(opened):
        if job.is_active:
            jobs.cancel(opened, job.id)


def wait_for(store: Store, job: Job, reached: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + PATIENCE
    while not reached(job):
        assert time.monotonic() < deadline, (job, jobs.log_tail(job))
        time.sleep(0.1)
        job = jobs.get(store, job.id)
    return job


def ended(job: Job) -> bool:
    return not job.is_active


def measured(store: Store, n: int) -> Callable[[Job], bool]:
    return lambda job: store.count() >= n or ended(job)


def family_of(job: Job) -> list[psutil.Process]:
    assert job.worker is not None
    process = psutil.Process(job.worker.pid)
    return [process, *process.children(recursive=True)]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gencomp_core", *map(str, arguments)]


def test_two_clicks_make_one_job_that_keeps_its_measurement(store: Store) -> None:
    parameters: dict[str, Any] = {
        "workload": "plugin:tests.tiny_plugin:vae", "recipe": recipe(quantization(8)).to_dict(), "samples": 60,
    }  # fmt: skip
    assert jobs.latest(store, "evaluate", parameters) is None
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: jobs.start(store, "evaluate", parameters), range(2))
    assert first.id == second.id
    assert jobs.start(store, "evaluate", parameters).id == first.id
    job = wait_for(store, first, ended)
    assert (job.state, job.message) == ("done", ""), jobs.log_tail(job)
    assert job.result is not None
    kept = store.measurement(job.result["signature"])
    assert kept is not None
    assert (kept.status, kept.request.n_samples, len(kept.latency)) == ("measured", 60, 1)
    assert jobs.log_tail(job)[-1].endswith("done")
    again = subprocess.run(
        [sys.executable, *job.command.split()[1:], "--json"], capture_output=True, text=True, cwd=ROOT
    )
    assert json.loads(again.stdout)["measured_at"] == kept.measured_at, "the command line finds it measured"


def test_a_job_that_fails_says_why(store: Store) -> None:
    chosen = recipe(quantization(8, layers={"no_such_layer": {"bits": 4}}))
    job = jobs.start(store, "evaluate", {"workload": SLOW, "recipe": chosen.to_dict(), "samples": 60})
    job = wait_for(store, job, ended)
    assert job.state == "failed"
    assert "no_such_layer" in job.message
    assert job.message in jobs.log_tail(job)[-1]


def test_a_killed_sweep_is_interrupted_and_goes_on_where_it_was(store: Store) -> None:
    job = jobs.start(store, "sweep", {"workload": SLOW, "grid": GRID})
    job = wait_for(store, job, measured(store, 3))
    assert job.worker is not None
    os.kill(job.worker.pid, signal.SIGKILL)
    killed = wait_for(store, job, ended)
    assert killed.state == "interrupted"
    before = {row["signature"]: store.measurement(row["signature"]) for row in store.rows()}
    assert 3 <= len(before) < 8
    again = jobs.resume(store, job.id)
    assert again.id == job.id
    done = wait_for(store, again, ended)
    assert done.result is not None, (done, jobs.log_tail(done))
    assert (done.result["n_stored"], done.result["n_measured"]) == (len(before), 8 - len(before))
    assert {signature: store.measurement(signature) for signature in before} == before, "nothing is measured twice"


def test_cancelling_ends_a_sweep_with_its_processes_and_keeps_what_is_finished(store: Store) -> None:
    job = jobs.start(store, "sweep", {"workload": SLOW, "grid": GRID | {"samples": 600}, "workers": 2})
    job = wait_for(store, job, measured(store, 1))
    processes = family_of(job)
    assert len(processes) >= 3
    began = time.monotonic()
    cancelled = jobs.cancel(store, job.id)
    assert cancelled.state == "cancelled"
    _, alive = psutil.wait_procs(processes, timeout=max(0, began + 5 - time.monotonic()))
    assert alive == []
    assert 1 <= store.count() < 8


def test_cancelling_does_not_need_the_workers_consent(store: Store) -> None:
    job = jobs.start(store, "evaluate", {"workload": "plugin:tests.tiny_plugin:deaf", "samples": 60})
    wait_for(store, job, lambda now: now.worker is not None and len(family_of(now)) > 1)
    processes = family_of(jobs.get(store, job.id))
    began = time.monotonic()
    assert jobs.cancel(store, job.id).state == "cancelled"
    assert time.monotonic() - began < 5
    assert psutil.wait_procs(processes, timeout=1)[1] == []


START = """
import json, sys
from gencomp_core.services import jobs, library
print(jobs.start(library.open_store(), "sweep", json.loads(sys.argv[1])).id, flush=True)
sys.stdin.readline()
"""


def test_a_job_outlives_the_server_that_started_it(store: Store) -> None:
    small = {"workload": SLOW, "grid": GRID | {"stages": [quantization(8) | {"bits": ["skip", 8]}]}}
    server = subprocess.Popen(
        [sys.executable, "-c", START, json.dumps(small)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert server.stdout is not None
    job = jobs.get(store, server.stdout.readline().strip())
    server.kill()
    server.wait()
    assert wait_for(store, job, ended).state == "done"


def test_ctrl_c_in_the_terminal_keeps_what_is_finished_and_resume_goes_on(store: Store, tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(json.dumps(GRID | {"stages": [quantization(8) | {"bits": ["skip", 8, 7, 6]}]}))
    started = subprocess.Popen(
        command("sweep", SLOW, "--grid", grid, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    deadline = time.monotonic() + PATIENCE
    while store.count() < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    (job,) = jobs.everyone(store)
    assert job.worker is not None
    assert job.worker.pid == started.pid, "the terminal carries out the very job that pages list"
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=30)
    assert (started.returncode, out) == (130, "")
    assert err.splitlines()[-1] == (
        f"gencomp: stopped; finished measurements are kept. 'gencomp resume {job.id}' goes on."
    )
    assert "Traceback" not in err
    assert jobs.get(store, job.id).state == "cancelled"
    kept = store.count()
    resumed = subprocess.run(command("resume", job.id, "--json"), capture_output=True, text=True, cwd=ROOT)
    assert resumed.returncode == 0, resumed.stderr
    report = json.loads(resumed.stdout)
    assert (report["job"], report["n_stored"], report["n_measured"]) == (job.id, kept, 4 - kept)
    assert [one["status"] for one in report["measurements"]] == ["measured"] * 4
    assert not is_alive(job.worker)
