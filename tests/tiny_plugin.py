"""Workloads that other processes can load: `plugin:tests.tiny_plugin:vae`."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import torch
from torch import nn

from gencomp_core.errors import EvaluationError
from tests.tiny import TinyVAE


def zeros(model: nn.Module) -> float:
    """Fraction of zeros in the first convolution."""
    weight = model.get_parameter("encoder.0.weight")
    return float(torch.eq(weight, 0).float().mean())


class Deadly(TinyVAE):
    """Can't be measured with half of its weights zero, and takes its process along beyond that."""

    def generate(self, model: nn.Module, start: int, stop: int, **options: Any) -> Any:
        if zeros(model) > 0.6:
            os.kill(os.getpid(), signal.SIGKILL)
        if zeros(model) > 0.4:
            raise EvaluationError("Half of the weights are zero. Keep more.")
        return super().generate(model, start, stop, **options)


class Slow(TinyVAE):
    """Takes half a second for every batch."""

    def generate(self, model: nn.Module, start: int, stop: int, **options: Any) -> Any:
        time.sleep(0.5)
        return super().generate(model, start, stop, **options)


class Deaf(TinyVAE):
    """Waits for a process of its own, whatever anybody says."""

    def generate(self, model: nn.Module, start: int, stop: int, **options: Any) -> Any:
        while True:
            try:
                subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"], check=False)
            except KeyboardInterrupt:
                continue


vae, deadly, slow, deaf = TinyVAE, Deadly, Slow, Deaf
