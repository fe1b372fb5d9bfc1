"""Which tensor dimensions of a network shrink together.

A width is what one channel (or one attention head) is made of: rows of the layers that produce it, columns of
the layers that read it, and its entries in the norms between. Those of the bundled networks are written down
(`declared.py`); those of any other network are traced by torch-pruning's dependency graph (`traced.py`).
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from gencomp_core.compression.layers import WEIGHT_LAYERS, weight_layers

Side = Literal["out", "in"]
WidthKind = Literal["channels", "heads"]
_OWN_STATE = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


@dataclass(frozen=True, eq=False)
class Slot:
    """Where the units of a width are in one layer.

    Attributes:
        layer: dotted name.
        side: outputs or inputs of the layer.
        index: (n_units, k) int64: which channels of that side belong to each unit.
    """

    layer: str
    side: Side
    index: Tensor


@dataclass(frozen=True, eq=False)
class Width:
    """Channels or heads that several layers share.

    Attributes:
        name: the layer that makes them, or the attention.
        kind: channels, or heads of the attention `name`.
        slots: all layers that have them.
    """

    name: str
    kind: WidthKind
    slots: tuple[Slot, ...]

    @property
    def n_units(self) -> int:
        """How many channels or heads there are."""
        return len(self.slots[0].index)

    @property
    def layers(self) -> set[str]:
        """Names of all layers that take part."""
        return {slot.layer for slot in self.slots}


@dataclass(frozen=True, eq=False)
class Family:
    """Widths that must shrink by the same share, because a GroupNorm sees them side by side.

    Attributes:
        widths: most often one.
        cells: for each width (n_units,) int64: which cell each unit belongs to. From every cell the same
            share is removed, so that the groups of a norm keep their members and stay equally large.
        n_steps: in how many equal shares each cell can be removed; the last one stays.
    """

    widths: tuple[Width, ...]
    cells: tuple[Tensor, ...]
    n_steps: int


@dataclass
class Structure:
    """All widths of a network.

    Attributes:
        widths: that can shrink.
        reasons: why a layer has none, by layer name, as far as that is known.
    """

    widths: list[Width] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


def tensor_dims(layer: nn.Module, side: Side) -> dict[str, int]:
    """Dimension of each tensor of a layer that counts its outputs or inputs; empty for an unknown kind of layer."""
    if side == "in":
        if isinstance(layer, nn.Linear):
            return {"weight": 1}
        if isinstance(layer, _ConvNd) and layer.groups == 1:
            return {"weight": 0 if isinstance(layer, _ConvTransposeNd) else 1}
        return {}
    if isinstance(layer, nn.Linear):
        return {"weight": 0, "bias": 0}
    if isinstance(layer, nn.Embedding):
        return {"weight": 1}
    if isinstance(layer, _ConvNd) and layer.groups == 1:
        return {"weight": 1 if isinstance(layer, _ConvTransposeNd) else 0, "bias": 0}
    if isinstance(layer, _NormBase):
        return {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0}
    if isinstance(layer, nn.GroupNorm) or (isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1):
        return {"weight": 0, "bias": 0}
    return {}


def side_size(layer: nn.Module, side: Side) -> int:
    """Outputs or inputs of a layer."""
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[0]
    if isinstance(layer, _NormBase):
        return layer.num_features
    size: int = getattr(layer, "weight").shape[tensor_dims(layer, side)["weight"]]  # noqa: B009 (typed as Any)
    return size


def obstacle(model: nn.Module, name: str) -> str | None:
    """Why a layer can't be sliced, or None."""
    layer = model.get_submodule(name)
    if isinstance(layer, _ConvNd) and layer.groups > 1:
        return f"is a convolution in {layer.groups} groups, which tie inputs to outputs"
    if not tensor_dims(layer, "out"):
        return f"is a {type(layer).__name__}, which can't be sliced"
    if isinstance(layer, WEIGHT_LAYERS) and "weight" not in layer._parameters:
        return "has a weight that is computed from others (a parametrization)"
    owners = Counter(id(own) for module in model.modules() for own in module._parameters.values() if own is not None)
    if any(own is not None and owners[id(own)] > 1 for own in layer._parameters.values()):
        return "shares its weight with another layer"
    hooks = [*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()]
    if hooks:
        return f"has inputs that another stage changes ({type(hooks[0]).__name__}), fitted to its present shape"
    state = dict(layer.named_parameters()) | dict(layer.named_buffers())
    if extra := [key for key, value in state.items() if key not in _OWN_STATE and value.numel() > 1]:
        return f"has tensors of another stage ({extra[0]}), which fit its present shape only"
    return None


def families(model: nn.Module, widths: list[Width]) -> tuple[list[Family], dict[str, str]]:
    """Widths by what must shrink together, and why some can't shrink, by the name of the width."""
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.GroupNorm)}
    found: list[Family] = []
    refused: dict[str, str] = {}
    for members in _connected(widths, set(norms)):
        cells = tuple(_cells(width, norms) for width in members)
        n_steps = math.gcd(*(size for own in cells for size in own.bincount().tolist()))
        covered: Counter[str] = Counter()
        for slot in (slot for width in members for slot in width.slots if slot.layer in norms):
            covered[slot.layer] += slot.index.numel()
        if any(norms[name].num_channels != n for name, n in covered.items()):
            refused |= {width.name: "shares a GroupNorm with channels that can't shrink" for width in members}
        elif n_steps == 1:
            reason = "has one channel left in a group of a GroupNorm" if covered else "has one of its {} left"
            refused |= {width.name: reason.format(width.kind) for width in members}
        else:
            found.append(Family(tuple(members), cells, n_steps))
    return found, refused


def untouched_layers(model: nn.Module, structure: Structure, kinds: tuple[WidthKind, ...]) -> dict[str, str]:
    """Weight layers that lie in no width of these kinds, each with the reason."""
    families_found, refused = families(model, [width for width in structure.widths if width.kind in kinds])
    inside = {layer for family in families_found for width in family.widths for layer in width.layers}
    reasons: dict[str, str] = {}
    for width in structure.widths:
        if width.name in refused:
            reasons |= dict.fromkeys(width.layers, refused[width.name])
    fallback = "belongs to no attention" if kinds == ("heads",) else "has inputs and outputs that are the network's own"
    own = {} if kinds == ("heads",) else structure.reasons
    return {name: {**reasons, **own}.get(name, fallback) for name in weight_layers(model) if name not in inside}


def _connected(widths: list[Width], norms: set[str]) -> list[list[Width]]:
    """Widths in sets that are linked by common norms, in the order in which they stand."""
    groups: list[tuple[set[str], list[Width]]] = []
    for width in widths:
        own = width.layers & norms
        linked = [group for group in groups if group[0] & own]
        members = [member for group in linked for member in group[1]] + [width]
        groups = [group for group in groups if group not in linked]
        groups.append((own.union(*(group[0] for group in linked)), members))
    return [members for _, members in groups]


def _cells(width: Width, norms: dict[str, nn.GroupNorm]) -> Tensor:
    """Number of the cell of each unit: units in the same group of every GroupNorm are in one cell."""
    where = [torch.zeros(width.n_units, dtype=torch.int64)]
    for slot in width.slots:
        if slot.layer in norms:
            norm = norms[slot.layer]
            where.append(slot.index[:, 0] // (norm.num_channels // norm.num_groups))
    cells: Tensor = torch.unique(torch.stack(where), dim=1, return_inverse=True)[1]
    return cells
