"""Paths through the latent space of a model, before and after compression."""

import torch
from torch import Tensor, nn

from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.latent import interpolation_latents
from gencomp_core.workloads.base import HasLatents, Workload, cycling_labels, device_of, numbered_noise, to_pixels


@torch.inference_mode()
def interpolation_strips(workload: Workload, model: nn.Module, *, n_strips: int, n_steps: int, seed: int = 0) -> Tensor:
    """Images along the sphere from latent 2i to latent 2i + 1, one class a strip.

    Returns:
        (n_strips * n_steps, c, h, w) uint8, strip after strip.

    Raises:
        EvaluationError: the workload has no latents.
    """
    if not isinstance(workload, HasLatents):
        raise EvaluationError(f"{workload.name} has no latent to go through. Use a GAN or a VAE.")
    noise = numbered_noise((workload.latent_dim(model),), 0, 2 * n_strips, seed=seed)
    path = interpolation_latents(noise[::2], noise[1::2], n_steps)
    labels = cycling_labels(0, n_strips, len(workload.class_names)).repeat_interleave(n_steps)
    where = device_of(model)
    return to_pixels(workload.brightness(model, path.to(where), labels.to(where)))
