"""torch eager: the network's own forward pass, layer by layer."""

from collections.abc import Callable

from torch import nn

from gencomp_core.workloads.base import Settings, Workload, work


def generator_run(workload: Workload, model: nn.Module, *, batch: int, settings: Settings) -> Callable[[], object]:
    """One whole generation of `batch` samples, ready to be called and timed."""

    def run() -> object:
        return work(workload, model, 0, batch, settings=settings)

    return run
