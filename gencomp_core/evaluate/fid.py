"""Fréchet inception distance: how far the features of samples lie from those of real images.

Source: Heusel 2017 (arXiv:1706.08500); computed by torchmetrics. By default the features are those
of our own Fashion classifier, so that the number is NOT comparable with published Inception FIDs;
its printed name says so.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.features import Reference
from gencomp_core.evaluate.intervals import Interval, centred_interval, resamples


class _Given(nn.Module):
    """Stands in for an extractor where the features were taken before."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def fid(features: Tensor, real: Reference) -> float:
    """FID of samples against real images, both in the same feature space.

    Args:
        features: (n, d) float32, n ≥ 2.

    Raises:
        EvaluationError: fewer than two samples.
    """
    if len(features) < 2:
        raise EvaluationError(f"FID needs at least 2 samples, got {len(features)}. Ask for more.")
    metric = FrechetInceptionDistance(_Given(features.shape[1]), reset_real_features=False)
    metric.set_dtype(torch.float64)
    _set_real(metric, real)
    metric.update(features.double(), real=False)
    return float(metric.compute())


def fid_interval(features: Tensor, real: Reference, *, n_resamples: int = 200, seed: int = 0) -> Interval:
    """FID with its 95 % bootstrap interval over samples."""
    return centred_interval(fid(features, real), fid_replicates(features, real, n_resamples=n_resamples, seed=seed))


def fid_replicates(features: Tensor, real: Reference, *, n_resamples: int, seed: int = 0) -> Tensor:
    """FID of bootstrap resamples: (n_resamples,) float64.

    A resample is a weighting of the samples, so that all its moments come from one product; the
    distances are then taken together by `frechet_distance`.

    Args:
        features: (n, d) float32.
    """
    exact = features.double()
    n, d = exact.shape
    counts = torch.stack([row.bincount(minlength=n) for row in resamples(n, n_resamples, seed=seed)]).double()
    means = counts @ exact / n
    upper = torch.triu_indices(d, d)
    products = exact[:, upper[0]] * exact[:, upper[1]]
    seconds = torch.zeros(n_resamples, d, d, dtype=torch.float64)
    seconds[:, upper[0], upper[1]] = counts @ products
    seconds = seconds + seconds.triu(1).transpose(1, 2)
    covariances = (seconds - n * means[:, :, None] * means[:, None, :]) / (n - 1)
    return frechet_distance(means, covariances, real.mean, real.covariance)


def frechet_distance(mean: Tensor, covariance: Tensor, real_mean: Tensor, real_covariance: Tensor) -> Tensor:
    """Squared Fréchet distance of Gaussians, for a batch of them against one.

    |m - r|² + tr(C) + tr(R) - 2 tr((R^½ C R^½)^½); the symmetric form has real eigenvalues.

    Args:
        mean: (b, d) float64. covariance: (b, d, d) float64.
        real_mean: (d,) float64. real_covariance: (d, d) float64.

    Returns:
        (b,) float64, ≥ 0 up to rounding.

    Source: Dowson & Landau 1982, J. Multivariate Analysis 12(3).
    """
    values, vectors = torch.linalg.eigh(real_covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    eigenvalues = torch.linalg.eigvalsh(root @ covariance @ root).clamp_min(0)
    traces = covariance.diagonal(dim1=1, dim2=2).sum(1) + real_covariance.trace()
    distance: Tensor = (mean - real_mean).square().sum(1) + traces - 2 * eigenvalues.sqrt().sum(1)
    return distance


@cache
def noise_floor(real: Reference, n: int) -> float | None:
    """FID of n real test images: what a perfect generator would get at this sample count.

    None where there are fewer than n test images.
    """
    if n > len(real.test_features):
        return None
    order = torch.randperm(len(real.test_features), generator=torch.Generator().manual_seed(0))
    return fid(real.test_features[order[:n]], real)


def _set_real(metric: FrechetInceptionDistance, real: Reference) -> None:
    """Give torchmetrics the sums that it would have collected from the real images."""
    n = real.n
    metric.real_features_sum = real.mean * n
    metric.real_features_cov_sum = real.covariance * (n - 1) + n * real.mean.outer(real.mean)
    metric.real_features_num_samples = torch.tensor(n)
