"""Latent space of a generator: which dimensions carry information, and paths between two latents."""

from typing import Literal

import torch
from torch import Tensor

from gencomp_core.errors import EvaluationError

ACTIVE_VARIANCE = 0.01


def unit_variances(means: Tensor) -> Tensor:
    """Variance of each latent dimension's posterior mean over images, Var_x(E[z|x]): (n, d) -> (d,) float64.

    Source: Burda 2016 (arXiv:1509.00519), section 5.2.
    """
    return means.double().var(0)


def active_units(means: Tensor, *, threshold: float = ACTIVE_VARIANCE) -> list[int]:
    """Latent dimensions that depend on the image, ascending; their number is the count of active units.

    Args:
        means: (n, d) float32, posterior means of n images.
        threshold: variance above which a dimension is active.

    Raises:
        EvaluationError: fewer than two images.
    """
    if len(means) < 2:
        raise EvaluationError(f"Active units need at least 2 images, got {len(means)}. Encode more.")
    found: list[int] = (unit_variances(means) > threshold).nonzero()[:, 0].tolist()
    return found


def interpolate(first: Tensor, last: Tensor, n: int, *, path: Literal["spherical", "linear"] = "spherical") -> Tensor:
    """n latents at even steps from each first to its last, both ends included.

    Gaussian latents lie near a sphere; a straight line leaves it, so that its middle looks unlike any
    sample. sin((1-t)θ)/sin θ · a + sin(tθ)/sin θ · b, θ the angle between a and b.

    Args:
        first, last: (b, d) float32. Where they are parallel no arc is the shortest, and the path is straight.
        n: at least 2.

    Returns:
        (b, n, d) float32.

    Source: Shoemake 1985 (SIGGRAPH, "Animating rotation with quaternion curves"); for latents White 2016
    (arXiv:1609.04468).

    Raises:
        EvaluationError: fewer than two steps.
    """
    if n < 2:
        raise EvaluationError(f"An interpolation needs at least its 2 ends, got n = {n}. Ask for more steps.")
    a, b = first.double()[:, None], last.double()[:, None]
    t = torch.linspace(0, 1, n, dtype=torch.float64)[:, None].to(a.device)
    weight_a, weight_b = 1 - t, t
    if path == "spherical":
        angle = _angle(a, b)
        curved = angle.sin() > 1e-6
        weight_a, weight_b = (
            torch.where(curved, (weight * angle).sin() / angle.sin(), weight) for weight in (weight_a, weight_b)
        )
    return (weight_a * a + weight_b * b).to(first.dtype)


def interpolation_latents(
    noise_a: Tensor, noise_b: Tensor, n: int, *, path: Literal["spherical", "linear"] = "spherical"
) -> Tensor:
    """Latents of strips of n images, strip after strip, as a decoder takes them.

    Classes go with them as `labels.repeat_interleave(n)`.

    Args:
        noise_a, noise_b: (b, d) float32, where each strip starts and ends.

    Returns:
        (b * n, d) float32.
    """
    return interpolate(noise_a, noise_b, n, path=path).flatten(0, 1)


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle of vectors along the last dimension, in [0, π]: (..., d) twice -> (..., 1).

    2 atan2(|a' - b'|, |a' + b'|) of the unit vectors: exact for small angles too, where acos is not.
    Source: Kahan 2006, "How futile are mindless assessments of roundoff in floating-point computation?".
    """
    a, b = (x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-12) for x in (a, b))
    apart, along = (torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (a - b, a + b))
    angle: Tensor = 2 * torch.atan2(apart, along)
    return angle
