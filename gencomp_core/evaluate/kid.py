"""Kernel inception distance: an unbiased distance between feature sets, so small n is not punished.

Source: Bińkowski 2018 (arXiv:1801.01401); the kernel is torchmetrics'.
"""

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from gencomp_core.evaluate.intervals import Interval

N_SUBSETS = 50
SUBSET_SIZE = 500


def kid(features: Tensor, real_features: Tensor, *, n_subsets: int = N_SUBSETS, seed: int = 0) -> Interval:
    """KID as the mean over random subsets, with the 95 % interval of that mean.

    Args:
        features: (n, d) float32. real_features: (m, d) float32.
        n_subsets: subsets of 500 (or fewer, where fewer are there) from each side.
    """
    size = min(SUBSET_SIZE, len(features), len(real_features))
    generator = torch.Generator().manual_seed(seed)
    distances = torch.stack(
        [
            poly_mmd(_subset(features, size, generator), _subset(real_features, size, generator))
            for _ in range(n_subsets)
        ]
    ).double()
    mean = distances.mean().item()
    half = 1.96 * distances.std().item() / n_subsets**0.5
    return Interval(mean, mean - half, mean + half)


def _subset(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:size]].double()
