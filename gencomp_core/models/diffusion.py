"""Flow-matching image generator: a class-conditional U-Net that predicts a velocity, and its samplers.

The model learns dx/dt of the straight path x_t = (1 - t) · noise-free image + t · noise, so that
sampling integrates from t = 1 (noise) to t = 0 (image). Source: Lipman 2023 (arXiv:2210.02747);
network after Dhariwal & Nichol 2021 (arXiv:2105.05233), scaled down.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8
PATCH = 2  # pixel_unshuffle: 1 × 28 × 28 -> 4 × 14 × 14, four times fewer positions to convolve

Solver = Literal["euler", "heun"]
VelocityFn = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class UNetConfig:
    """Shape of the network.

    Attributes:
        channels: widths at 14 × 14 and 7 × 7 before `width` scales them; multiples of 8.
        width: multiplies all channels (rounded to a multiple of 16).
        depth: residual blocks per level and side.
        attention: self-attention at 7 × 7.
        residual: add each block's input to its output; off only in an ablation.
        n_classes: number of classes; one more embedding stands for "no class".
    """

    channels: tuple[int, int] = (64, 128)
    width: float = 1.0
    depth: int = 1
    attention: bool = True
    residual: bool = True
    n_classes: int = 10

    def scaled_channels(self) -> tuple[int, int]:
        """Channels of the two levels after the width multiplier."""
        first, second = (max(16, round(c * self.width / 16) * 16) for c in self.channels)
        return first, second

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's metadata."""
        return asdict(self)


class ResidualBlock(nn.Module):
    """GroupNorm–SiLU–conv twice; the condition scales and shifts between them."""

    def __init__(self, in_channels: int, out_channels: int, cond_dim: int, *, residual: bool) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.cond = nn.Linear(cond_dim, 2 * out_channels)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.residual = residual
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        if residual:
            nn.init.zeros_(self.conv2.weight)
            nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """x (n, in, h, w), cond (n, cond_dim) -> (n, out, h, w)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.cond(cond)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        out: Tensor = self.skip(x) + h if self.residual else h
        return out


class AttentionBlock(nn.Module):
    """Multi-head self-attention over positions, with separate q, k and v so that heads can be cut."""

    def __init__(self, channels: int, *, n_heads: int, residual: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)
        self.n_heads = n_heads
        self.residual = residual
        if residual:
            nn.init.zeros_(self.proj.weight)
            nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        height, width = x.shape[2:]
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (layer(tokens).unflatten(2, (self.n_heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        # Plain products: the backward pass of the fused kernel took 37 % of a bf16 training step on a CPU.
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(dim=3)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(mixed).transpose(1, 2).unflatten(2, (height, width))
        return x + out if self.residual else out


class Level(nn.Module):
    """One residual block, followed by attention where the resolution is low."""

    def __init__(self, in_channels: int, out_channels: int, cond_dim: int, *, attention: bool, residual: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(in_channels, out_channels, cond_dim, residual=residual)
        self.attention = (
            AttentionBlock(out_channels, n_heads=max(1, out_channels // 32), residual=residual) if attention else None
        )

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """x (n, in, h, w), cond (n, cond_dim) -> (n, out, h, w)."""
        x = self.block(x, cond)
        return self.attention(x) if self.attention is not None else x


class FlowUNet(nn.Module):
    """Velocity network v(x_t, t, class) on 28 × 28 grey images."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        c0, c1 = config.scaled_channels()
        cond_dim = 2 * c1
        residual = config.residual
        pixels = PATCH * PATCH
        self.time_dim = c0
        self.time_in = nn.Linear(c0, cond_dim)
        self.time_hidden = nn.Linear(cond_dim, cond_dim)
        self.class_embedding = nn.Embedding(config.n_classes + 1, cond_dim)
        nn.init.normal_(self.class_embedding.weight, std=0.02)
        self.stem = nn.Conv2d(pixels, c0, 3, padding=1)

        def level(in_channels: int, out_channels: int, *, attention: bool = False) -> Level:
            return Level(in_channels, out_channels, cond_dim, attention=attention, residual=residual)

        depth, attend = config.depth, config.attention
        self.down0 = nn.ModuleList(level(c0, c0) for _ in range(depth))
        self.downsample = nn.Conv2d(c0, c1, 3, stride=2, padding=1)
        self.down1 = nn.ModuleList(level(c1, c1, attention=attend) for _ in range(depth))
        self.middle = level(c1, c1, attention=attend)
        self.up1 = nn.ModuleList(level(2 * c1, c1, attention=attend) for _ in range(depth + 1))
        self.upsample = nn.Conv2d(c1, c0, 3, padding=1)
        self.up0 = nn.ModuleList(level(2 * c0, c0) for _ in range(depth + 1))
        self.out_norm = nn.GroupNorm(GROUPS, c0)
        self.out = nn.Conv2d(c0, pixels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """Velocity at (x, t).

        Args:
            x: (n, 1, 28, 28) float32, images scaled to [-1, 1] and mixed with noise.
            t: (n,) float32 in [0, 1]; 0 is the image, 1 the noise.
            labels: (n,) int64 class, or `n_classes` for none.

        Returns:
            (n, 1, 28, 28) float32.
        """
        cond = self.time_hidden(F.silu(self.time_in(time_features(t, self.time_dim))))
        cond = F.silu(cond + self.class_embedding(labels))
        h = self.stem(F.pixel_unshuffle(x, PATCH))
        skips = [h]
        for level in self.down0:
            h = level(h, cond)
            skips.append(h)
        h = self.downsample(h)
        skips.append(h)
        for level in self.down1:
            h = level(h, cond)
            skips.append(h)
        h = self.middle(h, cond)
        for level in self.up1:
            h = level(torch.cat([h, skips.pop()], dim=1), cond)
        h = self.upsample(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        for level in self.up0:
            h = level(torch.cat([h, skips.pop()], dim=1), cond)
        return F.pixel_shuffle(self.out(F.silu(self.out_norm(h))), PATCH)

    def input_seams(self) -> dict[str, int]:
        """Layers whose input is cat([h, skip]), and how many of its channels belong to h.

        Both halves pass the norm and SiLU channel by channel, so that conv1 sees the seam too.
        """
        lowest = _channels_after([*self.down1, self.middle], self.downsample.out_channels)
        seams: dict[str, int] = {}
        for name, levels, seam in (("up1", self.up1, lowest), ("up0", self.up0, self.upsample.out_channels)):
            for number, level in enumerate(levels):
                seams |= {f"{name}.{number}.block.{layer}": seam for layer in ("conv1", "skip")}
                seam = _channels_after([level], seam)
        return seams


def _channels_after(levels: Iterable[nn.Module], channels: int) -> int:
    """Channels that come out of levels; one whose block was removed passes on what it gets."""
    for level in levels:
        assert isinstance(level, Level)
        channels = level.block.conv2.out_channels if isinstance(level.block, ResidualBlock) else channels
    return channels


def time_features(t: Tensor, dim: int) -> Tensor:
    """Sines and cosines of t at geometric frequencies: (n,) -> (n, dim).

    Source: Vaswani 2017 (arXiv:1706.03762), section 3.5, with t in [0, 1] stretched to 1000.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = 1000 * t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def guided_velocity(model: nn.Module, *, guidance: float, n_classes: int) -> VelocityFn:
    """Velocity with classifier-free guidance; `guidance` 1 is the plain conditional model.

    v = v_none + guidance · (v_class - v_none). Source: Ho & Salimans 2022 (arXiv:2207.12598).
    """
    if guidance == 1:
        return model

    def velocity(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        none = torch.full_like(labels, n_classes)
        both = model(x.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([none, labels]))
        unconditional, conditional = both.chunk(2)
        mixed: Tensor = unconditional + guidance * (conditional - unconditional)
        return mixed

    return velocity


def trajectory(
    velocity: VelocityFn, noise: Tensor, labels: Tensor, *, steps: int, solver: Solver = "euler"
) -> Iterator[Tensor]:
    """States of the sampler from noise to image, `noise` itself first: steps + 1 tensors.

    Euler makes one network call a step, Heun (second order) two, one in the last step.
    Source: Karras 2022 (arXiv:2206.00364), algorithm 1, on the flow-matching path.

    Args:
        noise: (n, 1, 28, 28) float32, standard normal.
        labels: (n,) int64.
    """
    times = torch.linspace(1, 0, steps + 1).tolist()
    x = noise
    yield x
    for now, following in pairwise(times):
        t_now = torch.full((len(x),), now, device=x.device)
        slope = velocity(x, t_now, labels)
        proposal = x + (following - now) * slope
        if solver == "heun" and following > 0:
            t_next = torch.full((len(x),), following, device=x.device)
            slope = (slope + velocity(proposal, t_next, labels)) / 2
            proposal = x + (following - now) * slope
        x = proposal
        yield x
