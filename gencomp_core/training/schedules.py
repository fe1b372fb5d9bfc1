"""Learning-rate schedules: plain functions of the step, returning a factor in [0, 1]."""

import math
from typing import Protocol

from gencomp_core.registry import Registry


class Schedule(Protocol):
    """Factor on the peak learning rate at `step` of `steps`, `warmup` steps included."""

    def __call__(self, step: int, *, steps: int, warmup: int) -> float:
        """Factor in [0, 1]."""
        ...


schedules: Registry[Schedule] = Registry("schedule")


def _warm(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


@schedules.add("constant")
def constant(step: int, *, steps: int, warmup: int) -> float:
    """Linear warm-up, then the peak rate."""
    return _warm(step, warmup)


@schedules.add("cosine")
def cosine(step: int, *, steps: int, warmup: int) -> float:
    """Linear warm-up, then half a cosine down to zero (Loshchilov & Hutter 2017, arXiv:1608.03983)."""
    if step < warmup:
        return _warm(step, warmup)
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@schedules.add("inverse-sqrt")
def inverse_sqrt(step: int, *, steps: int, warmup: int) -> float:
    """Linear warm-up, then decay with 1/√step (Vaswani 2017, arXiv:1706.03762, section 5.3)."""
    peak_step = max(1, warmup)
    return min((step + 1) / peak_step, math.sqrt(peak_step / (step + 1)))
