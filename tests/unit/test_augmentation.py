import pytest
import torch
from torch import Tensor

from gencomp_core.training.augmentation import (
    N_CHANCES,
    brighten,
    cut_out,
    diff_augment,
    random_flips,
    random_shifts,
    translate,
)

POLICY = ("brightness", "translation", "cutout")


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


# --- differentiable augmentation


def floats(n: int, channels: int = 2, side: int = 28) -> Tensor:
    return torch.rand(n, channels, side, side, generator=generator(2)) + 0.5  # no zeros


def chances(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, N_CHANCES, generator=generator(seed))


def midpoints(n: int) -> Tensor:
    """Chances in the middle of each of n equal parts of [0, 1)."""
    return (torch.arange(n) + 0.5) / n


def test_brightness_adds_between_minus_and_plus_one_half() -> None:
    images = floats(2000, side=2)
    added = (diff_augment(images, ["brightness"], chances(2000)) - images).flatten(1)
    torch.testing.assert_close(added, added[:, :1].expand_as(added))  # the same everywhere in an image
    amounts = added[:, 0]
    assert -0.5 <= amounts.min() < -0.49
    assert 0.49 < amounts.max() <= 0.5
    assert amounts.mean().item() == pytest.approx(0, abs=0.03)
    assert torch.equal(brighten(images, torch.zeros(2000)), images)


def test_translation_reaches_an_eighth_of_the_side_every_shift_equally_likely() -> None:
    images = floats(9)
    moved = translate(images, midpoints(9), midpoints(9).flip(0))
    for i, image in enumerate(moved):
        assert torch.equal(image, shifted(images[i], i - 4, 4 - i))
    edges = torch.tensor([0.0, 1 - 2**-24])
    moved = translate(images[:2], edges, edges)
    assert torch.equal(moved[0], shifted(images[0], -4, -4))
    assert torch.equal(moved[1], shifted(images[1], 4, 4))
    larger = floats(1, side=40)
    assert torch.equal(translate(larger, torch.zeros(1), torch.zeros(1))[0], shifted(larger[0], -5, -5))


def test_the_cut_out_is_half_the_side_around_a_centre_anywhere() -> None:
    images = floats(29)
    for i, image in enumerate(cut_out(images, midpoints(29), midpoints(29).flip(0))):
        expected = images[i].clone()
        row, column = i, 28 - i
        expected[:, max(0, row - 7) : row + 7, max(0, column - 7) : column + 7] = 0
        assert torch.equal(image, expected)
    areas = (cut_out(images, midpoints(29), midpoints(29)) == 0)[:, 0].sum((1, 2))
    assert (areas.min(), areas.max()) == (7 * 7, 14 * 14)


def test_the_policy_is_followed_in_its_order() -> None:
    images, numbers = floats(4), chances(4)
    light, down, right, row, column = numbers.T
    step_by_step = cut_out(translate(brighten(images, light - 0.5), down, right), row, column)
    assert torch.equal(diff_augment(images, POLICY, numbers), step_by_step)
    backwards = brighten(cut_out(images, row, column), light - 0.5)
    assert torch.equal(diff_augment(images, ("cutout", "brightness"), numbers), backwards)
    assert torch.equal(diff_augment(images, (), numbers), images)


def test_gradients_flow_to_the_pixels_that_stay() -> None:
    images = floats(8).requires_grad_(True)
    numbers = chances(8)
    diff_augment(images, POLICY, numbers).sum().backward()
    kept = diff_augment(torch.ones_like(images), ("translation", "cutout"), numbers)
    assert images.grad is not None
    assert set(images.grad.unique().tolist()) == {0, 1}
    assert torch.equal(images.grad.sum((2, 3)), kept.sum((2, 3)))


def test_the_same_chances_augment_the_same_way_and_leave_the_input() -> None:
    images = floats(8)
    before = images.clone()
    assert torch.equal(diff_augment(images, POLICY, chances(8, 5)), diff_augment(images, POLICY, chances(8, 5)))
    assert not torch.equal(diff_augment(images, POLICY, chances(8, 5)), diff_augment(images, POLICY, chances(8, 6)))
    assert torch.equal(images, before)
