"""Precision, recall, density and coverage: are samples realistic, and do they show all that real images show?

Real images and samples each span a manifold: balls around every one, out to its k-th nearest
neighbour of the same set. Sources: Kynkäänniemi 2019 (arXiv:1904.06991), precision and recall with
k = 3; Naeem 2020 (arXiv:2002.09797), density and coverage with k = 5. All four depend on the number
of samples and of real images: compare only numbers with the same counts.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.intervals import Interval, mean_interval

K_PRECISION = 3
K_DENSITY = 5
CHUNK = 1000


@dataclass(frozen=True)
class PrecisionRecall:
    """Realism and variety of samples, all higher is better.

    The intervals are of the mean over samples or over real images, with the balls held fixed.

    Attributes:
        precision: share of samples that lie in a ball of a real image.
        recall: share of real images that lie in a ball of a sample.
        density: real balls a sample lies in, over k; 1 is expected of real images, more is possible.
        coverage: share of real images with a sample in their own ball. See `perfect_coverage`.
    """

    precision: Interval
    recall: Interval
    density: Interval
    coverage: Interval


def precision_recall(features: Tensor, real_features: Tensor, *, chunk: int = CHUNK) -> PrecisionRecall:
    """All four of samples against real images.

    Args:
        features: (n, d) float32. real_features: (m, d) float32; both more than `K_DENSITY`.
        chunk: samples whose distances to all real images are held at once, 8 * chunk * m bytes.

    Raises:
        EvaluationError: too few samples on either side.
    """
    if min(len(features), len(real_features)) <= K_DENSITY:
        raise EvaluationError(
            f"Precision and recall need at least {K_DENSITY + 1} samples on both sides, "
            f"got {len(features)} and {len(real_features)}. Ask for more."
        )
    exact, real = features.double(), real_features.double()  # squares of float32 differences cancel badly
    sample_radii = neighbour_distances(exact, K_PRECISION, chunk=chunk)[:, -1]
    to_neighbours = neighbour_distances(real, K_DENSITY, chunk=chunk)
    real_radii, wide_radii = to_neighbours[:, K_PRECISION - 1], to_neighbours[:, K_DENSITY - 1]

    precise, density = [], []
    recalled = torch.zeros(len(real), dtype=torch.bool)
    nearest = torch.full((len(real),), math.inf, dtype=torch.float64)
    for part, radii in zip(torch.split(exact, chunk), torch.split(sample_radii, chunk), strict=True):
        distances = torch.cdist(part, real)
        precise.append((distances <= real_radii).any(1))
        density.append((distances <= wide_radii).sum(1).double() / K_DENSITY)
        recalled |= (distances <= radii[:, None]).any(0)
        nearest = nearest.minimum(distances.amin(0))
    return PrecisionRecall(
        precision=_share(torch.cat(precise)),
        recall=_share(recalled),
        density=mean_interval(torch.cat(density)),
        coverage=_share(nearest <= wide_radii),
    )


def perfect_coverage(n: int, m: int, *, k: int = K_DENSITY) -> float:
    """Coverage to be expected of n new real images against m others: the k nearest are not all of the m.

    Source: Naeem 2020 (arXiv:2002.09797), section 3.3.
    """
    return 1 - math.prod((m - i) / (n + m - i) for i in range(1, k + 1))


def neighbour_distances(features: Tensor, k: int, *, chunk: int = CHUNK) -> Tensor:
    """Distances to the 1st to k-th nearest other rows, ascending: (n, d) -> (n, k), k < n."""
    found = []
    for start in range(0, len(features), chunk):
        part = features[start : start + chunk]
        distances = torch.cdist(part, features)
        own = torch.arange(len(part))
        distances[own, start + own] = math.inf
        found.append(distances.topk(k, largest=False).values)
    return torch.cat(found)


def _share(holds: Tensor) -> Interval:
    """Share of True with its interval, within [0, 1]: centring may push an end out by a rounding of the bootstrap."""
    interval = mean_interval(holds)
    return Interval(interval.value, max(interval.low, 0.0), min(interval.high, 1.0))
