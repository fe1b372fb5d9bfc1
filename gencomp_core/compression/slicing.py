"""How layers lose channels: the change to a network, and the slices of weights and integers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from gencomp_core.compression.changes import CHANGES
from gencomp_core.compression.layers import from_rows, to_rows
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.compression.structure import Side, Width, side_size, tensor_dims
from gencomp_core.errors import RecipeError

Kept = Mapping[str, Mapping[Side, tuple[int, ...]]]
_SIZES: dict[Side, tuple[str, ...]] = {
    "out": ("out_features", "out_channels", "embedding_dim", "num_channels", "num_features", "normalized_shape"),
    "in": ("in_features", "in_channels"),
}
"""Where a layer remembers how many outputs and inputs it has: the first of these that it has."""


@CHANGES.add("channels")
@dataclass(frozen=True, eq=False)
class ChannelChange:
    """Layers lose outputs and inputs; attentions lose heads. Two are equal that leave the same shape.

    Attributes:
        kept: by layer and side, the channels that stay. Where it was read from a file, the first so many:
            of a network that is yet to be filled, only the shape matters.
        heads: heads that are left, by attention.
    """

    kind: ClassVar[str] = "channels"
    kept: Kept
    heads: Mapping[str, int] = field(default_factory=dict)

    @torch.no_grad()
    def apply_(self, network: nn.Module) -> None:
        """Slice the layers, and update the sizes that they remember."""
        for name, sides in self.kept.items():
            layer = network.get_submodule(name)
            for side, kept in sides.items():
                if not kept or max(kept) >= side_size(layer, side):
                    raise ValueError(f"{name} has {side_size(layer, side)} channels {side}, not {len(kept)}")
                _slice_(layer, side, torch.tensor(kept))
        for name, n_heads in self.heads.items():
            attention = network.get_submodule(name)
            if not 1 <= n_heads <= int(cast(Any, attention).n_heads):
                raise ValueError(f"{name} has {attention.n_heads} heads, not {n_heads}")
            cast(Any, attention).n_heads = n_heads

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChannelChange) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(tuple(self.kept))

    def fields(self) -> dict[str, Any]:
        """How many channels and heads are left."""
        counts = {name: {side: len(kept) for side, kept in sides.items()} for name, sides in self.kept.items()}
        return {"kept": counts, "heads": dict(self.heads)}

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Self:
        """Change of a network that is filled later; KeyError, TypeError or ValueError where they are damaged."""
        kept: dict[str, dict[Side, tuple[int, ...]]] = {}
        for name, sides in dict(fields["kept"]).items():
            if not set(sides) <= {"out", "in"}:
                raise ValueError(f"{name} has no sides {sorted(sides)}")
            kept[name] = {side: tuple(range(n)) for side, n in sides.items()}
        return cls(kept, dict(fields["heads"]))


def change_of(model: nn.Module, removed: dict[Width, Tensor]) -> ChannelChange:
    """The change that removes units of widths: {width: (n_units,) bool, True = remove}."""
    keep: dict[str, dict[Side, Tensor]] = {}
    heads = {}
    for width, gone in removed.items():
        for slot in width.slots:
            size = side_size(model.get_submodule(slot.layer), slot.side)
            mask = keep.setdefault(slot.layer, {}).setdefault(slot.side, torch.ones(size, dtype=torch.bool))
            mask[slot.index[gone].flatten()] = False
        if width.kind == "heads":
            heads[width.name] = int((~gone).sum())
    kept: dict[str, dict[Side, tuple[int, ...]]] = {
        layer: {side: tuple(mask.nonzero()[:, 0].tolist()) for side, mask in sides.items()}
        for layer, sides in keep.items()
    }
    return ChannelChange(kept, heads)


def _slice_(layer: nn.Module, side: Side, kept: Tensor) -> None:
    for name, dim in tensor_dims(layer, side).items():
        value = getattr(layer, name)
        if value is None:
            continue
        sliced = value.detach().index_select(dim, kept.to(value.device)).contiguous()
        setattr(layer, name, nn.Parameter(sliced, value.requires_grad) if isinstance(value, nn.Parameter) else sliced)
    size = next(name for name in _SIZES[side] if hasattr(layer, name))
    setattr(layer, size, (len(kept),) if size == "normalized_shape" else len(kept))


def sliced_integers(
    own: QuantizedWeight, layer: nn.Module, sides: Mapping[Side, tuple[int, ...]], where: str
) -> QuantizedWeight:
    """The integers of the channels that stay, with their scales.

    Raises:
        RecipeError: removed inputs would tear groups of weights that share a scale.
    """
    codes = from_rows(own.codes, own.shape, transposed=own.transposed)
    n_columns = own.codes.shape[1]
    row_dim = 1 if own.transposed else 0
    scale, zero_point = own.scale, own.zero_point
    for side, kept in sides.items():
        dim = tensor_dims(layer, side)["weight"]
        index = torch.tensor(kept, device=codes.device)
        codes = codes.index_select(dim, index)
        if dim != row_dim and own.group_size < n_columns:
            raise RecipeError(
                f"{where} has integers in groups of {own.group_size} that share a scale, which removed inputs "
                "would tear apart. Put this stage before the quantization, or quantize per channel."
            )
        if dim == row_dim and len(scale) > 1:
            scale = scale.index_select(0, index)
            zero_point = None if zero_point is None else zero_point.index_select(0, index)
    rows = to_rows(codes, transposed=own.transposed).contiguous()
    size = own.group_size if own.group_size < n_columns else rows.shape[1]
    return replace(own, codes=rows, scale=scale, zero_point=zero_point, group_size=size, shape=codes.shape)
