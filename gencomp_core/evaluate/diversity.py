"""Diversity of samples with classes: are all classes made, as asked, and does each vary as real images do?

A class is given by its number. Predicted classes come from a classifier (`features.classify`); asked
are the classes that a conditional model was given.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.fidelity import feature_distance
from gencomp_core.evaluate.intervals import Interval, centred_interval, mean_interval, resamples

N_RESAMPLES = 1000


def class_shares(predicted: Tensor, n_classes: int) -> Tensor:
    """Share of samples in each class: (n,) int64 -> (n_classes,) float64, summing to 1."""
    return predicted.bincount(minlength=n_classes).double() / len(predicted)


def modes_hit(predicted: Tensor, n_classes: int, *, share: float = 0.1) -> int:
    """Classes that get at least `share` of an even share of the samples: (n,) int64 -> 0 to n_classes."""
    return int((class_shares(predicted, n_classes) * n_classes >= share).sum())


def kl_to_uniform(predicted: Tensor, n_classes: int) -> float:
    """KL(class histogram || uniform) in nats: 0 is even, ln(n_classes) is one class alone.

    KL = ln K - H(p), with 0 ln 0 = 0.
    """
    return math.log(n_classes) - float(torch.special.entr(class_shares(predicted, n_classes)).sum())


def class_accuracy(predicted: Tensor, asked: Tensor) -> dict[int, float]:
    """Share of the samples asked for in each class that are taken for it, by class: (n,) int64 twice."""
    right = (predicted == asked).double()
    return {label: float(right[asked == label].mean()) for label in _classes(asked)}


def diversity_by_class(
    features: Tensor, labels: Tensor, real_features: Tensor, real_labels: Tensor
) -> dict[int, Interval]:
    """Mean distance between samples of a class over that between real images of it, by class.

    1 is as diverse as real images, near 0 is collapsed. Classes with fewer than two samples are left
    out: `modes_hit` counts those.

    Args:
        features: (n, d) float32. labels: (n,) int64, predicted or asked; with the classes asked for,
            samples of a wrong class look like variety.
        real_features: (m, d) float32. real_labels: (m,) int64.

    Raises:
        EvaluationError: a class without two different real images.
    """
    replicates = _relative_diversity(features, labels, real_features, real_labels)
    return {label: centred_interval(value, varied) for label, (value, varied) in replicates.items()}


def same_class_diversity(features: Tensor, labels: Tensor, real_features: Tensor, real_labels: Tensor) -> Interval:
    """Mean over classes of `diversity_by_class`: every class counts the same.

    Raises:
        EvaluationError: no class with two samples, or a class without two different real images.
    """
    found = _relative_diversity(features, labels, real_features, real_labels)
    if not found:
        raise EvaluationError(
            f"Same-class diversity needs two samples of a class, got {len(features)} in {len(_classes(labels))} "
            "classes. Ask for more."
        )
    values, replicates = zip(*found.values(), strict=True)
    return centred_interval(sum(values) / len(values), torch.stack(replicates).mean(0))


@dataclass(frozen=True)
class ClassChange:
    """How far the samples of one class moved.

    Attributes:
        label: number of the class.
        n_samples: pairs compared.
        distance: mean feature distance of a compressed sample to its dense one.
    """

    label: int
    n_samples: int
    distance: Interval


def per_class_change(features: Tensor, dense_features: Tensor, labels: Tensor) -> list[ClassChange]:
    """Which classes compression changes most, worst first.

    Args:
        features, dense_features: (n, d) float32 of the same sample numbers.
        labels: (n,) int64.
    """
    distances = feature_distance(features, dense_features)
    members = {label: distances[labels == label] for label in _classes(labels)}
    changes = [ClassChange(label, len(own), mean_interval(own)) for label, own in members.items()]
    return sorted(changes, key=lambda change: change.distance.value, reverse=True)


def _relative_diversity(
    features: Tensor, labels: Tensor, real_features: Tensor, real_labels: Tensor
) -> dict[int, tuple[float, Tensor]]:
    """Value and (N_RESAMPLES,) replicates of each class with two samples; the real images stay fixed."""
    found = {}
    for label in _classes(labels):
        own, real = features[labels == label], real_features[real_labels == label]
        if len(own) < 2:
            continue
        real_distance = float(torch.pdist(real).mean()) if len(real) > 1 else 0.0
        if real_distance == 0:
            raise EvaluationError(
                f"Class {label} needs at least two different real images to compare with, got {len(real)} images. "
                "Give real images of every class."
            )
        value, replicates = _mean_pair_distance(own, seed=label)
        found[label] = value / real_distance, replicates / real_distance
    return found


def _mean_pair_distance(features: Tensor, *, seed: int) -> tuple[float, Tensor]:
    """Mean distance over pairs of rows, and that of bootstrap resamples: (n, d) -> value, (N_RESAMPLES,) float64.

    A resample repeats rows, whose distance of 0 pulls it down by about 1 / n: to be centred.
    """
    n = len(features)
    # without the matrix product equal rows are at distance 0 exactly, and a collapse shows as one
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").double()
    counts = torch.stack([row.bincount(minlength=n) for row in resamples(n, N_RESAMPLES, seed=seed)]).double()
    replicates = torch.einsum("ri,ij,rj->r", counts, distances, counts) / (n * (n - 1))
    return float(distances.sum()) / (n * (n - 1)), replicates


def _classes(labels: Tensor) -> list[int]:
    """Classes that occur, ascending."""
    found: list[int] = torch.unique(labels).tolist()
    return found
