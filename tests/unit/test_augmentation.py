import pytest
import torch
from torch import Tensor

from gencomp_core.training.augmentation import random_flips, random_shifts


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int, channels: int = 2, height: int = 5, width: int = 7) -> Tensor:
    return torch.randint(1, 256, (n, channels, height, width), generator=generator(1), dtype=torch.uint8)


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """One image moved pixel by pixel, zeros moving in."""
    moved = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_each_shift_is_one_of_all_shifts_of_its_image(pixels: int) -> None:
    images = batch(40)
    reach = range(-pixels, pixels + 1)
    seen = set()
    for image, moved in zip(images, random_shifts(images, pixels, generator()), strict=True):
        fitting = [(d, r) for d in reach for r in reach if torch.equal(shifted(image, d, r), moved)]
        assert len(fitting) == 1
        seen.add(fitting[0])
    assert {down for down, _ in seen} == {right for _, right in seen} == set(reach)


def test_shifts_keep_type_and_shape_and_the_input() -> None:
    images = batch(3)
    before = images.clone()
    moved = random_shifts(images, 2, generator())
    assert (moved.dtype, moved.shape) == (torch.uint8, images.shape)
    assert torch.equal(images, before)


def test_flips_mirror_half_of_the_images_left_to_right() -> None:
    images = batch(400)
    flipped = random_flips(images, generator())
    mirrored = [torch.equal(new, old.flip(2)) for new, old in zip(flipped, images, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("augment", [random_flips, lambda images, g: random_shifts(images, 2, g)])
def test_the_same_seed_augments_the_same_way(augment) -> None:
    images = batch(16)
    assert torch.equal(augment(images, generator(5)), augment(images, generator(5)))
    assert not torch.equal(augment(images, generator(5)), augment(images, generator(6)))
