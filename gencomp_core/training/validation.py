"""FID while training: of samples at fixed noise, so that two validations differ by the weights alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gencomp_core.evaluate.features import feature_spaces
from gencomp_core.evaluate.fid import fid
from gencomp_core.training.image_batches import N_CLASSES, chunks
from gencomp_core.training.task import to_device
from gencomp_core.workloads.base import to_pixels

BATCH = 500


def sample_fid(
    network: nn.Module,
    n_samples: int,
    noise_shape: tuple[int, ...],
    sample: Callable[[Tensor, Tensor], Tensor],
    *,
    seed: int = 0,
) -> float:
    """FID of samples at fixed noise, their classes in turn.

    Args:
        network: says on which device to sample.
        noise_shape: of one sample's standard normal noise.
        sample: noise (n, *noise_shape), labels (n,) -> images (n, 1, 28, 28) float32 in [0, 1].
        seed: of the noise.
    """
    noise = torch.randn(n_samples, *noise_shape, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(n_samples) % N_CLASSES
    parts = [to_device(network, noise[part], labels[part]) for part in chunks(n_samples, BATCH)]
    images = torch.cat([to_pixels(sample(*part)) for part in parts])
    space = feature_spaces["fashion"]
    return fid(space.extract(images), space.reference())
