"""Augmentations of image batches: of training images, and of all that a critic sees."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

N_CHANCES = 5  # uniform numbers that decide all of an image's differentiable augmentations
MAX_SHIFT = 1 / 8  # of the image's side
CUTOUT = 1 / 2  # of the image's side


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


def diff_augment(images: Tensor, policy: Sequence[str], chances: Tensor) -> Tensor:
    """Differentiable augmentations for both real and generated images: NCHW float32 in [-1, 1] -> the same shape.

    Args:
        policy: some of brightness, translation, cutout, in their order.
        chances: (n, N_CHANCES) float32, uniform in [0, 1).

    Source: Zhao 2020 (arXiv:2006.10738); sizes as in its authors' code.
    """
    brightness, down, right, row, column = chances.unbind(1)
    for name in policy:
        if name == "brightness":
            images = brighten(images, brightness - 0.5)
        elif name == "translation":
            images = translate(images, down, right)
        else:
            images = cut_out(images, row, column)
    return images


def brighten(images: Tensor, amount: Tensor) -> Tensor:
    """Add to each image its amount: NCHW, (n,) -> NCHW."""
    return images + amount[:, None, None, None]


def translate(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift each image by up to an eighth of its side in both directions; zeros, mid-grey, move in.

    Args:
        images: NCHW float32. down, right: (n,) in [0, 1); 0 is furthest up or left.
    """
    rows = _shifted_positions(down, images.shape[2])
    columns = _shifted_positions(right, images.shape[3])
    inside = _inside(rows, images.shape[2])[:, :, None] & _inside(columns, images.shape[3])[:, None, :]
    rows, columns = rows.clamp(0, images.shape[2] - 1), columns.clamp(0, images.shape[3] - 1)
    n = torch.arange(len(images), device=images.device)
    moved = images[n[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return moved * inside[:, None]


def cut_out(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Zero a square of half the image's side; its centre is anywhere, so that part of it may lie outside.

    Args:
        images: NCHW float32. row, column: (n,) in [0, 1); place of the centre.
    """
    cut = _square(row, images.shape[2])[:, :, None] & _square(column, images.shape[3])[:, None, :]
    return images * ~cut[:, None]


def _shifted_positions(chance: Tensor, side: int) -> Tensor:
    """Where each position of the moved image comes from; possibly outside: (n,) -> (n, side) int64."""
    reach = int(side * MAX_SHIFT + 0.5)
    shift = (chance * (2 * reach + 1)).floor().long() - reach
    return torch.arange(side, device=chance.device) - shift[:, None]


def _inside(positions: Tensor, side: int) -> Tensor:
    return (positions >= 0) & (positions < side)


def _square(chance: Tensor, side: int) -> Tensor:
    """Positions under the square, along one side: (n,) -> (n, side) bool."""
    size = int(side * CUTOUT + 0.5)
    first = (chance * (side + 1 - size % 2)).floor().long()[:, None] - size // 2
    positions = torch.arange(side, device=chance.device)
    return (positions >= first) & (positions < first + size)
