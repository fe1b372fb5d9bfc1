"""Jobs (the processes that carry studies out), studies, and measurements that failed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from gencomp_core.records.base import Record
from gencomp_core.records.measurement import EvaluationRequest

JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
ACTIVE: tuple[JobState, ...] = ("queued", "running")
RESUMABLE: tuple[JobState, ...] = ("failed", "cancelled", "interrupted")
HOW_NOT_WHAT = frozenset({"workers", "scheduler", "threads"})
"""Parameters that change how a job is carried out and not what it finds."""


def job_signature(kind: str, parameters: Mapping[str, Any]) -> str:
    """16 hex digits; equal for jobs that find the same, with however many workers."""
    told = {name: value for name, value in parameters.items() if value is not None and name not in HOW_NOT_WHAT}
    return hashlib.sha256(json.dumps([kind, told], sort_keys=True).encode()).hexdigest()[:16]


class WorkerIdentity(Record):
    """A process that can't be confused with another one: a pid is reused, its creation time is not.

    Attributes:
        host: name of the machine.
        pid: process number there.
        created: when the process began, in seconds since 1970.
    """

    host: str
    pid: int
    created: float


class JobProgress(Record):
    """How far a job has come.

    Attributes:
        what: what is being done, for people.
        done, total: in units of that.
        fraction: done of the whole, in [0, 1].
        seconds_left: at the pace so far; None while that is not known.
    """

    what: str
    done: int
    total: int
    fraction: float
    seconds_left: float | None = None


class Job(Record):
    """The process that carries a study out, as the store knows it. Times are seconds since 1970.

    Attributes:
        id: 8 hex digits.
        kind: name in the registry of job kinds, such as `sweep`.
        workload: what it is about.
        parameters: plain JSON values that the kind's service takes.
        signature: of kind and parameters; two active jobs never share one.
        state: `queued` until its worker has begun; `interrupted` when the worker died or fell silent.
        created_at, started_at, ended_at: of the job; of the latest start; of its end.
        heartbeat_at: last sign of life of the worker.
        progress: None until there is some.
        message: why it ended as it did, one line.
        worker: process that carries it out.
        cancel_requested: someone wants it to stop.
        command: command line that does the same.
        folder: working directory that it was started from, where plugins are found.
        result: what its service returned, plain JSON values; None unless `done`.
    """

    id: str
    kind: str
    workload: str
    parameters: dict[str, Any]
    signature: str
    state: JobState = "queued"
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    heartbeat_at: float | None = None
    progress: JobProgress | None = None
    message: str = ""
    worker: WorkerIdentity | None = None
    cancel_requested: bool = False
    command: str = ""
    folder: str = ""
    result: dict[str, Any] | None = None

    @property
    def is_active(self) -> bool:
        """Whether it waits for its worker or is being carried out."""
        return self.state in ACTIVE

    @property
    def can_resume(self) -> bool:
        """Whether it ended before it was done."""
        return self.state in RESUMABLE


class Study(Record):
    """A named set of measurements with a purpose.

    Attributes:
        id: signature of purpose and parameters: asking for the same again means the same study.
        name: for people.
        purpose: name of the job kind that makes it, such as `sweep`.
        workload: what it is about.
        parameters: plain JSON values.
        created_at: seconds since 1970.
        signatures: of the requests that belong to it, in order, measured or not.
    """

    id: str
    name: str
    purpose: str
    workload: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    created_at: float
    signatures: tuple[str, ...] = ()


class Failure(Record):
    """A measurement that could not be made. It has a reason and no figures.

    Attributes:
        signature: of the request.
        workload, title, recipe: what was to be measured.
        request: how.
        status: always `failed`.
        reason: one line.
        failed_at: ISO date and time, UTC.
    """

    signature: str
    workload: str
    title: str
    recipe: dict[str, Any]
    request: EvaluationRequest
    status: Literal["failed"] = "failed"
    reason: str
    failed_at: str

    def summary(self) -> dict[str, Any]:
        """Plain form with the names of a measurement's, and null where it would have a figure."""
        nothing = dict.fromkeys(("size_bytes", "n_params", "n_nonzero", "effective_bits", "macs", "quality"))
        return {**nothing, **self.model_dump(mode="json")}
