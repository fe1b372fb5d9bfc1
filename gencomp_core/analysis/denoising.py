"""How two samplers drift apart from the same noise, step by step."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gencomp_core.errors import EvaluationError
from gencomp_core.workloads.base import Settings, Workload


@runtime_checkable
class Denoises(Protocol):
    """A workload whose samples come out of noise in steps that can be looked at."""

    def denoise(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> list[Tensor]:
        """States of the numbered samples from noise to image: steps + 1 tensors (n, c, h, w) float32."""


@torch.inference_mode()
def denoising_states(workload: Workload, model: nn.Module, n: int, *, seed: int, settings: Settings) -> Tensor:
    """States of samples 0 to n - 1 on their way from noise to image: (steps + 1, n, c, h, w) float32 on the CPU.

    Raises:
        EvaluationError: the workload does not sample in steps.
    """
    if not isinstance(workload, Denoises):
        raise EvaluationError(f"{workload.name} makes its samples in one step. Use a diffusion model.")
    return torch.stack(workload.denoise(model, 0, n, seed=seed, settings=settings)).float().cpu()


def divergence(states: Tensor, dense: Tensor) -> Tensor:
    """Distance from the dense states after each step, as a share of the dense ones' size.

    d(t) = ‖x(t) - x_dense(t)‖ / ‖x_dense(t)‖, over all pixels of a sample; 0 at the noise that both share.

    Args:
        states, dense: (steps + 1, n, c, h, w) float32.

    Returns:
        (steps + 1, n) float32.
    """
    size = dense.flatten(2).norm(dim=2).clamp_min(torch.finfo(dense.dtype).tiny)
    distance: Tensor = (states - dense).flatten(2).norm(dim=2) / size
    return distance
