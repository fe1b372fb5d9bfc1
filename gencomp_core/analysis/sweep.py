"""Carry configurations out with an executor, as they come."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from gencomp_core.analysis.configuration import Configuration
from gencomp_core.errors import GenCompError

Result = TypeVar("Result")
TICK_S = 0.5
log = logging.getLogger("gencomp")


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What became of one configuration.

    Attributes:
        configuration: that was asked for.
        result: None where it failed.
        reason: why it failed, one line.
    """

    configuration: Configuration
    result: Result | None
    reason: str = ""


def sweep(
    configurations: Sequence[Configuration], work: Callable[[Configuration], Result], executor: Executor
) -> Iterator[Outcome[Result] | None]:
    """Outcomes in the order in which they are ready; None twice a second in between, for a look around.

    A configuration that fails, or whose process dies, is one outcome with a reason and not the end.
    """
    pending = {executor.submit(work, configuration): configuration for configuration in configurations}
    while pending:
        ready, _ = wait(pending, timeout=TICK_S, return_when=FIRST_COMPLETED)
        if not ready:
            yield None
        for future in ready:
            configuration, error = pending.pop(future), future.exception()
            if error is None:
                yield Outcome(configuration, future.result())
            else:
                yield Outcome(configuration, None, reason_of(error))


def spread(configurations: Sequence[Configuration]) -> list[Configuration]:
    """An order in which neighbours share no dense samples where possible.

    Whoever comes first samples the dense model for all under the same settings, and the others wait for that.
    """
    groups: dict[object, list[Configuration]] = {}
    for one in configurations:
        groups.setdefault((one.workload, one.n_samples, one.seed, tuple(sorted(one.settings.items()))), []).append(one)
    firsts = [members[0] for members in groups.values()]
    return firsts + [one for members in groups.values() for one in members[1:]]


def reason_of(error: BaseException) -> str:
    """One line for why a measurement failed; what is no user's error leaves its traceback in the log."""
    if isinstance(error, GenCompError):
        return str(error)
    log.error("a measurement failed", exc_info=error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
