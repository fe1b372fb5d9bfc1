"""Services that a job can carry out in no time, for tests of how jobs are carried out."""

import time
from collections.abc import Generator, Mapping
from typing import Any

from gencomp_core.errors import EvaluationError
from gencomp_core.records import Progress
from gencomp_core.store import Store

Steps = Generator[Progress, None, dict[str, Any]]


def count(store: Store, parameters: Mapping[str, Any]) -> Steps:
    """Counts to `n`, `pause` seconds apart."""
    for number in range(parameters["n"]):
        yield Progress("counting", number, parameters["n"])
        time.sleep(parameters.get("pause", 0))
    return {"n": parameters["n"]}


def refuse(store: Store, parameters: Mapping[str, Any]) -> Steps:
    """Fails as a user's error does."""
    yield Progress("looking", 0, 1)
    raise EvaluationError("samples must be in [50, 50000], got 3. Ask for more.")


def break_down(store: Store, parameters: Mapping[str, Any]) -> Steps:
    """Fails as a bug does."""
    yield Progress("looking", 0, 1)
    raise ZeroDivisionError("of course")


def sleep_deaf(store: Store, parameters: Mapping[str, Any]) -> Steps:
    """Sleeps in a process of its own and looks at nothing meanwhile."""
    import subprocess
    import sys

    yield Progress("asleep", 0, 1)
    while True:
        try:
            subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"], check=False)
        except KeyboardInterrupt:
            continue
