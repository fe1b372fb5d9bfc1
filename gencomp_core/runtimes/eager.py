"""torch eager: the network's own forward pass, layer by layer."""

from collections.abc import Callable

from torch import nn

from gencomp_core.workloads.base import Settings, Workload


def generator_run(workload: Workload, model: nn.Module, *, batch: int, settings: Settings) -> Callable[[], object]:
    """One whole generation of `batch` samples, ready to be called and timed."""

    def run() -> object:
        return workload.generate(model, 0, batch, seed=0, settings=settings)

    return run
