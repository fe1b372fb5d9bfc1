"""Keeps what C code prints away from standard output, which may be one JSON document."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Send standard output of the process to nowhere inside the block.

    HiGHS prints `transformNewIntegerFeasibleSolution tmpSolver.run()` whatever its options say
    (jump-dev/HiGHS.jl, issue 312). What C still has in its buffer is flushed on both ends.
    """
    with _one_at_a_time:
        try:
            kept = os.dup(1)
        except OSError:  # no standard output to protect
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            _flush()
            os.dup2(nowhere, 1)
            yield
        finally:
            _flush()
            os.dup2(kept, 1)
            os.close(kept)
            os.close(nowhere)


def _flush() -> None:
    try:
        ctypes.CDLL(None).fflush(None)
    except (OSError, AttributeError, TypeError):
        return  # no such function to be found: a line too many is no error
