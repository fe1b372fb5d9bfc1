"""Samples of a model while it is tuned: the same noise or the same source at every look."""

import torch
from torch import nn

from gencomp_core.workloads.base import Outputs, Workload, complete_settings, makes_texts

N_IMAGES, N_TEXTS = 10, 4
LOOKS = 4
SEED = 0


def looks_of(checks: set[int], steps: int) -> set[int]:
    """Steps after which samples are drawn: the start, and the checks nearest to equal parts of the way.

    >>> sorted(looks_of({10, 20, 30, 40, 50}, 50))
    [0, 10, 20, 30, 50]
    """
    wanted = [steps * (i + 1) / LOOKS for i in range(LOOKS)]
    return {0} | {min((abs(step - at), step) for step in checks)[1] for at in wanted}


@torch.no_grad()
def samples_of(workload: Workload, model: nn.Module) -> Outputs | None:
    """The first few samples at the usual settings; None of what generates nothing."""
    if not hasattr(workload, "generate"):
        return None
    n = min(N_TEXTS, workload.n_prompts) if makes_texts(workload) else N_IMAGES
    found: Outputs = workload.generate(model, 0, n, seed=SEED, settings=complete_settings(workload))
    return found
