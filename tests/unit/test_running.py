"""How a job is carried out: state, heartbeat, progress, and how it ends."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.errors import EvaluationError, JobError, UnknownNameError
from gencomp_core.records import Job, JobProgress, WorkerIdentity
from gencomp_core.services import jobs
from gencomp_core.services.job_kinds import KINDS, JobKind, command_line, write_documents
from gencomp_core.services.processes import identity, is_alive
from gencomp_core.services.running import Pace, carry_out
from gencomp_core.store import Jobs, Store

signals = pytest.mark.slow
"""They send SIGINT to the process that runs them, which ended a worker of xdist once; `tests/integration`
cancels real jobs in processes of their own."""


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("count", "refuse", "break_down"):
        monkeypatch.setitem(KINDS._entries, name, JobKind(name, f"tests.made_kinds:{name}"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield made
    made.engine.dispose()


def queued(store: Store, kind: str = "count", **parameters: object) -> Job:
    job, is_new = jobs.enqueue(store, kind, {"workload": "made", "n": 3, **parameters})
    assert is_new
    return job


def test_a_job_that_is_carried_out_is_done_with_its_result(store: Store) -> None:
    told: list[JobProgress] = []
    assert carry_out(store, queued(store), report=told.append) == {"n": 3}
    (job,) = jobs.everyone(store)
    assert (job.state, job.result, job.worker) == ("done", {"n": 3}, identity())
    assert job.started_at is not None
    assert job.ended_at is not None
    assert job.created_at <= job.started_at <= job.ended_at
    assert [(one.what, one.fraction) for one in told] == [
        ("counting, 0 of 3", 0), ("counting, 1 of 3", 1 / 3), ("counting, 2 of 3", 2 / 3),
    ]  # fmt: skip


def test_the_store_tells_of_it_every_second(store: Store) -> None:
    job, beats = queued(store, n=13, pause=0.2), set()

    def look(progress: JobProgress) -> None:
        found = jobs.get(store, job.id)
        assert found.state == "running"
        assert found.heartbeat_at is not None
        assert time.time() - found.heartbeat_at < 2
        beats.add(found.heartbeat_at)

    carry_out(store, job, report=look)
    assert len(beats) >= 3


def test_a_users_error_is_the_jobs_message(store: Store) -> None:
    with pytest.raises(EvaluationError):
        carry_out(store, queued(store, "refuse"), report=lambda _: None)
    (job,) = jobs.everyone(store)
    assert (job.state, job.message) == ("failed", "samples must be in [50, 50000], got 3. Ask for more.")


def test_a_bug_is_told_in_one_line_and_raised(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        carry_out(store, queued(store, "break_down"), report=lambda _: None)
    (job,) = jobs.everyone(store)
    assert (job.state, job.message) == ("failed", "ZeroDivisionError: of course")


@signals
def test_a_cancelled_job_stops_between_its_reports(store: Store) -> None:
    job = queued(store, n=1000, pause=0.05)
    with pytest.raises(KeyboardInterrupt):
        carry_out(store, job, report=lambda _: Jobs(store).request_cancel(job.id) and None)
    ended = jobs.get(store, job.id)
    assert ended.state == "cancelled"
    assert ended.ended_at is not None
    assert ended.started_at is not None
    assert ended.ended_at - ended.started_at < 3


@signals
def test_a_cancelled_job_wakes_from_a_long_call(store: Store) -> None:
    job, began = queued(store, n=1, pause=60), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        carry_out(store, job, report=lambda _: Jobs(store).request_cancel(job.id) and None)
    assert time.monotonic() - began < 5


@signals
def test_what_another_process_has_taken_over_is_dropped(store: Store) -> None:
    job = queued(store, n=1000, pause=0.05)

    def lose(_: JobProgress) -> None:
        Jobs(store).give_up(jobs.get(store, job.id), "interrupted", at=time.time(), message="gone")

    with pytest.raises(KeyboardInterrupt):
        carry_out(store, job, report=lose)
    assert jobs.get(store, job.id).message == "gone"


def test_a_job_is_carried_out_once(store: Store) -> None:
    job = queued(store)
    carry_out(store, job, report=lambda _: None)
    with pytest.raises(JobError, match="by another process"):
        carry_out(store, job, report=lambda _: None)


# Dead workers


def test_a_job_whose_process_is_gone_is_interrupted_and_resumes_as_itself(store: Store) -> None:
    job = queued(store)
    reused = identity(os.getpid()).model_copy(update={"created": identity().created - 100})
    Jobs(store).claim(job.id, reused, at=time.time())
    assert not is_alive(reused)
    ended = jobs.get(store, job.id)
    assert ended.state == "interrupted"
    assert ended.message == "Its process ended without a word. Finished measurements are kept; resume goes on."
    again = jobs.resume(store, job.id, background=False)
    assert (again.id, again.state, again.message) == (job.id, "queued", "")
    assert carry_out(store, again, report=lambda _: None) == {"n": 3}


def test_a_worker_elsewhere_is_believed_until_it_falls_silent(store: Store) -> None:
    job = queued(store)
    elsewhere = WorkerIdentity(host="elsewhere", pid=1, created=1.0)
    Jobs(store).claim(job.id, elsewhere, at=time.time())
    assert jobs.get(store, job.id).state == "running"
    Jobs(store).beat(job.id, elsewhere, at=time.time() - jobs.SILENT_S - 1, progress=None)
    assert jobs.get(store, job.id).state == "interrupted"


def test_a_job_that_nobody_began_does_not_wait_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = queued(store)
    assert jobs.get(store, job.id).state == "queued"
    monkeypatch.setattr(jobs, "UNBORN_S", 0.0)
    assert jobs.get(store, job.id).message.startswith("Its process was never started.")


def test_a_dead_twin_does_not_stand_in_the_way(store: Store) -> None:
    job = queued(store)
    Jobs(store).claim(job.id, WorkerIdentity(host=identity().host, pid=2**22 + 1, created=1.0), at=time.time())
    assert queued(store).id != job.id


# Messages


def test_every_refusal_names_the_job_and_the_next_step(store: Store) -> None:
    with pytest.raises(JobError, match="There is no job 'nope' in this store. 'gencomp jobs' lists them."):
        jobs.cancel(store, "nope")
    job = queued(store)
    carry_out(store, job, report=lambda _: None)
    with pytest.raises(JobError, match=f"Job {job.id} is done: there is nothing to cancel."):
        jobs.cancel(store, job.id)
    with pytest.raises(JobError, match=f"Job {job.id} is done: there is nothing to resume. Use --retry"):
        jobs.resume(store, job.id)
    with pytest.raises(UnknownNameError, match="No job kind named 'swep'. Did you mean 'sweep'?"):
        jobs.start(store, "swep", {"workload": "made"})
    with pytest.raises(JobError, match="in memory"):
        jobs.start(Store("sqlite:///:memory:"), "count", {"workload": "made"})


def test_a_queued_job_is_cancelled_at_once(store: Store) -> None:
    job = queued(store)
    assert jobs.cancel(store, job.id).state == "cancelled"


# The same as a command


def test_the_command_line_has_every_parameter(tmp_path: Path) -> None:
    parameters = {
        "workload": "fashion-vae", "recipe": {"stages": []}, "samples": 60, "set": {"steps": 8}, "batch": [1, 16],
        "retry": True, "scheduler": None, "n_best": 2,
    }  # fmt: skip
    write_documents(parameters, tmp_path)
    assert (tmp_path / "recipe.yaml").read_text() == "stages: []\n"
    assert command_line("evaluate", parameters, tmp_path) == (
        f"python -m gencomp_core evaluate fashion-vae --recipe {tmp_path}/recipe.yaml --samples 60 --set steps=8 "
        "--batch 1 --batch 16 --retry --n-best 2"
    )


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_time_left_is_never_negative_and_zero_only_at_the_end(fractions: list[float]) -> None:
    pace = Pace()
    for number, fraction in enumerate(fractions):
        left = pace.seconds_left(fraction, at=float(number))
        assert left is None or left >= 0
        assert not (left == 0 and fraction < 1)


def test_time_left_is_at_the_pace_since_the_first_report() -> None:
    pace = Pace()
    assert pace.seconds_left(0.5, at=100.0) is None, "what was stored before says nothing about the pace"
    assert pace.seconds_left(0.6, at=110.0) == pytest.approx(40.0)
    assert pace.seconds_left(0.0, at=120.0) is None, "another phase"
