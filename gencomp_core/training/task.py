"""What a training task is: networks with their losses and their validation.

A task draws everything random of a step from one generator seeded by (seed, step). So a step does
not depend on the steps before it, and a run that was killed goes on as if nothing had happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from gencomp_core.workloads.base import device_of


class PlayerLoss(Protocol):
    """Loss of one network."""

    def __call__(
        self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice
    ) -> Tensor:
        """Scalar loss of the part `share` of the global batch; `networks` holds every player's, by name."""
        ...


@dataclass(frozen=True, eq=False)
class Player:
    """One network that is optimised by a loss of its own: one for most models, two for a GAN.

    Attributes:
        name: key of the network.
        network: what is optimised.
        loss: what it is optimised for.
        repeats: updates a step.
    """

    name: str
    network: nn.Module
    loss: PlayerLoss
    repeats: int = 1


class Task(Protocol):
    """Networks with their losses and their validation."""

    @property
    def network(self) -> nn.Module:
        """What ships; its moving average is kept."""

    @property
    def players(self) -> tuple[Player, ...]:
        """Who is optimised, in the order of a step; the loss of the last stands in the curve."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on held-out images, by name."""

    def badness(self, figures: Mapping[str, float]) -> float:
        """One number from validation figures that says which weights are better; lower is better."""

    def finish(self, network: nn.Module) -> None:
        """Last touch on the averaged network before it is saved."""


def to_device(network: nn.Module, *tensors: Tensor) -> list[Tensor]:
    """Tensors on the network's device; all of them are drawn on the CPU, so that seeds mean the same everywhere."""
    where = device_of(network)
    return [tensor.to(where) for tensor in tensors]
