"""Which layers of a model hold weights that can be compressed, and how a weight reads as a matrix."""

from collections import Counter
from collections.abc import Collection
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from gencomp_core.errors import RecipeError
from gencomp_core.recipes.stage import Stage, is_glob
from gencomp_core.registry import suggestion

WEIGHT_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def weight_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers whose weights can be pruned and quantized, by dotted name, in the order of the model.

    A weight that several layers share is listed once, under the first of their names.
    """
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, WEIGHT_LAYERS) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            found[name] = module
    return found


@runtime_checkable
class HasTiedLayers(Protocol):
    """A network that uses the weight of a layer outside of that layer, as an embedding that is the output layer too."""

    def tied_layers(self) -> Collection[str]:
        """Names of such layers."""


def shared_layers(model: nn.Module) -> set[str]:
    """Layers whose weight another module has too, or that the network uses outside of them."""
    users = Counter(id(module._parameters.get("weight")) for module in model.modules())
    found = {name for name, layer in weight_layers(model).items() if users[id(layer.weight)] > 1}
    for prefix, module in model.named_modules():
        if isinstance(module, HasTiedLayers):
            found |= {f"{prefix}.{name}" if prefix else name for name in module.tied_layers()}
    return found


def weight_of(layer: nn.Module) -> Tensor:
    """The layer's weight, detached: a view, so that writing to it changes the layer."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def is_transposed(layer: nn.Module) -> bool:
    """Whether output channels are dimension 1 of the weight (transposed convolutions)."""
    return isinstance(layer, _TRANSPOSED) and layer.groups == 1


def to_rows(weight: Tensor, *, transposed: bool) -> Tensor:
    """Weight as a matrix with one row per output channel: (out, ...) -> (out, rest)."""
    return (weight.transpose(0, 1) if transposed else weight).flatten(1)


def from_rows(rows: Tensor, shape: torch.Size, *, transposed: bool) -> Tensor:
    """Inverse of `to_rows` for a weight of `shape`."""
    if not transposed:
        return rows.reshape(shape)
    return rows.reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1)


def n_inputs(layer: nn.Module) -> int:
    """Input channels of a layer."""
    return cast(int, layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)


def over_weight(layer: nn.Module, per_channel: Tensor) -> Tensor:
    """(input channels,) -> broadcastable to the layer's weight, whose groups have input channels of their own."""
    weight = weight_of(layer)
    if isinstance(layer, _TRANSPOSED):
        return per_channel.view(-1, *[1] * (weight.ndim - 1))
    rows = per_channel.view(_groups(layer), -1).repeat_interleave(len(weight) // _groups(layer), dim=0)
    return rows.view(*rows.shape, *[1] * (weight.ndim - 2))


def largest_by_input(layer: nn.Module) -> Tensor:
    """Largest |w| that each input channel meets: (input channels,)."""
    weight = weight_of(layer).abs()
    if isinstance(layer, _TRANSPOSED):
        return weight.flatten(1).amax(1)
    by_group = weight.reshape(_groups(layer), -1, *weight.shape[1:]).amax(1)
    return by_group.reshape(n_inputs(layer), -1).amax(1)


def _groups(layer: nn.Module) -> int:
    return 1 if isinstance(layer, nn.Linear) else cast(int, layer.groups)


def layers_for(stage: Stage, layers: dict[str, nn.Module], *, owner: str) -> dict[str, Stage]:
    """The stage as it holds for each layer that it does not skip, by layer name.

    Raises:
        RecipeError: a name in the stage's `layers` is no layer of this model. A glob that fits
            nothing is no error, so that one recipe serves several workloads.
    """
    names = list(layers)
    for pattern in stage.unmatched_names(names):
        if not is_glob(pattern):
            raise RecipeError(
                f"{stage.kind}: layers.{pattern} must name a layer of {owner}, got {pattern!r}."
                f"{suggestion(pattern, names)} 'gencomp inspect {owner}' lists them; a glob such as "
                f"'*{pattern.split('.')[-1]}*' may fit none."
            )
    effective = {name: stage.for_layer(name) for name in names}
    return {name: own for name, own in effective.items() if own is not None}
