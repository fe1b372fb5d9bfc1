"""Where calls are carried out: processes of this machine, or a Dask cluster, as `concurrent.futures` executors."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from gencomp_core.errors import EvaluationError, JobError, MissingDependencyError

P = ParamSpec("P")
T = TypeVar("T")
CONNECT_WITHIN_S = 10


class LocalProcesses(Executor):
    """Processes of this machine, with one thread for tensors each.

    `ProcessPoolExecutor` fails every call when one of its processes dies. Here each process is a pool of its
    own, so that only the call that died with it fails, and a fresh process takes the next one.
    """

    def __init__(self, n_processes: int) -> None:
        self._threads = ThreadPoolExecutor(n_processes, thread_name_prefix="gencomp-worker")
        self._own = threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self._starting = threading.Lock()
        self._is_open = True

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Carry out a call in the next process that is free."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; without `wait`, end those under way."""
        self._is_open = False  # from here on no thread starts a process
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        with self._starting:
            for process in [] if wait else multiprocessing.active_children():
                process.kill()
        for pool in self._pools:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _call(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        with self._starting:
            if not self._is_open:
                raise CancelledError
            if getattr(self._own, "pool", None) is None:
                context = multiprocessing.get_context("spawn")  # never fork once torch is loaded
                self._own.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
                self._pools.append(self._own.pool)
            begun: Future[T] = self._own.pool.submit(fn, *args, **kwargs)  # starts the process
        try:
            return begun.result()
        except BrokenProcessPool:
            self._own.pool = None
            raise EvaluationError(
                "The process that measured it died: it was killed, ran out of memory or crashed. Try it alone."
            ) from None


@contextmanager
def workers(n_processes: int = 1, scheduler: str | None = None) -> Iterator[Executor | None]:
    """The executor that a user asked for; None for this process. Left early, it drops what has not begun.

    Args:
        scheduler: address of a Dask scheduler, such as `tcp://10.0.0.1:8786`; its workers need GenComp installed.

    Raises:
        JobError: the scheduler does not answer.
        MissingDependencyError: Dask is not installed.
    """
    if scheduler:
        with _cluster(scheduler) as executor:
            yield executor
        return
    if n_processes == 1:
        yield None
        return
    executor = LocalProcesses(n_processes)
    finished = False
    try:
        yield executor
        finished = True
    finally:
        executor.shutdown(wait=finished, cancel_futures=True)


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError("--scheduler needs a package: pip install distributed.") from None
    try:
        client = Client(address, timeout=CONNECT_WITHIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise JobError(f"--scheduler {address} does not answer ({reason}). Start one with 'dask scheduler'.") from None
    try:
        yield client.get_executor()
    finally:
        client.close()


def _begin() -> None:
    """A worker has one thread, leaves Ctrl-C to its parent, and does not outlive it."""
    os.environ["OMP_NUM_THREADS"] = "1"  # torch is not loaded yet
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
