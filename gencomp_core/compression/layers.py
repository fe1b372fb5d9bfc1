"""Which layers of a model hold weights that can be compressed, and how a weight reads as a matrix."""

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
