"""Loss functions: plain functions of tensors, each with its paper."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Scorer = Callable[[Tensor], Tensor]
CURRICULUM_START = -1.5  # nine times in ten t < 0.45
MODE_SEEKING_EPS = 1e-5


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


def min_snr_weights(t: Tensor, gamma: float) -> Tensor:
    """Weights of squared velocity errors under min-SNR-γ: (n,) float32 times -> (n,).

    Min-SNR weighs the squared error of the predicted image by min(SNR, γ). On the straight path
    SNR = ((1 - t) / t)² and the image error is t times the velocity error, which leaves
    t² · min(SNR, γ) = min((1 - t)², γ · t²).

    Source: Hang 2023 (arXiv:2303.09556), equation 8.
    """
    return torch.minimum((1 - t).square(), gamma * t.square())


def logit_normal_times(n: int, generator: torch.Generator, *, mean: float = 0.0) -> Tensor:
    """Times sigmoid(N(mean, 1)); mean 0 favours the middle of the path: (n,) float32.

    Source: Esser 2024 (arXiv:2403.03206), section 3.1.
    """
    return (torch.randn(n, generator=generator) + mean).sigmoid()


def curriculum_mean(step: int, *, steps: int, fraction: float) -> float:
    """Mean of the times' logit: rises on a straight line to 0 over the first `fraction` of the steps.

    Low noise first, the whole path later: an easy-to-hard order (Bengio 2009, ICML) of the times.
    """
    return CURRICULUM_START * (1 - min(1.0, step / (fraction * steps))) if fraction else 0.0


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


def kl_weight(step: int, *, steps: int, beta: float, warmup: float) -> float:
    """Weight of the KL term: rises on a straight line to `beta` over the first `warmup` of the steps.

    Source: Higgins 2017 (ICLR), β-VAE; Bowman 2016 (arXiv:1511.06349), section 3.1, annealing.
    """
    return beta * min(1.0, (step + 1) / max(1.0, warmup * steps))


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


def critic_loss(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """What the critic minimises, from its scores of real and generated images: two (n,) -> scalar.

    `wasserstein`: E[D(fake)] - E[D(real)] (Arjovsky 2017, arXiv:1701.07875); `hinge` (Lim & Ye 2017,
    arXiv:1705.02894); `non-saturating`: logistic loss (Goodfellow 2014, arXiv:1406.2661).
    """
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, kind: str) -> Tensor:
    """What the generator minimises, from the critic's scores of its images: (n,) -> scalar."""
    return F.softplus(-fake).mean() if kind == "non-saturating" else -fake.mean()


def mode_seeking_loss(images: Tensor, latents: Tensor) -> Tensor:
    """1 / (d(images) / d(latents) + ε): small when different latents give different images.

    d is the mean absolute difference over all pairs; sample i pairs with sample i + n / 2, and an
    odd last one with none.

    Args:
        images: (n, ...) float32. latents: (n, d) float32; both of a pair belong to one class.

    Source: Mao 2019 (arXiv:1903.05628), equation 4, as a loss in its authors' code.
    """
    half = len(images) // 2
    image_distance = (images[:half] - images[half : 2 * half]).abs().mean()
    latent_distance = (latents[:half] - latents[half : 2 * half]).abs().mean()
    return 1 / (image_distance / latent_distance + MODE_SEEKING_EPS)


def r1_penalty(score: Scorer, real: Tensor) -> Tensor:
    """E[|∇ D(real)|²]: the critic must be flat where the data are.

    Args:
        score: images (n, ...) -> (n,).

    Source: Mescheder 2018 (arXiv:1801.04406), equation 9, without the factor γ / 2.
    """
    return _gradient(score, real).square().sum(1).mean()


def wgan_gp_penalty(score: Scorer, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """E[(|∇ D(x)| - 1)²] on random points between real and generated images, two-sided.

    Args:
        score: images (n, ...) -> (n,).
        mix: (n,) float32 in [0, 1]; 1 is real.

    Source: Gulrajani 2017 (arXiv:1704.00028), equation 3, without the factor λ.
    """
    weight = mix.view(-1, *[1] * (real.ndim - 1))
    between = weight * real + (1 - weight) * fake
    norms: Tensor = torch.linalg.vector_norm(_gradient(score, between), dim=1)
    return torch.mean((norms - 1) ** 2)


def _gradient(score: Scorer, x: Tensor) -> Tensor:
    """Gradient of each score by its own image: (n, ...) -> (n, pixels), differentiable."""
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return gradient.flatten(1)


def smoothed_cross_entropy(scores: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy against (1 - s) · one-hot + s / n_classes (Szegedy 2016, arXiv:1512.00567)."""
    return nn.functional.cross_entropy(scores, labels, label_smoothing=smoothing)
