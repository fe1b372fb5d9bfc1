"""What is known of one layer for its card: how its weights are spread, why it is sensitive, and the usual cure."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from gencomp_core.runtime_env import ASSETS

N_BINS = 61
HEAVY = 8.0
"""Largest |w| over root mean square beyond which a few weights set the step of all; of normal weights it is 4 to 5."""

SMALL = 0.005
CONCENTRATED = 3.0


@dataclass(frozen=True, eq=False)
class WeightProfile:
    """How the weights of a layer are spread.

    Attributes:
        shape: of the weight.
        edges, counts: histogram over equal bins: (n + 1,) and (n,).
        root_mean_square, largest: of |w|.
        outlier_ratio: largest over root mean square.
        share: of the network's weights that are in it.
    """

    shape: tuple[int, ...]
    edges: np.ndarray
    counts: np.ndarray
    root_mean_square: float
    largest: float
    outlier_ratio: float
    share: float


@cache
def weight_profile(workload: str, layer: str) -> WeightProfile | None:
    """Profile of a layer of a bundled network, read from its checkpoint without torch; None where that can't be."""
    path = ASSETS / "checkpoints" / workload / "model.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            weight = file.get_tensor(f"{layer}.weight").astype(np.float32)
            total = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError, TypeError):
        return None
    counts, edges = np.histogram(weight, N_BINS)
    spread = float(np.sqrt(np.mean(np.square(weight)))) or 1.0
    largest = float(np.abs(weight).max())
    return WeightProfile(weight.shape, edges, counts, spread, largest, largest / spread, weight.size / total)


def reasons(
    layer: str, layers: list[str], profile: WeightProfile | None, positions: pd.Series
) -> list[tuple[str, str]]:
    """Why a layer may be sensitive, each with the usual cure.

    Args:
        layers: all, in the order of the model.
        positions: damage by position under one option; empty where there is only one.
    """
    found: list[tuple[str, str]] = []
    if profile is not None and profile.outlier_ratio > HEAVY:
        found.append(
            (
                f"Its largest weight is {profile.outlier_ratio:.1f} × its root mean square, so that one step must span "
                "a wide range.",
                "Smaller groups or MSE clipping; more bits for this layer alone.",
            )
        )
    if profile is not None and profile.share < SMALL:
        found.append(
            (f"It holds {profile.share:.2%} of the weights: there is little to win.", "Skip it: it costs few bytes.")
        )
    if layer in (layers[0], layers[-1]):
        place = "first" if layer == layers[0] else "last"
        found.append((f"It is the {place} layer: nothing {'before' if place == 'first' else 'after'} it makes up for "
                      "errors.", "Keep it at 8 bits."))  # fmt: skip
    if len(positions) > 1 and positions.mean() > 0 and positions.max() > CONCENTRATED * positions.mean():
        found.append(
            (
                f"Its damage is done at {positions.idxmax()}: {positions.max() / positions.mean():.1f} × the mean.",
                "Calibrate there, or spend its bits where that part of the generation matters.",
            )
        )
    return found
