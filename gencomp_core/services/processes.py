"""Processes: who this one is, whether another one still runs, and ending one with its children."""

import platform

import psutil

from gencomp_core.records import WorkerIdentity

CLOCK_STEP_S = 1.0  # creation times are told to a clock tick, and shift when the clock is set


def identity(pid: int | None = None) -> WorkerIdentity:
    """This process, or one of this machine.

    Raises:
        psutil.NoSuchProcess: there is none of that number.
    """
    process = psutil.Process(pid)
    return WorkerIdentity(host=platform.node(), pid=process.pid, created=process.create_time())


def is_here(worker: WorkerIdentity) -> bool:
    """Whether it ran on this machine, so that its process can be looked at."""
    return worker.host == platform.node()


def is_alive(worker: WorkerIdentity) -> bool:
    """Whether the very process runs: a pid that was given to another one has another creation time."""
    return _process(worker) is not None


def end_with_children(worker: WorkerIdentity, *, within_s: float) -> None:
    """End a process of this machine and all that it started: politely, and after half the time by force."""
    process = _process(worker)
    if process is None:
        return
    _end([process, *_children(process)], within_s)


def _process(worker: WorkerIdentity) -> psutil.Process | None:
    try:
        process = psutil.Process(worker.pid)
        same = abs(process.create_time() - worker.created) < CLOCK_STEP_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _end(processes: list[psutil.Process], within_s: float) -> None:
    for send in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            try:
                send(process)
            except psutil.Error:
                continue
        processes = psutil.wait_procs(processes, timeout=within_s / 2)[1]
