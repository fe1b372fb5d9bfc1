"""Scales that move from the inputs of layers into the norm that makes them, so that nothing is left at run time.

Which layers read a norm is seen in a pass: their input is what the norm put out, or a view of it. Whether nothing
else reads it is then tried: scales moved at random must leave the output of the network as it is. So no network has to
declare its norms, and a norm followed by an activation (GroupNorm, SiLU, convolution) is in no fold.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from gencomp_core.compression.layers import n_inputs, over_weight, weight_layers, weight_of

TOLERANCE = 1e-4
"""Largest difference between outputs that are the same but for rounding, relative to the largest output."""

Run = Callable[[nn.Module], object]
_NORMS = (nn.LayerNorm, nn.GroupNorm, _NormBase)


@dataclass(frozen=True)
class Fold:
    """A norm, and the layers that read it: they and nothing else.

    Attributes:
        norm: its name.
        readers: names of layers, each with as many input channels as the norm has weights.
    """

    norm: str
    readers: tuple[str, ...]


def folds(model: nn.Module, run: Run) -> list[Fold]:
    """Norms of a network into which scales of their readers' inputs can move, in the order of the model.

    Args:
        run: passes inputs through the network that it is given; the output must be a tensor.
    """
    with torch.no_grad():
        dense = run(model)
        offered = _offered(model, run)
        if not isinstance(dense, Tensor) or _same(model, run, offered, dense):
            return offered if isinstance(dense, Tensor) else []
        return [fold for fold in offered if _same(model, run, [fold], dense)]


@torch.no_grad()
def fold_(model: nn.Module, fold: Fold, scale: Tensor) -> None:
    """Divide what a norm puts out by scales (channels,), and multiply the columns of its readers by them."""
    norm = model.get_submodule(fold.norm)
    for own in (norm.weight, norm.bias):
        if own is not None:
            cast(Tensor, own).detach().div_(scale)
    for name in fold.readers:
        reader = model.get_submodule(name)
        weight_of(reader).mul_(over_weight(reader, scale))


def _offered(model: nn.Module, run: Run) -> list[Fold]:
    """Norms with the layers that get what they put out, or a view of it."""
    norms = {name: norm for name, norm in model.named_modules() if isinstance(norm, _NORMS) and norm.weight is not None}
    layers = {name: own for name, own in weight_layers(model).items() if not isinstance(own, nn.Embedding)}
    made: dict[int, tuple[str, Tensor]] = {}  # outputs are kept, so that no other tensor gets their memory
    readers: dict[str, set[str]] = {name: set() for name in norms}

    def look(name: str, x: Tensor) -> None:
        if (norm := made.get(x.untyped_storage().data_ptr())) is not None:
            readers[norm[0]].add(name)

    hooks = [
        norm.register_forward_hook(
            lambda _, inputs, y, name=name: made.update({y.untyped_storage().data_ptr(): (name, y)})
        )
        for name, norm in norms.items()
    ] + [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: look(name, inputs[0]), prepend=True)
        for name, layer in layers.items()
    ]
    try:
        run(model)
    finally:
        for hook in hooks:
            hook.remove()
    found = [Fold(name, tuple(own for own in layers if own in readers[name])) for name in norms]
    return [fold for fold in found if fold.readers and _fit(norms[fold.norm], (layers[own] for own in fold.readers))]


def _fit(norm: nn.Module, readers: Iterable[nn.Module]) -> bool:
    """Whether each weight of the norm belongs to one input channel of every reader."""
    weight = cast(Tensor, norm.weight)
    return weight.ndim == 1 and all(n_inputs(reader) == len(weight) for reader in readers)


def _same(model: nn.Module, run: Run, offered: list[Fold], dense: Tensor) -> bool:
    """Whether the output stays when random scales between 1/2 and 2 move."""
    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for fold in offered:
        weight = cast(Tensor, moved.get_submodule(fold.norm).weight)
        fold_(moved, fold, (torch.rand(len(weight), generator=generator) * 2 - 1).exp2().to(weight.device))
    found = run(moved)
    if not isinstance(found, Tensor) or found.shape != dense.shape:
        return False
    return float((found - dense).abs().max()) <= TOLERANCE * float(dense.abs().max())
