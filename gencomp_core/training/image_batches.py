"""Batches of Fashion-MNIST images to train on, and the images held out from training."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gencomp_core.data.fashion_mnist import CLASS_NAMES, LabelledImages, load_split
from gencomp_core.training import augmentation

N_HELD_OUT = 2_000
N_CLASSES = len(CLASS_NAMES)


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]."""
    return images.float().div(127.5).sub(1)


def chunks(n: int, size: int) -> list[slice]:
    """Slices that cover 0 to n in parts of at most `size`."""
    return [slice(start, start + size) for start in range(0, n, size)]


def balanced_index(labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Random positions whose classes come equally often, up to one: (n,) int64.

    Which classes come once more than others is random, and so is the order. Within its class every
    image is as likely as any other; some may come twice.

    Args:
        labels: (n_images,) int64; a class without images is left out.
    """
    counts = labels.bincount()
    present = counts.nonzero()[:, 0]
    order = present[torch.randperm(len(present), generator=generator)]
    drawn = order.repeat(n // len(order) + 1)[:n][torch.randperm(n, generator=generator)]
    within = (torch.rand(n, generator=generator, dtype=torch.float64) * counts[drawn]).long()
    first = counts.cumsum(0) - counts
    return labels.argsort(stable=True)[first[drawn] + within]


@dataclass
class FashionBatches:
    """Random batches of training images, and the held-out images.

    Attributes:
        batch_size: images a batch.
        balanced: every batch evenly over the classes.
        flips: mirror images at random.
        shifts: largest random shift in pixels.
    """

    batch_size: int
    balanced: bool = False
    flips: bool = False
    shifts: int = 0
    train: LabelledImages = field(init=False)
    held_out: LabelledImages = field(init=False)

    def __post_init__(self) -> None:
        self.train = load_split("train")
        test = load_split("test")
        self.held_out = LabelledImages(test.images[:N_HELD_OUT], test.labels[:N_HELD_OUT])

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (n, 1, 28, 28) uint8 as they are, and their labels (n,)."""
        if self.balanced:
            index = balanced_index(self.train.labels, self.batch_size, generator)
        else:
            index = torch.randint(0, len(self.train), (self.batch_size,), generator=generator)
        return self.train.images[index], self.train.labels[index]

    def draw_augmented(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images mirrored and shifted at random, and their labels."""
        images, labels = self.draw(generator)
        if self.flips:
            images = augmentation.random_flips(images, generator)
        if self.shifts:
            images = augmentation.random_shifts(images, self.shifts, generator)
        return images, labels
