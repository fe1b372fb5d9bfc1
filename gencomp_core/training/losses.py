"""Loss functions: plain functions of tensors, each with its paper."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def flow_matching_pair(images: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Point on the straight path and the velocity there.

    x_t = (1 - t) · image + t · noise; dx/dt = noise - image.

    Args:
        images: (n, 1, 28, 28) float32 in [-1, 1].
        noise: same shape, standard normal.
        t: (n,) float32 in [0, 1].

    Source: Lipman 2023 (arXiv:2210.02747), optimal-transport path.
    """
    t = t[:, None, None, None]
    return (1 - t) * images + t * noise, noise - images


def logit_normal_times(n: int, generator: torch.Generator) -> Tensor:
    """Times sigmoid(N(0, 1)) that favour the middle of the path: (n,) float32.

    Source: Esser 2024 (arXiv:2403.03206), section 3.1.
    """
    return torch.randn(n, generator=generator).sigmoid()


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) per latent dimension: (n, d) -> (n, d) nats.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def free_bits(kl: Tensor, floor: float) -> Tensor:
    """Sum over dimensions of max(mean KL, floor): dimensions below `floor` nats are not pushed down.

    Args:
        kl: (n, d) nats per sample and dimension.

    Source: Kingma 2016 (arXiv:1606.04934), section 4 ("free bits").
    """
    return kl.mean(dim=0).clamp_min(floor).sum()


def gaussian_nll_optimal_variance(prediction: Tensor, target: Tensor) -> Tensor:
    """Gaussian negative log-likelihood per image at the variance that minimises it (up to a constant).

    With one shared variance the optimum is the mean squared error, so that the loss is
    d / 2 · log(MSE), d pixels an image: reconstruction and KL balance without a weight.

    Args:
        prediction, target: (n, ...) float32.

    Source: Rybkin 2021 (arXiv:2006.13202), optimal σ-VAE.
    """
    n_pixels = prediction[0].numel()
    return 0.5 * n_pixels * F.mse_loss(prediction, target).clamp_min(1e-8).log()


def smoothed_cross_entropy(scores: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy against (1 - s) · one-hot + s / n_classes (Szegedy 2016, arXiv:1512.00567)."""
    return nn.functional.cross_entropy(scores, labels, label_smoothing=smoothing)
