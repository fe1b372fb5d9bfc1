"""What a model is tuned on: a loss a step, a teacher, and held-out data that say whether it got better."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gencomp_core.compression.layers import weight_layers

FEATURE_WEIGHT = 0.1  # of the difference between layers, beside that between outputs


@dataclass(frozen=True, eq=False)
class Teaching:
    """How the dense model takes part.

    Attributes:
        teacher: the dense model; never changed.
        weight: of its outputs in the loss, in [0, 1].
        match: `outputs`, `features` or `sequences`.
    """

    teacher: nn.Module
    weight: float
    match: str = "outputs"

    @property
    def with_features(self) -> bool:
        """Whether outputs of layers are compared too."""
        return self.match == "features"

    def mix(self, of_data: Tensor | float, of_teacher: Tensor | float) -> Tensor:
        """(1 - weight) · loss on the data + weight · difference to the teacher."""
        return torch.as_tensor((1 - self.weight) * of_data + self.weight * of_teacher)


class Lesson(Protocol):
    """Losses and held-out data of one workload."""

    def loss(self, model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        """Scalar loss of one step; everything random comes from the generator and from torch's global one."""

    def held_out(self, model: nn.Module) -> float:
        """One number on data that are never trained on, at fixed noise; lower is better."""

    def finish_(self, model: nn.Module) -> None:
        """Last touch on a model whose weights have changed."""

    def state(self) -> dict[str, Any]:
        """What the lesson itself has learned, for a checkpoint."""

    def load_(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""


class Stateless:
    """A lesson that learns nothing itself and leaves the model as it was trained."""

    def finish_(self, model: nn.Module) -> None:
        """Nothing to do."""

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_(self, state: Mapping[str, Any]) -> None:
        """Nothing to do."""


def shared_names(student: nn.Module, teacher: nn.Module) -> list[str]:
    """Layers that both networks have: those whose outputs can be compared, where they have equal shapes."""
    theirs = dict(teacher.named_modules())
    return [name for name, layer in weight_layers(student).items() if name in theirs and not _is_lookup(layer)]


@contextmanager
def watched(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Outputs of the named layers in the last call inside the block, by name."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            seen[name] = output

    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: keep(name, out))
        for name in names
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def feature_difference(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """Mean over layers of |f - f'|² / |f'|²; layers of other shapes are left out.

    Source: Romero 2015 (arXiv:1412.6550), hints; block by block for diffusion: Kim 2023 (arXiv:2305.15798).
    """
    found = []
    for name, own in student.items():
        theirs = teacher.get(name)
        if theirs is not None and theirs.shape == own.shape:
            theirs = theirs.detach().float()
            found.append((own.float() - theirs).square().mean() / theirs.square().mean().clamp_min(1e-8))
    return torch.stack(found).mean() if found else torch.zeros(())


def _is_lookup(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Embedding)
