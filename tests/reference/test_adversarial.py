"""Adversarial losses and penalties against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from gencomp_core.models.gan import Critic, GANConfig, Generator, minibatch_std
from gencomp_core.training.losses import critic_loss, generator_loss, r1_penalty, wgan_gp_penalty

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
