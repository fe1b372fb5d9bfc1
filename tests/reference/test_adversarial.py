"""Adversarial losses and penalties against closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn

from gencomp_core.models.gan import Critic, GANConfig, Generator, minibatch_std
from gencomp_core.models.losses import critic_loss, generator_loss, mode_seeking_loss, r1_penalty, wgan_gp_penalty
from gencomp_core.workloads.checkpoints import checkpoint_path, read_checkpoint

SLOPE = torch.tensor([3.0, 4.0])


def linear(x: Tensor) -> Tensor:
    """A critic with the same gradient (3, 4), norm 5, everywhere."""
    return x @ SLOPE


def half_square(x: Tensor) -> Tensor:
    """A critic whose gradient at x is x."""
    return 0.5 * x.square().sum(1)


def points(seed: int) -> Tensor:
    return torch.randn(6, 2, generator=torch.Generator().manual_seed(seed))


def test_r1_of_a_linear_critic_is_its_squared_slope() -> None:
    assert r1_penalty(linear, points(0)).item() == pytest.approx(25)


def test_r1_is_the_mean_squared_gradient_where_the_data_are() -> None:
    x = points(1)
    assert r1_penalty(half_square, x).item() == pytest.approx(x.square().sum(1).mean().item())


def test_the_two_sided_penalty_of_a_linear_critic_is_the_squared_distance_of_its_slope_to_one() -> None:
    mix = torch.linspace(0, 1, 6)
    assert wgan_gp_penalty(linear, points(0), points(1), mix).item() == pytest.approx((5 - 1) ** 2)


@pytest.mark.parametrize(("mix", "where"), [(1.0, "real"), (0.0, "fake"), (0.25, "between")])
def test_the_two_sided_penalty_is_taken_between_real_and_generated_images(mix: float, where: str) -> None:
    real, fake = points(2), points(3)
    x = mix * real + (1 - mix) * fake
    expected = (x.norm(dim=1) - 1).square().mean().item()
    assert wgan_gp_penalty(half_square, real, fake, torch.full((6,), mix)).item() == pytest.approx(expected), where


def test_penalties_can_be_learned_from() -> None:
    slope = SLOPE.clone().requires_grad_(True)
    r1_penalty(lambda x: x @ slope, points(0)).backward()
    assert slope.grad is not None
    assert torch.allclose(slope.grad, 2 * SLOPE)


@pytest.mark.parametrize(
    ("kind", "critic", "generator"),
    [
        ("wasserstein", -1 - 2, 1.0),
        ("hinge", 0.0 + 0.0, 1.0),
        ("non-saturating", math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)), math.log1p(math.exp(1))),
    ],
)
def test_losses_of_a_confident_critic(kind: str, critic: float, generator: float) -> None:
    real, fake = torch.tensor([2.0, 2.0]), torch.tensor([-1.0, -1.0])
    assert critic_loss(real, fake, kind).item() == pytest.approx(critic)
    assert generator_loss(fake, kind).item() == pytest.approx(generator)


@pytest.mark.parametrize("scale", [0.5, 1.0, 20.0])
@pytest.mark.parametrize("n", [6, 7])
def test_mode_seeking_of_a_linear_generator_is_the_inverse_of_its_scale(scale: float, n: int) -> None:
    latents = torch.randn(n, 12, generator=torch.Generator().manual_seed(4))
    images = (scale * latents + 3).view(n, 1, 3, 4)
    assert mode_seeking_loss(images, latents).item() == pytest.approx(1 / scale, rel=1e-4)


def test_mode_seeking_divides_mean_distances_of_the_first_half_to_the_second() -> None:
    latents = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 3.0], [2.0, 2.0]])  # mean distance 2
    images = torch.tensor([0.0, 0.0, 8.0, 0.0]).view(4, 1, 1, 1)  # mean distance 4
    assert mode_seeking_loss(images, latents).item() == pytest.approx(2 / 4, rel=1e-4)


def test_mode_seeking_of_a_collapsed_generator_is_large_but_finite() -> None:
    assert mode_seeking_loss(torch.zeros(4, 1, 2, 2), points(0)[:4]).item() == pytest.approx(1e5, rel=1e-3)


def test_mode_seeking_pulls_images_of_a_pair_apart() -> None:
    latents = points(5)[:4]
    images = (0.1 * latents).requires_grad_(True)
    mode_seeking_loss(images, latents).backward()
    assert images.grad is not None
    apart = images - images.grad
    before, after = ((x[:2] - x[2:]).abs().mean() for x in (images, apart))
    assert after > before


def test_the_minibatch_channel_is_zero_for_equal_samples_and_their_spread_otherwise() -> None:
    same = torch.ones(8, 3, 2, 2)
    assert minibatch_std(same).shape == (8, 1, 2, 2)
    assert minibatch_std(same).abs().max() < 1e-3
    two = torch.tensor([-1.0, 1.0]).repeat_interleave(2).repeat_interleave(2).view(8, 1, 1, 1)  # groups stride by 2
    assert torch.allclose(minibatch_std(two), torch.ones(8, 1, 1, 1), atol=1e-4)


def test_the_generator_makes_images_of_the_classes_it_is_asked_for() -> None:
    torch.manual_seed(0)
    config = GANConfig(channels=(16, 16, 16), critic_channels=(16, 16, 16), latent_dim=4)
    generator, critic = Generator(config).eval(), Critic(config).eval()
    z, labels = torch.randn(4, 4), torch.arange(4)
    images = generator(z, labels)
    assert images.shape == (4, 1, 28, 28)
    assert images.abs().max() <= 1
    assert critic(images, labels).shape == (4,)
    with torch.no_grad():
        critic.class_embedding.weight[3].add_(1)
    assert (critic(images, labels) != critic(images, torch.tensor([0, 1, 2, 2]))).tolist()[3]


def names_of(depth: int) -> set[str]:
    return set(Generator(GANConfig(channels=(16, 16, 16), depth=depth)).state_dict())


def test_a_deeper_generator_only_adds_blocks() -> None:
    assert set(read_checkpoint(checkpoint_path("fashion-gan"))[0]) == names_of(1)
    added = names_of(3) - names_of(1)
    assert names_of(1) < names_of(2) < names_of(3)
    assert {name.rsplit(".conv.")[0] for name in added if name.endswith("conv.weight")} == {
        f"{block}.more.{i}" for block in ("up1", "up2") for i in (0, 1)
    }


@pytest.mark.parametrize("residual", [True, False])
def test_every_block_of_a_deeper_generator_counts(residual: bool) -> None:
    torch.manual_seed(0)
    generator = Generator(GANConfig(channels=(16, 16, 16), latent_dim=4, depth=2, residual=residual)).eval()
    z, labels = torch.randn(2, 4), torch.tensor([1, 2])
    before = generator(z, labels)
    assert before.shape == (2, 1, 28, 28)
    for block in (generator.up1, generator.up2):
        with torch.no_grad():
            block.more[0].conv.weight.mul_(2)
        after = generator(z, labels)
        assert not torch.equal(after, before)
        before = after


def test_a_block_whose_convolution_is_zero_passes_its_input_on() -> None:
    torch.manual_seed(0)
    deep = Generator(GANConfig(channels=(16, 16, 16), latent_dim=4, depth=2)).eval()
    flat = Generator(GANConfig(channels=(16, 16, 16), latent_dim=4)).eval()
    flat.load_state_dict({name: value for name, value in deep.state_dict().items() if ".more." not in name})
    for block in (deep.up1, deep.up2):
        for parameter in block.more[0].conv.parameters():
            nn.init.zeros_(parameter)
    z, labels = torch.randn(2, 4), torch.tensor([1, 2])
    assert torch.equal(deep(z, labels), flat(z, labels))
