"""Jobs in the store: who carries out what, and how far it has come.

Every change of state is one conditional UPDATE, so that of two processes that want the same only one gets it.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, Update, and_, select, update
from sqlalchemy.exc import IntegrityError

from gencomp_core.records import ACTIVE, Job, JobProgress, JobState, WorkerIdentity
from gencomp_core.store.schema import jobs
from gencomp_core.store.store import Store

JSON_COLUMNS = ("parameters", "progress", "result")
PLAIN_COLUMNS = ("kind", "workload", "signature", "state", "created_at", "started_at", "ended_at", "heartbeat_at",
                 "message", "cancel_requested", "command", "folder")  # fmt: skip
BEFORE_A_START = {"started_at": None, "ended_at": None, "heartbeat_at": None, "progress": None, "message": "",
                  "worker_host": None, "worker_pid": None, "worker_created": None, "cancel_requested": False,
                  "result": None}  # fmt: skip


class Jobs:
    """The jobs of a store."""

    def __init__(self, store: Store) -> None:
        self.engine: Engine = store.engine

    def add(self, job: Job) -> Job:
        """Keep a new job, unless one of the same signature is active: then that one comes back."""
        while True:
            try:
                with self.engine.begin() as connection:
                    connection.execute(jobs.insert().values(id=job.id, **_row(job)))
                return job
            except IntegrityError:
                active = self.active(job.signature)
                if active is not None:  # else it ended in between: try again
                    return active

    def get(self, job_id: str) -> Job | None:
        """A job, or None."""
        return self._first(jobs.c.id == job_id)

    def active(self, signature: str) -> Job | None:
        """The active job of a signature, or None."""
        return self._first(jobs.c.active_signature == signature)

    def latest(self, signature: str) -> Job | None:
        """The newest job of a signature, whatever its state, or None."""
        return self._first(jobs.c.signature == signature)

    def all(self, *, states: Sequence[JobState] = (), limit: int = 1000) -> list[Job]:
        """Jobs, newest first."""
        query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id).limit(limit)
        if states:
            query = query.where(jobs.c.state.in_(states))
        with self.engine.connect() as connection:
            return [_job(row) for row in connection.execute(query)]

    def requeue(self, job_id: str, *, states: Sequence[JobState], at: float) -> bool:
        """Make a job that ended in one of `states` wait for a worker again; False when it may not."""
        query = update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(states))
        values = {**BEFORE_A_START, "state": "queued", "active_signature": jobs.c.signature, "heartbeat_at": at}
        try:
            return self._changed(query.values(values))
        except IntegrityError:  # another job of the same signature is active
            return False

    def assign(self, job_id: str, worker: WorkerIdentity) -> bool:
        """Note which process was started for a queued job, so that its death is noticed even before it began."""
        query = update(jobs).where(jobs.c.id == job_id, jobs.c.state == "queued", jobs.c.worker_pid.is_(None))
        return self._changed(query.values(_worker(worker)))

    def claim(self, job_id: str, worker: WorkerIdentity, *, at: float) -> bool:
        """Begin a queued job; False when another process began it, or it was cancelled."""
        query = update(jobs).where(jobs.c.id == job_id, jobs.c.state == "queued", jobs.c.cancel_requested.is_(False))
        return self._changed(query.values(state="running", started_at=at, heartbeat_at=at, **_worker(worker)))

    def beat(self, job_id: str, worker: WorkerIdentity, *, at: float, progress: JobProgress | None) -> bool:
        """Sign of life with the progress; False when the job is not this worker's any more."""
        values: dict[str, Any] = {"heartbeat_at": at}
        if progress is not None:
            values["progress"] = progress.model_dump_json()
        return self._changed(update(jobs).where(_carried_out_by(job_id, worker)).values(values))

    def end(
        self,
        job_id: str,
        worker: WorkerIdentity,
        state: JobState,
        *,
        at: float,
        message: str = "",
        result: dict[str, Any] | None = None,
    ) -> bool:
        """The worker's own word that the job has ended; False when it is not this worker's any more."""
        values = {"state": state, "active_signature": None, "ended_at": at, "message": message,
                  "result": None if result is None else json.dumps(result)}  # fmt: skip
        return self._changed(update(jobs).where(_carried_out_by(job_id, worker)).values(values))

    def request_cancel(self, job_id: str) -> bool:
        """Ask an active job to stop; False when it has ended."""
        query = update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(ACTIVE))
        return self._changed(query.values(cancel_requested=True))

    def give_up(self, job: Job, state: JobState, *, at: float, message: str) -> bool:
        """End a job whose worker is gone; False when it is alive after all, and has told so since `job` was read."""
        as_read = [
            jobs.c.id == job.id,
            jobs.c.state == job.state,
            jobs.c.heartbeat_at.is_(None) if job.heartbeat_at is None else jobs.c.heartbeat_at == job.heartbeat_at,
        ]
        values = {"state": state, "active_signature": None, "ended_at": at, "message": message}
        return self._changed(update(jobs).where(and_(*as_read)).values(values))

    def _first(self, condition: ColumnElement[bool]) -> Job | None:
        with self.engine.connect() as connection:
            newest = select(jobs).where(condition).order_by(jobs.c.created_at.desc(), jobs.c.id).limit(1)
            row = connection.execute(newest).first()
        return _job(row) if row is not None else None

    def _changed(self, query: Update) -> bool:
        with self.engine.begin() as connection:
            return connection.execute(query).rowcount == 1


def _carried_out_by(job_id: str, worker: WorkerIdentity) -> ColumnElement[bool]:
    return and_(
        jobs.c.id == job_id,
        jobs.c.state == "running",
        jobs.c.worker_host == worker.host,
        jobs.c.worker_pid == worker.pid,
        jobs.c.worker_created == worker.created,
    )


def _worker(worker: WorkerIdentity) -> dict[str, Any]:
    return {"worker_host": worker.host, "worker_pid": worker.pid, "worker_created": worker.created}


def _row(job: Job) -> dict[str, Any]:
    values = job.model_dump(mode="json")
    row = {name: values[name] for name in PLAIN_COLUMNS}
    row |= {name: None if values[name] is None else json.dumps(values[name]) for name in JSON_COLUMNS}
    row |= _worker(job.worker) if job.worker else {}
    return row | {"active_signature": job.signature if job.is_active else None}


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    fields = {name: values[name] for name in ("id", *PLAIN_COLUMNS)}
    fields |= {name: json.loads(values[name]) if values[name] else None for name in JSON_COLUMNS}
    if values["worker_pid"] is not None:
        fields["worker"] = WorkerIdentity(
            host=values["worker_host"], pid=values["worker_pid"], created=values["worker_created"]
        )
    return Job.model_validate(fields)
