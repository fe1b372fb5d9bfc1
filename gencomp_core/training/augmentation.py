"""Augmentations of image batches: uint8 in, uint8 out, seeded by a generator."""

import torch
from torch import Tensor
from torch.nn import functional as F


def random_flips(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half: NCHW -> NCHW."""
    flip = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def random_shifts(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `pixels` in both directions, zeros moving in: NCHW -> NCHW."""
    n, _, height, width = images.shape
    padded = F.pad(images, [pixels] * 4)
    down, right = torch.randint(0, 2 * pixels + 1, (2, n), generator=generator)
    rows = down[:, None] + torch.arange(height)
    columns = right[:, None] + torch.arange(width)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
