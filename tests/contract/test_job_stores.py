"""What every store promises about jobs, studies and failures."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.records import JobProgress, JobState, Study, job_signature
from gencomp_core.store import Failures, Jobs, Store, Studies
from tests.made import WORKER, failure, job
from tests.tiny import pruning, quantization

OTHER = WORKER.model_copy(update={"pid": 4712})
REUSED = WORKER.model_copy(update={"created": WORKER.created + 100})
HALF = JobProgress(what="configuration 1 of 2", done=1, total=2, fraction=0.5, seconds_left=12.0)


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store)


def begun(jobs: Jobs) -> None:
    jobs.add(job())
    assert jobs.claim(job().id, WORKER, at=10.0)


def test_a_job_comes_back_as_it_was_added(jobs: Jobs) -> None:
    added = job(
        parameters={"grid": {"stages": [{"kind": "x", "values": [1, 0.5, None, "é"]}]}}, progress=HALF, worker=WORKER
    )
    assert jobs.add(added) == added
    assert jobs.get(added.id) == added
    assert jobs.get("ffffffff") is None
    assert jobs.all() == [added]


def test_the_same_job_is_active_once(jobs: Jobs) -> None:
    first = jobs.add(job())
    assert jobs.add(job(job_id="11111111")) == first
    assert jobs.add(job(job_id="22222222", parameters={"samples": 61})).id == "22222222"
    assert {one.id for one in jobs.all()} == {first.id, "22222222"}


@pytest.mark.parametrize("state", ["done", "failed", "cancelled", "interrupted"])
def test_once_it_has_ended_it_can_be_started_anew(jobs: Jobs, state: JobState) -> None:
    begun(jobs)
    assert jobs.end(job().id, WORKER, state, at=20.0, message="over", result={"n": 1})
    again = job(job_id="11111111", created_at=job().created_at + 1)
    assert jobs.add(again) == again
    assert jobs.latest(job().signature) == again
    ended = jobs.get(job().id)
    assert ended is not None
    assert (ended.state, ended.ended_at, ended.message, ended.result) == (state, 20.0, "over", {"n": 1})


def test_only_one_worker_gets_a_job(jobs: Jobs) -> None:
    begun(jobs)
    assert not jobs.claim(job().id, OTHER, at=11.0)
    found = jobs.get(job().id)
    assert found is not None
    assert (found.state, found.worker, found.started_at, found.heartbeat_at) == ("running", WORKER, 10.0, 10.0)


def test_only_its_worker_tells_of_it(jobs: Jobs) -> None:
    begun(jobs)
    for stranger in (OTHER, REUSED):
        assert not jobs.beat(job().id, stranger, at=12.0, progress=HALF)
        assert not jobs.end(job().id, stranger, "done", at=12.0)
    assert jobs.beat(job().id, WORKER, at=12.0, progress=HALF)
    assert jobs.beat(job().id, WORKER, at=13.0, progress=None)
    found = jobs.get(job().id)
    assert found is not None
    assert (found.heartbeat_at, found.progress) == (13.0, HALF)


def test_a_cancelled_queued_job_never_begins(jobs: Jobs) -> None:
    jobs.add(job())
    assert jobs.request_cancel(job().id)
    assert not jobs.claim(job().id, WORKER, at=10.0)


def test_what_has_ended_can_not_be_cancelled(jobs: Jobs) -> None:
    begun(jobs)
    jobs.end(job().id, WORKER, "done", at=20.0)
    assert not jobs.request_cancel(job().id)


def test_a_dead_worker_is_given_up_only_as_it_was_seen(jobs: Jobs) -> None:
    begun(jobs)
    seen = jobs.get(job().id)
    assert seen is not None
    jobs.beat(job().id, WORKER, at=15.0, progress=None)
    assert not jobs.give_up(seen, "interrupted", at=16.0, message="its worker died"), "it has told since"
    seen = jobs.get(job().id)
    assert seen is not None
    assert jobs.give_up(seen, "interrupted", at=16.0, message="its worker died")
    assert not jobs.beat(job().id, WORKER, at=17.0, progress=None), "a worker that was given up must notice"
    assert jobs.active(job().signature) is None


def test_a_resumed_job_is_the_same_job_from_the_start(jobs: Jobs) -> None:
    begun(jobs)
    jobs.beat(job().id, WORKER, at=12.0, progress=HALF)
    jobs.request_cancel(job().id)
    assert not jobs.requeue(job().id, states=("cancelled",), at=21.0), "it is still running"
    jobs.end(job().id, WORKER, "cancelled", at=20.0, message="stopped")
    assert jobs.requeue(job().id, states=("cancelled",), at=21.0)
    assert jobs.get(job().id) == job(heartbeat_at=21.0)
    assert jobs.claim(job().id, OTHER, at=22.0)


def test_a_job_is_not_resumed_beside_its_twin(jobs: Jobs) -> None:
    begun(jobs)
    jobs.end(job().id, WORKER, "failed", at=20.0)
    jobs.add(job(job_id="11111111"))
    assert not jobs.requeue(job().id, states=("failed",), at=21.0)


def test_a_process_that_dies_before_it_began_is_known(jobs: Jobs) -> None:
    jobs.add(job())
    assert jobs.assign(job().id, WORKER)
    assert not jobs.assign(job().id, OTHER)
    found = jobs.get(job().id)
    assert found is not None
    assert (found.state, found.worker) == ("queued", WORKER)
    assert jobs.claim(job().id, WORKER, at=10.0)


def test_jobs_are_listed_newest_first_and_by_state(jobs: Jobs) -> None:
    for number in range(3):
        jobs.add(job(job_id=f"0000000{number}", created_at=float(number), parameters={"samples": 60 + number}))
    jobs.claim("00000001", WORKER, at=5.0)
    assert [one.id for one in jobs.all()] == ["00000002", "00000001", "00000000"]
    assert [one.id for one in jobs.all(states=("running",))] == ["00000001"]
    assert [one.id for one in jobs.all(limit=1)] == ["00000002"]


N_AT_ONCE = 6


def test_of_threads_that_start_the_same_at_once_one_makes_the_job(shared_url: str) -> None:
    store, barrier = Store(shared_url), Barrier(N_AT_ONCE)

    def add(number: int) -> str:
        barrier.wait()
        return Jobs(store).add(job(job_id=f"0000000{number}")).id

    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        assert len(set(pool.map(add, range(N_AT_ONCE)))) == 1
    assert len(Jobs(store).all()) == 1
    store.engine.dispose()


ADD = """
import sys
from gencomp_core.records import Job
from gencomp_core.store import Jobs, Store
jobs = Jobs(Store(sys.argv[1]))
print("ready", flush=True)
print(jobs.add(Job.model_validate_json(sys.stdin.readline())).id)
"""


def test_of_processes_that_start_the_same_at_once_one_makes_the_job(shared_url: str) -> None:
    Store(shared_url).engine.dispose()
    command = [sys.executable, "-c", ADD, shared_url]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    wanted = [job(job_id=f"0000000{number}").model_dump_json() for number in range(2)]
    answers = [process.communicate(text + "\n")[0] for process, text in zip(started, wanted, strict=True)]
    assert answers[0] == answers[1]
    assert len(Jobs(Store(shared_url)).all()) == 1


# Signatures


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text() | st.lists(st.integers())),
    st.integers(1, 9),
)
def test_a_signature_is_of_what_is_found_and_not_of_how(parameters: dict[str, object], workers: int) -> None:
    turned = dict(reversed(parameters.items()))
    assert job_signature("sweep", parameters) == job_signature("sweep", {**turned, "workers": workers, "absent": None})
    assert job_signature("sweep", parameters) != job_signature("search", parameters)
    assert job_signature("sweep", parameters) != job_signature("sweep", {**parameters, "a longer name": 1})


# Studies and failures


def study(**changes: object) -> Study:
    fields = {"id": "0123456789abcdef", "name": "VAE, quick", "purpose": "sweep", "workload": "fashion-vae",
              "parameters": {"samples": 60}, "created_at": 5.0, "signatures": ("b" * 16, "a" * 16)}  # fmt: skip
    return Study.model_validate(fields | changes)


def test_a_study_comes_back_with_its_members_in_order(store: Store) -> None:
    studies = Studies(store)
    studies.save(study())
    assert studies.get(study().id) == study()
    assert studies.get("0" * 16) is None
    longer = study(signatures=("a" * 16, "c" * 16, "b" * 16))
    studies.save(longer)
    older = study(id="1" * 16, created_at=4.0, signatures=())
    studies.save(older)
    assert studies.all() == [longer, older]


def test_a_failure_has_its_reason_and_no_number(store: Store) -> None:
    failures, failed = Failures(store), failure(quantization(2), reason="not finite")
    failures.save(failure(quantization(2), reason="an older reason"))
    failures.save(failed)
    failures.save(failure(pruning(0.5)))
    assert failures.of([failed.signature, "0" * 16]) == {failed.signature: failed}
    told = failed.summary()
    assert (told["status"], told["reason"]) == ("failed", "not finite")
    assert {told[name] for name in ("size_bytes", "quality", "macs", "n_params")} == {None}
    assert store.measurement(failed.signature) is None, "it is no measurement"


def test_a_forgotten_failure_is_asked_for_again(store: Store) -> None:
    failures, failed = Failures(store), failure(quantization(2))
    failures.save(failed)
    failures.forget([failed.signature, "0" * 16])
    assert failures.of([failed.signature]) == {}
    many = [f"{number:016x}" for number in range(1200)]
    assert failures.of(many) == {}
