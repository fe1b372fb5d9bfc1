"""Carry out one job in this process: heartbeat, progress, cancelling, and how it ended."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from gencomp_core.errors import GenCompError, JobError
from gencomp_core.records import Job, JobProgress, JobState, Progress
from gencomp_core.services.job_kinds import KINDS
from gencomp_core.services.processes import identity
from gencomp_core.store import Jobs, Store

BEAT_S = 1.0
LOOK_S = 0.25
Report = Callable[[JobProgress], None]
log = logging.getLogger("gencomp")


class Pace:
    """Time left, at the pace since the first thing that was told; a fraction that falls begins anew."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None
        self._last = 0.0

    def seconds_left(self, fraction: float, *, at: float) -> float | None:
        """Seconds until 1 is reached; None while nothing can be said."""
        if self._began is None or fraction < self._last:
            self._began = (fraction, at)
        self._last = fraction
        gained, seconds = fraction - self._began[0], at - self._began[1]
        return seconds / gained * (1 - fraction) if gained > 0 and seconds > 0 else None


def carry_out(store: Store, job: Job, *, report: Report) -> dict[str, Any]:
    """Carry out a queued job in this process, whose main thread must be the caller's; what its service returned.

    Args:
        report: called with each progress.

    Raises:
        JobError: another process has it, or it was cancelled before it began.
        KeyboardInterrupt: Ctrl-C, or it was cancelled.
        GenCompError: what the service raised.
    """
    watch = _Watch(Jobs(store), job)
    if not watch.begin():
        raise JobError(f"Job {job.id} is being carried out by another process, or was cancelled.")
    try:
        with _interruptible(), watch:
            steps = KINDS[job.kind].service()(store, job.parameters)
            with closing(steps):
                while True:
                    try:
                        report(watch.note(next(steps)))
                    except StopIteration as finished:
                        result: dict[str, Any] = finished.value
                        break
    except KeyboardInterrupt:
        watch.end("cancelled", "Cancelled; finished measurements are kept.")
        raise
    except GenCompError as error:
        watch.end("failed", str(error))
        raise
    except BaseException as error:
        watch.end("failed", f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    watch.end("done", "", result)
    return result


class _Watch:
    """A thread that tells the store of a job every second, and interrupts the main thread when it is cancelled."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self.jobs, self.job = jobs, job
        self.worker = identity()
        self.pace = Pace()
        self.progress: JobProgress | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gencomp-heartbeat", daemon=True)

    def begin(self) -> bool:
        if not self.jobs.claim(self.job.id, self.worker, at=time.time()):
            return False
        self.note(Progress("starting", 0, 1))
        return self.jobs.beat(self.job.id, self.worker, at=time.time(), progress=self.progress)

    def note(self, progress: Progress) -> JobProgress:
        """Remember how far it has come; the thread tells the store."""
        left = self.pace.seconds_left(progress.fraction, at=time.monotonic())
        self.progress = JobProgress(
            what=progress.text,
            done=progress.done,
            total=progress.total,
            fraction=progress.fraction,
            seconds_left=left,
        )
        return self.progress

    def end(self, state: JobState, message: str, result: dict[str, Any] | None = None) -> None:
        self.jobs.beat(self.job.id, self.worker, at=time.time(), progress=self.progress)
        self.jobs.end(self.job.id, self.worker, state, at=time.time(), message=message, result=result)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        last_beat = 0.0
        while not self._over.wait(LOOK_S):
            try:
                if time.monotonic() - last_beat >= BEAT_S:
                    ours = self.jobs.beat(self.job.id, self.worker, at=time.time(), progress=self.progress)
                    last_beat = time.monotonic()
                else:
                    ours = True
                seen = self.jobs.get(self.job.id)
            except SQLAlchemyError as error:
                log.warning("the store does not answer: %s", str(error).splitlines()[0])
                continue
            if not ours or seen is None or seen.cancel_requested:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # wakes it from a wait, too
                return


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt in the main thread, also where a shell started us with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
