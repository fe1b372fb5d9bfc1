"""Spectral norm of the critic against singular values from LAPACK."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gencomp_core.models.gan import Critic, GANConfig
from gencomp_core.workloads.checkpoints import checkpoint_path, read_checkpoint

CHANNELS = (16, 16, 16)


def critic(*, spectral_norm: bool) -> Critic:
    torch.manual_seed(0)
    return Critic(GANConfig(critic_channels=CHANNELS, spectral_norm=spectral_norm))


def weighted_layers(network: nn.Module) -> dict[str, Tensor]:
    """Weights that the network computes with, one row an output channel."""
    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return {name: layer.weight.detach().flatten(1) for name, layer in layers.items()}


def largest_singular_values(network: nn.Module) -> list[float]:
    return [torch.linalg.svdvals(weight)[0].item() for weight in weighted_layers(network).values()]


def test_the_largest_singular_value_of_every_layer_becomes_one() -> None:
    network = critic(spectral_norm=True)
    with torch.no_grad():
        for scale, parameter in enumerate(network.parameters(), start=2):
            if parameter.ndim > 1:
                parameter.mul_(scale)
    images, labels = torch.randn(4, 1, 28, 28), torch.arange(4)
    for _ in range(100):  # one power iteration each
        network(images, labels)
    network.eval()
    assert len(weighted_layers(network)) == 9
    assert largest_singular_values(network) == pytest.approx([1] * 9, rel=2e-3)


def test_a_critic_without_it_has_other_singular_values() -> None:
    assert max(abs(value - 1) for value in largest_singular_values(critic(spectral_norm=False))) > 0.1


def test_evaluating_does_not_iterate() -> None:
    network = critic(spectral_norm=True).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(2, 1, 28, 28), torch.arange(2))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_its_state_is_all_that_another_critic_needs() -> None:
    network, other = critic(spectral_norm=True), critic(spectral_norm=True)
    images, labels = torch.randn(4, 1, 28, 28), torch.arange(4)
    with torch.no_grad():
        network.stem.parametrizations.weight.original.mul_(5)
        network(images, labels)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(images, labels), network(images, labels))


def test_the_shipped_critic_has_none_and_loads() -> None:
    _, shape = read_checkpoint(checkpoint_path("fashion-gan"))
    config = GANConfig(**shape)
    assert not config.spectral_norm
    network = Critic(config)
    network.load_state_dict(load_file(checkpoint_path("fashion-gan").with_name("critic.safetensors")))
    assert torch.isfinite(network(torch.zeros(2, 1, 28, 28), torch.arange(2))).all()
