"""Same-seed fidelity: how far compressed samples drift from the dense ones, pair by pair."""

import math

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from gencomp_core.evaluate.intervals import Interval, mean_interval


def psnr(images: Tensor, dense: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair in dB, at most 100: (n, ...) uint8 twice -> (n,)."""
    error = (images.float() - dense.float()).square().flatten(1).mean(1)
    smallest = 255**2 * 1e-10  # equal images get 100 dB
    decibels: Tensor = 20 * math.log10(255) - 10 * torch.log10(error.clamp_min(smallest))
    return decibels


def ssim(images: Tensor, dense: Tensor) -> Tensor:
    """Structural similarity of each pair (Wang 2004): NCHW uint8 twice -> (n,) float32, 1 is equal."""
    values = structural_similarity_index_measure(
        images.float(), dense.float(), data_range=255.0, reduction="none", return_full_image=False
    )
    assert isinstance(values, Tensor)
    return values


def feature_distance(features: Tensor, dense_features: Tensor) -> Tensor:
    """Euclidean distance of each pair in feature space: (n, d) twice -> (n,)."""
    distances: Tensor = torch.linalg.vector_norm(features - dense_features, dim=1)
    return distances


def worst_pairs(features: Tensor, dense_features: Tensor, n: int) -> Tensor:
    """Numbers of the n samples that drifted farthest, worst first: (n,) int64."""
    return torch.topk(feature_distance(features, dense_features), min(n, len(features))).indices


def fidelity(images: Tensor, dense: Tensor, features: Tensor, dense_features: Tensor) -> dict[str, Interval]:
    """Mean of each pairwise measure with its interval.

    Args:
        images, dense: NCHW uint8 of the same sample numbers.
        features, dense_features: their features, (n, d).
    """
    return {
        "psnr_db": mean_interval(psnr(images, dense)),
        "ssim": mean_interval(ssim(images, dense)),
        "feature_distance": mean_interval(feature_distance(features, dense_features)),
    }
