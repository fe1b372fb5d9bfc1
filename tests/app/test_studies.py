"""The page Studies over a real store: what it tells of jobs, and what its buttons do."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from gencomp_core.records import Job, JobProgress, Study
from gencomp_core.services import jobs, library
from gencomp_core.services.job_kinds import write_documents
from gencomp_core.services.processes import identity
from gencomp_core.store import Failures, Jobs, Store, Studies
from tests.app.test_pages import WORKLOAD, _running_server, fine, labels, open_page, text_of
from tests.made import failure, job, measurement
from tests.tiny import pruning, quantization

__all__ = ["_running_server"]
HALF = JobProgress(what="4-bit: sampling compressed, 30 of 60", done=1, total=2, fraction=0.5, seconds_left=130.0)


@pytest.fixture
def store(no_demo: None) -> Iterator[Store]:
    """An empty store; no job outlives its test."""
    opened = library.open_store()
    yield opened
    for made in jobs.everyone(opened):
        if made.is_active:
            jobs.cancel(opened, made.id)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a worker."""
    sleeping = subprocess.Popen(["sleep", "600"])
    yield sleeping
    sleeping.kill()
    sleeping.wait()


def running(store: Store, process: subprocess.Popen[bytes], **changes: object) -> Job:
    made = Jobs(store).add(job(**changes))
    worker = identity(process.pid)
    Jobs(store).claim(made.id, worker, at=time.time())
    Jobs(store).beat(made.id, worker, at=time.time(), progress=HALF)
    return jobs.get(store, made.id)


def click(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click()
    return fine(at.run())


def test_the_cost_is_told_before_the_start_and_the_command_line_beside_it(store: Store) -> None:
    store.save(measurement(seconds=10.0))
    at = fine(open_page("studies"))
    assert "6 configurations: about 30 seconds (5.0 s each, from 1 stored measurements)." in text_of(at)
    assert f"python -m gencomp_core sweep {WORKLOAD} --grid quick --workers 1" in text_of(at)
    at.segmented_control(key="studies.preset").set_value("standard")
    assert "20 configurations, 1 of them stored already: about 3 minutes" in text_of(fine(at.run()))


def test_a_running_job_shows_progress_and_time_left_and_is_cancelled_with_its_process(
    store: Store, process: subprocess.Popen[bytes]
) -> None:
    running(store, process)
    at = fine(open_page("studies"))
    (bar,) = at.get("progress")
    assert (bar.proto.value, bar.proto.text) == (50, f"{HALF.what}, about 2 min left")
    assert at.metric[0].value == "1"
    assert "badge[running]" in text_of(at)
    assert "Resume" not in labels(at)
    click(at, "studies.cancel")
    assert process.poll() is not None
    assert jobs.get(store, job().id).state == "cancelled"
    assert "Cancel" not in labels(at)
    assert "Resume" in labels(at)


def test_a_job_whose_process_died_is_interrupted_on_the_page(store: Store, process: subprocess.Popen[bytes]) -> None:
    running(store, process)
    process.kill()
    process.wait()
    at = fine(open_page("studies"))
    assert "Its process ended without a word." in at.warning[0].value
    assert "Resume" in labels(at)
    assert at.get("progress") == []


def test_start_makes_one_job_that_every_visitor_sees(store: Store) -> None:
    first, second = open_page("studies"), open_page("studies")
    click(first, "studies.start")
    click(second, "studies.start")
    (made,) = jobs.everyone(store)
    assert made.is_active
    assert first.selectbox(key="studies.job").value == f"{made.id} sweep {WORKLOAD}"
    for at in (first, second, fine(open_page("studies"))):
        assert made.command in text_of(at)
        assert [button.disabled for button in at.button if button.key == "studies.start"] == [True]
    click(first, "studies.cancel")
    assert jobs.get(store, made.id).state == "cancelled"


def test_an_interrupted_job_is_resumed_by_its_button(store: Store) -> None:
    parameters = {"workload": "plugin:tests.tiny_plugin:vae", "samples": 60}
    made = Jobs(store).add(job(kind="evaluate", parameters=parameters, state="interrupted", folder=str(Path.cwd())))
    at = fine(open_page("studies"))
    click(at, "studies.resume")
    again = jobs.get(store, made.id)
    assert again.is_active
    assert again.worker is not None
    jobs.cancel(store, made.id)


def study_of(store: Store, made: Job) -> None:
    good, bad = measurement(pruning(0.5)), failure(quantization(2), reason="the metric was not finite")
    store.save(good)
    Failures(store).save(bad)
    members = (good.signature, bad.signature, "f" * 16)
    Studies(store).save(
        Study(id=made.signature, name="x", purpose="sweep", workload=WORKLOAD, created_at=1.0, signatures=members)
    )


def test_what_was_found_what_failed_and_what_is_missing_are_counted(store: Store) -> None:
    made = Jobs(store).add(job(state="done", result={"n_failed": 1}, started_at=1.0, ended_at=61.0))
    study_of(store, made)
    at = fine(open_page("studies"))
    (counts,) = [part.value for part in at.markdown if "** measured" in part.value]
    assert set(counts.split(" · ")) == {"**1** measured", "**1** failed", "**1** missing"}
    table = at.dataframe[0].value
    assert table["reason"].dropna().tolist() == ["the metric was not finite"]
    assert "took 60 s" in text_of(at)
    click(at, "studies.retry")
    assert Failures(store).of([failure(quantization(2)).signature]) == {}
    jobs.cancel(store, made.id)


def test_the_log_of_a_job_is_shown(store: Store) -> None:
    made = Jobs(store).add(job(state="failed", message="samples must be in [50, 50000], got 3."))
    write_documents({}, jobs.job_folder(made.id))
    (jobs.job_folder(made.id) / "log.txt").write_text("\n".join(f"line {number}" for number in range(40)))
    at = fine(open_page("studies"))
    assert "line 39" in text_of(at)
    assert "line 2\n" not in text_of(at)
    assert at.error[0].value == made.message


def test_fifty_jobs_are_listed_and_the_address_names_one(store: Store) -> None:
    for number in range(50):
        told = f"python -m gencomp_core sweep {WORKLOAD} --samples {60 + number}"
        Jobs(store).add(
            job(job_id=f"{number:08x}", created_at=float(number), parameters={"samples": 60 + number}, command=told)
        )
    wanted = f"00000007 sweep {WORKLOAD}"
    at = fine(open_page("studies", **{"studies.job": wanted}))
    assert len(at.selectbox(key="studies.job").options) == 50
    assert at.selectbox(key="studies.job").value == wanted
    assert "--samples 67" in text_of(at)
    at = fine(open_page("studies", **{"studies.job": "nonsense"}))
    assert at.selectbox(key="studies.job").value is None
    assert "--samples 109" in text_of(at), "the newest"
