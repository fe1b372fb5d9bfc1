"""The runtimes that users pick from."""

from collections.abc import Callable
from typing import Protocol

from torch import nn

from gencomp_core.registry import Registry
from gencomp_core.runtimes import eager
from gencomp_core.workloads.base import Settings, Workload


class Runtime(Protocol):
    """Prepares one whole generation of `batch` samples, ready to be called and timed."""

    def __call__(self, workload: Workload, model: nn.Module, *, batch: int, settings: Settings) -> Callable[[], object]:
        """Work to be timed."""
        ...


runtimes: Registry[Runtime] = Registry("runtime")
runtimes.add("eager")(eager.generator_run)
