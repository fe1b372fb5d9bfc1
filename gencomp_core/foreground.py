"""Jobs in the foreground: the same job that a page starts, carried out here with a progress bar."""

import time
from collections.abc import Mapping
from typing import Any

from gencomp_core.errors import JobError
from gencomp_core.printing import err, progress_bar
from gencomp_core.records import Job, job_signature
from gencomp_core.services import jobs
from gencomp_core.services.running import carry_out
from gencomp_core.store import Store

POLL_S = 0.5
INTERRUPTED = 130


def run(
    store: Store, kind: str, parameters: Mapping[str, Any], *, background: bool = False, retry: bool = False
) -> Job:
    """Carry out a job, or start a process for it; one that is under way elsewhere is followed.

    Args:
        retry: measure what failed before once more.

    Raises:
        GenCompError: what the job failed with.
        SystemExit: 130 after Ctrl-C.
    """
    if retry:
        jobs.forget_failures(store, job_signature(kind, parameters))
    if background:
        return jobs.start(store, kind, parameters)
    job, is_new = jobs.enqueue(store, kind, parameters)
    return _carry_out(store, job) if is_new else _follow(store, job)


def follow_or_carry_out(store: Store, job: Job) -> Job:
    """Carry out a job that waits for someone, follow one that has its worker."""
    waits = job.state == "queued" and job.worker is None
    return _carry_out(store, job) if waits else _follow(store, job)


def _carry_out(store: Store, job: Job) -> Job:
    try:
        with progress_bar() as report:
            carry_out(store, job, report=report)
    except KeyboardInterrupt:
        err.print(f"gencomp: stopped; finished measurements are kept. 'gencomp resume {job.id}' goes on.", markup=False)
        raise SystemExit(INTERRUPTED) from None
    return jobs.get(store, job.id)


def _follow(store: Store, job: Job) -> Job:
    err.print(f"Job {job.id} does this already; following it.", markup=False)
    try:
        with progress_bar() as report:
            while job.is_active:
                if job.progress:
                    report(job.progress)
                time.sleep(POLL_S)
                job = jobs.get(store, job.id)
    except KeyboardInterrupt:
        err.print(f"gencomp: job {job.id} goes on without you. 'gencomp cancel {job.id}' stops it.", markup=False)
        raise SystemExit(INTERRUPTED) from None
    if job.state != "done":
        raise JobError(f"Job {job.id} was {job.state}: {job.message or 'no reason is known.'}")
    return job
