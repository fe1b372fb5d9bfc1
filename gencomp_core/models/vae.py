"""Class-conditional convolutional variational autoencoder.

Source: Kingma & Welling 2014 (arXiv:1312.6114); conditional form: Sohn 2015 (NeurIPS 28).
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8


@dataclass(frozen=True)
class VAEConfig:
    """Shape of the network.

    Attributes:
        channels: widths at 14 × 14 and 7 × 7 before `width` scales them; multiples of 8.
        width: multiplies all channels (rounded to a multiple of 16).
        depth: residual blocks per resolution.
        latent_dim: size of z.
        residual: add each block's input to its output; off only in an ablation.
        n_classes: number of classes.
    """

    channels: tuple[int, int] = (32, 64)
    width: float = 1.0
    depth: int = 1
    latent_dim: int = 32
    residual: bool = True
    n_classes: int = 10

    def scaled_channels(self) -> tuple[int, int]:
        """Channels of the two levels after the width multiplier."""
        first, second = (max(16, round(c * self.width / 16) * 16) for c in self.channels)
        return first, second

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's metadata."""
        return asdict(self)


class ConvBlock(nn.Module):
    """GroupNorm–SiLU–conv twice, with the input added."""

    def __init__(self, channels: int, *, residual: bool) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        h: Tensor = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return x + h if self.residual else h


class FashionVAE(nn.Module):
    """Encoder q(z | image, class) and decoder p(image | z, class)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        c0, c1 = config.scaled_channels()
        flat = c1 * 7 * 7
        embedding_dim = 32

        def blocks(channels: int) -> nn.Sequential:
            return nn.Sequential(*(ConvBlock(channels, residual=config.residual) for _ in range(config.depth)))

        self.class_embedding = nn.Embedding(config.n_classes, embedding_dim)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, c0, 3, stride=2, padding=1),
            blocks(c0),
            nn.Conv2d(c0, c1, 3, stride=2, padding=1),
            blocks(c1),
            nn.GroupNorm(GROUPS, c1),
            nn.SiLU(),
        )
        self.posterior = nn.Linear(flat + embedding_dim, 2 * config.latent_dim)
        self.latent_in = nn.Linear(config.latent_dim + embedding_dim, flat)
        self.decoder = nn.Sequential(
            blocks(c1),
            nn.ConvTranspose2d(c1, c0, 4, stride=2, padding=1),
            blocks(c0),
            nn.ConvTranspose2d(c0, c0, 4, stride=2, padding=1),
            nn.GroupNorm(GROUPS, c0),
            nn.SiLU(),
        )
        self.out = nn.Conv2d(c0, 1, 3, padding=1)
        self.prior_mean: Tensor
        self.prior_factor: Tensor
        self.register_buffer("prior_mean", torch.zeros(config.n_classes, config.latent_dim))
        self.register_buffer("prior_factor", torch.eye(config.latent_dim).repeat(config.n_classes, 1, 1))

    def encode(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | image, class).

        Args:
            images: (n, 1, 28, 28) float32 in [-1, 1].
            labels: (n,) int64.

        Returns:
            Two (n, latent_dim) float32.
        """
        h = torch.cat([self.encoder(images).flatten(1), self.class_embedding(labels)], dim=1)
        mean, log_variance = self.posterior(h).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        """z (n, latent_dim), labels (n,) -> pixel logits (n, 1, 28, 28); sigmoid gives brightness."""
        h = self.latent_in(torch.cat([z, self.class_embedding(labels)], dim=1))
        logits: Tensor = self.out(self.decoder(h.unflatten(1, (-1, 7, 7))))
        return logits

    def forward(self, images: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct through a sampled z: pixel logits, posterior mean and log-variance."""
        mean, log_variance = self.encode(images, labels)
        z = mean + noise * (log_variance / 2).exp()
        return self.decode(z, labels), mean, log_variance

    def generate(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Mean images of prior samples: noise (n, latent_dim) -> (n, 1, 28, 28) float32 in [0, 1]."""
        z = self.prior_mean[labels] + torch.einsum("nij,nj->ni", self.prior_factor[labels], noise)
        return self.decode(z, labels).sigmoid()

    @torch.no_grad()
    def set_prior(self, latents: Tensor, labels: Tensor) -> None:
        """Fit a Gaussian to the latents of each class, to sample from in place of N(0, 1).

        The aggregate posterior is never quite N(0, 1); sampling where the encoder really puts the
        images removes that mismatch. Source: Ghosh 2020 (arXiv:1903.12436), ex-post density estimation.

        Args:
            latents: (n, latent_dim) float32 samples of q(z | image, class).
            labels: (n,) int64.
        """
        for label in range(self.config.n_classes):
            members = latents[labels == label].double()
            self.prior_mean[label] = members.mean(0).float()
            self.prior_factor[label] = torch.linalg.cholesky(members.T.cov()).float()
