"""Jobs: starting, following, cancelling and resuming what is carried out in processes of its own. No torch."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from sqlalchemy.engine import make_url

from gencomp_core.errors import JobError
from gencomp_core.records import ACTIVE, RESUMABLE, Job, WorkerIdentity, job_signature
from gencomp_core.runtime_env import command_environment, home
from gencomp_core.services.job_kinds import KINDS, command_line, write_documents
from gencomp_core.services.processes import end_with_children, identity, is_alive, is_here
from gencomp_core.store import Failures, Jobs, Store, Studies

SILENT_S = 60.0  # a worker beats every second; a machine that swaps may pause for long
UNBORN_S = 30.0  # between a job's row and the process for it lie milliseconds
OBEYS_WITHIN_S = 2.5
ENDS_WITHIN_S = 1.5  # with the above: cancelled within 5 s, whatever the worker is doing


def enqueue(store: Store, kind: str, parameters: Mapping[str, Any]) -> tuple[Job, bool]:
    """The active job of this kind with these parameters, made when there is none.

    Returns:
        The job, and whether it is new and waits for someone to carry it out.

    Raises:
        UnknownNameError: no such kind.
    """
    KINDS[kind]
    _notice_dead(store)  # a dead twin must not stand in the way
    job_id = uuid4().hex[:8]
    folder = job_folder(job_id)
    job = Job(
        id=job_id,
        kind=kind,
        workload=str(parameters["workload"]),
        parameters=dict(parameters),
        signature=job_signature(kind, parameters),
        created_at=time.time(),
        command=command_line(kind, parameters, folder),
        folder=str(Path.cwd()),
    )
    added = Jobs(store).add(job)
    is_new = added.id == job.id
    if is_new:
        write_documents(parameters, folder)
    return added, is_new


def start(store: Store, kind: str, parameters: Mapping[str, Any]) -> Job:
    """Start a job in a process of its own, unless the same one is active (two clicks make one job).

    Raises:
        JobError: the store is in memory, where no other process could reach it.
    """
    check_shared(store)
    job, is_new = enqueue(store, kind, parameters)
    if is_new:
        _launch(store, job)
    return job


def resume(store: Store, job_id: str, *, retry: bool = False, background: bool = True) -> Job:
    """Go on with a job that ended before it was done; finished measurements are not made again.

    Args:
        retry: measure what failed once more; a job that is done may then go on, too.
        background: start a process for it; otherwise the caller carries it out.

    Raises:
        JobError: no such job, or there is nothing to go on with.
    """
    job = get(store, job_id)
    if job.is_active:
        return job
    states = (*RESUMABLE, "done") if retry else RESUMABLE
    if job.state not in states:
        raise JobError(f"Job {job_id} is {job.state}: there is nothing to resume. Use --retry to repeat what failed.")
    if background:
        check_shared(store)
    if retry:
        forget_failures(store, job.signature)
    if not Jobs(store).requeue(job_id, states=states, at=time.time()):
        twin = Jobs(store).active(job.signature)
        return twin or get(store, job_id)
    job = get(store, job_id)
    if background:
        _launch(store, job)
    return job


def forget_failures(store: Store, signature: str) -> None:
    """Let the study of a job's signature measure again what failed."""
    study = Studies(store).get(signature)
    Failures(store).forget(study.signatures if study else ())


def cancel(store: Store, job_id: str) -> Job:
    """Stop a job with all its processes, within 5 s; finished measurements are kept.

    A worker on another machine is asked, and stops by itself.

    Raises:
        JobError: no such job, or it is not active.
    """
    job = get(store, job_id)
    if not Jobs(store).request_cancel(job_id):
        raise JobError(f"Job {job_id} is {job.state}: there is nothing to cancel.")
    deadline = time.monotonic() + (OBEYS_WITHIN_S if job.state == "running" else 0)
    while time.monotonic() < deadline and job.is_active:
        time.sleep(0.1)
        job = get(store, job_id)
    while time.monotonic() < deadline and job.worker and _is_other(job.worker):
        time.sleep(0.1)  # it has stopped, and is about to end
    if job.worker and _is_other(job.worker):
        end_with_children(job.worker, within_s=ENDS_WITHIN_S)
    job = _found(store, job_id)
    if job.is_active and (job.worker is None or is_here(job.worker)):
        Jobs(store).give_up(job, "cancelled", at=time.time(), message="Cancelled; its processes were ended.")
    return get(store, job_id)


def get(store: Store, job_id: str) -> Job:
    """A job as it stands now.

    Raises:
        JobError: there is none of that id.
    """
    job = _found(store, job_id)
    return _found(store, job_id) if job.is_active and _give_up_if_dead(store, job) else job


def latest(store: Store, kind: str, parameters: Mapping[str, Any]) -> Job | None:
    """The newest job of this kind with these parameters, or None."""
    job = Jobs(store).latest(job_signature(kind, parameters))
    return get(store, job.id) if job else None


def everyone(store: Store, *, limit: int = 200) -> list[Job]:
    """Jobs as they stand now, newest first."""
    _notice_dead(store)
    return Jobs(store).all(limit=limit)


def check_shared(store: Store) -> None:
    """Refuse a store that another process can't open."""
    if store.engine.url.database in (None, "", ":memory:"):
        raise JobError("A job needs a store on disk, got one in memory. Name a file with --store.")


def job_folder(job_id: str) -> Path:
    """Where a job's log and documents lie."""
    return home() / "jobs" / job_id


def log_tail(job: Job, n_lines: int = 12) -> list[str]:
    """Last lines of the log; none when the job ran on another machine or in a terminal."""
    path = job_folder(job.id) / "log.txt"
    try:
        return path.read_text(errors="replace").splitlines()[-n_lines:]
    except OSError:
        return []


def _is_other(worker: WorkerIdentity) -> bool:
    """Whether it is another process of this machine, and alive."""
    return is_here(worker) and worker.pid != os.getpid() and is_alive(worker)


def _found(store: Store, job_id: str) -> Job:
    job = Jobs(store).get(job_id)
    if job is None:
        raise JobError(f"There is no job {job_id!r} in this store. 'gencomp jobs' lists them.")
    return job


def _notice_dead(store: Store) -> None:
    for job in Jobs(store).all(states=ACTIVE):
        _give_up_if_dead(store, job)


def _give_up_if_dead(store: Store, job: Job) -> bool:
    """Note that an active job's worker is gone; True when it is."""
    reason = _why_dead(job, now=time.time())
    if reason is None:
        return False
    if job.cancel_requested:
        return Jobs(store).give_up(job, "cancelled", at=time.time(), message="Cancelled.")
    message = f"{reason} Finished measurements are kept; resume goes on."
    return Jobs(store).give_up(job, "interrupted", at=time.time(), message=message)


def _why_dead(job: Job, *, now: float) -> str | None:
    """Why an active job's worker can't be alive, or None."""
    if job.worker and is_here(job.worker) and not is_alive(job.worker):
        return "Its process ended without a word."
    silent = now - (job.heartbeat_at or job.created_at)
    if job.worker is None and silent > UNBORN_S:
        return "Its process was never started."
    if silent > SILENT_S:
        return f"Its process gave no sign of life for {silent:.0f} s."
    return None


def _launch(store: Store, job: Job) -> None:
    folder = job_folder(job.id)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gencomp_core", "worker", job.id],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=job.folder if Path(job.folder).is_dir() else None,
            env=_environment(store),
        )
    threading.Thread(target=process.wait, daemon=True).start()  # no zombie stays behind
    try:
        Jobs(store).assign(job.id, identity(process.pid))
    except psutil.NoSuchProcess:
        return  # it has ended already, and has said why


def _environment(store: Store) -> dict[str, str]:
    """Where the worker finds the store, whatever folder it runs in; unlike arguments, other users can't see it."""
    url = make_url(store.url)
    if url.get_backend_name() == "sqlite" and url.database:
        url = url.set(database=str(Path(url.database).resolve()))
    threads = str(max(1, (os.cpu_count() or 1) - 1))  # one core for whoever moves a slider meanwhile
    found = {"OMP_NUM_THREADS": threads, **command_environment()}
    return {**found, "GENCOMP_STORE": url.render_as_string(hide_password=False)}
