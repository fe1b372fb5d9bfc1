"""Class-conditional generative adversarial network: a generator of transposed convolutions and its critic.

Source: Goodfellow 2014 (arXiv:1406.2661); residual blocks and class-conditional batch norm after
Miyato & Koyama 2018 (arXiv:1802.05637), scaled down to 28 × 28.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations


@dataclass(frozen=True)
class GANConfig:
    """Shape of generator and critic.

    Attributes:
        channels: generator widths at 7 × 7, 14 × 14 and 28 × 28 before `width` scales them.
        critic_channels: critic widths at the same resolutions; never scaled.
        width: multiplies the generator's channels (rounded to a multiple of 16).
        latent_dim: size of z.
        residual: convolution blocks add their input; off only in an ablation.
        minibatch_std: the critic sees how much a batch varies (Karras 2018, arXiv:1710.10196, section 3).
        n_classes: number of classes.
        depth: refining convolutions of the generator at 14 × 14 and at 28 × 28.
        spectral_norm: hold the largest singular value of each of the critic's convolutions and of
            its output layer at 1 (Miyato 2018, arXiv:1802.05957).
    """

    channels: tuple[int, int, int] = (128, 64, 32)
    critic_channels: tuple[int, int, int] = (128, 64, 32)
    width: float = 1.0
    latent_dim: int = 64
    residual: bool = True
    minibatch_std: bool = True
    n_classes: int = 10
    depth: int = 1
    spectral_norm: bool = False

    def scaled_channels(self) -> tuple[int, int, int]:
        """Generator channels after the width multiplier."""
        first, second, third = (max(16, round(c * self.width / 16) * 16) for c in self.channels)
        return first, second, third

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's metadata."""
        return asdict(self)


class ConditionalNorm(nn.Module):
    """Batch norm whose scale and shift depend on the class."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(n_classes, channels)
        self.shift = nn.Embedding(n_classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """x (n, c, h, w), labels (n,) -> (n, c, h, w)."""
        out: Tensor = self.norm(x) * self.scale(labels)[:, :, None, None] + self.shift(labels)[:, :, None, None]
        return out


class RefineBlock(nn.Module):
    """Norm–ReLU–convolution, with the input added."""

    def __init__(self, channels: int, n_classes: int, *, residual: bool) -> None:
        super().__init__()
        self.norm = ConditionalNorm(channels, n_classes)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.residual = residual

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        refined: Tensor = self.conv(F.relu(self.norm(x, labels)))
        return x + refined if self.residual else refined


class GeneratorBlock(nn.Module):
    """Norm–ReLU–transposed convolution doubles the resolution; norm–ReLU–convolution refines it `depth` times."""

    def __init__(self, in_channels: int, out_channels: int, n_classes: int, *, depth: int, residual: bool) -> None:
        super().__init__()
        self.norm1 = ConditionalNorm(in_channels, n_classes)
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1)
        self.norm2 = ConditionalNorm(out_channels, n_classes)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.residual = residual
        self.more = nn.ModuleList(RefineBlock(out_channels, n_classes, residual=residual) for _ in range(depth - 1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, 2h, 2w)."""
        h: Tensor = self.up(F.relu(self.norm1(x, labels)))
        refined: Tensor = self.conv(F.relu(self.norm2(h, labels)))
        h = h + refined if self.residual else refined
        for block in self.more:
            h = block(h, labels)
        return h


class Generator(nn.Module):
    """z and class to a 28 × 28 image."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        c0, c1, c2 = config.scaled_channels()
        self.project = nn.Linear(config.latent_dim, c0 * 7 * 7)
        self.up1 = GeneratorBlock(c0, c1, config.n_classes, depth=config.depth, residual=config.residual)
        self.up2 = GeneratorBlock(c1, c2, config.n_classes, depth=config.depth, residual=config.residual)
        self.out_norm = nn.BatchNorm2d(c2)
        self.out = nn.Conv2d(c2, 1, 3, padding=1)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """z (n, latent_dim) standard normal, labels (n,) -> (n, 1, 28, 28) float32 in [-1, 1]."""
        h = self.project(z).unflatten(1, (-1, 7, 7))
        h = self.up2(self.up1(h, labels), labels)
        image: Tensor = self.out(F.relu(self.out_norm(h))).tanh()
        return image


class CriticBlock(nn.Module):
    """Two convolutions and average pooling, with a pooled shortcut; no batch norm (Gulrajani 2017)."""

    def __init__(self, in_channels: int, out_channels: int, *, pool: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, h / 2, w / 2), or the same size without pooling."""
        h = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, 0.2)), 0.2))
        out: Tensor = h + self.shortcut(x)
        return F.avg_pool2d(out, 2) if self.pool else out


class Critic(nn.Module):
    """How real an image of a class looks: one number each; the class enters by projection."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        c0, c1, c2 = config.critic_channels
        self.stem = nn.Conv2d(1, c2, 3, padding=1)
        self.down = nn.Conv2d(c2, c1, 4, stride=2, padding=1)
        self.block14 = CriticBlock(c1, c1, pool=True)
        self.block7 = CriticBlock(c1 + int(config.minibatch_std), c0, pool=False)
        self.out = nn.Linear(c0, 1)
        self.class_embedding = nn.Embedding(config.n_classes, c0)
        if config.spectral_norm:
            for layer in [m for m in self.modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
                parametrizations.spectral_norm(layer)

    def features(self, images: Tensor) -> Tensor:
        """(n, 1, 28, 28) float32 in [-1, 1] -> (n, channels)."""
        h = self.block14(self.down(F.leaky_relu(self.stem(images), 0.2)))
        if self.config.minibatch_std:
            h = torch.cat([h, minibatch_std(h)], dim=1)
        return F.leaky_relu(self.block7(h), 0.2).mean(dim=(2, 3))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Scores (n,); out(f) + class · f (Miyato & Koyama 2018, equation 5)."""
        h = self.features(images)
        score: Tensor = self.out(h)[:, 0] + (self.class_embedding(labels) * h).sum(1) / h.shape[1] ** 0.5
        return score


def minibatch_std(x: Tensor, *, group: int = 4) -> Tensor:
    """Mean standard deviation over groups of `group` samples, as one more channel: (n, 1, h, w).

    Source: Karras 2018 (arXiv:1710.10196), section 3, in StyleGAN2's grouped form.
    """
    n = len(x)
    size = group if n % group == 0 else n
    spread = x.reshape(size, n // size, *x.shape[1:])
    std = (spread.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return std.repeat(size)[:, None, None, None].expand(n, 1, *x.shape[2:])
