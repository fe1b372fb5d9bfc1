"""What may end its process runs in one of its own, whose death is one clear line."""

import subprocess
import sys

from gencomp_core.errors import EvaluationError
from gencomp_core.runtime_env import command_environment

FACTS_FILE = "facts.json"
"""What both processes know of a converted model, in its folder."""


def in_own_process(engine: str, module: str, task: str, *arguments: str) -> None:
    """Run a module as a command: `task` and its arguments.

    Args:
        engine: name for messages.

    Raises:
        EvaluationError: it failed, or it died.
    """
    command = [sys.executable, "-m", module, task, *arguments]
    done = subprocess.run(command, capture_output=True, check=False, env=command_environment())
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = f"signal {-done.returncode}" if done.returncode < 0 else (lines or ["no reason given"])[-1]
        raise EvaluationError(f"{engine} could not {task} the model ({reason}). Use --runtime eager.")
