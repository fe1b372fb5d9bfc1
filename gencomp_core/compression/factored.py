"""A layer as two thin ones: the module in its place, and the change to the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from torch import Tensor, nn

from gencomp_core.compression.calibration import rows_of
from gencomp_core.compression.changes import CHANGES
from gencomp_core.compression.layers import is_transposed

_POINTWISE = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Factored(nn.Module):
    """Two thin layers in place of one; the second has its bias.

    Args:
        layer: linear or a convolution without groups; only its shape is taken.
        rank: channels between the two.

    Raises:
        ValueError: a rank above that of the layer.
    """

    def __init__(self, layer: nn.Module, rank: int) -> None:
        super().__init__()
        rows = rows_of(layer)
        if not 1 <= rank <= min(rows.shape):
            raise ValueError(f"a layer of {tuple(rows.shape)} has no rank of {rank}")
        self.thin, self.wide = _thin(layer, rank), _wide(layer, rank)
        self.requires_grad_(cast(Tensor, layer.weight).requires_grad).train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer takes -> what it gives."""
        out: Tensor = self.wide(self.thin(x))
        return out

    @property
    def in_features(self) -> int:
        """Inputs of a linear layer."""
        return cast(int, self.thin.in_features)

    @property
    def out_features(self) -> int:
        """Outputs of a linear layer."""
        return cast(int, self.wide.out_features)

    @property
    def in_channels(self) -> int:
        """Inputs of a convolution."""
        return cast(int, self.thin.in_channels)

    @property
    def out_channels(self) -> int:
        """Outputs of a convolution."""
        return cast(int, self.wide.out_channels)


def _thin(layer: Any, rank: int) -> nn.Module:
    """The layer with `rank` outputs and no bias, all zero."""
    place = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    if isinstance(layer, nn.Linear):
        return _zeros(nn.Linear, layer.in_features, rank, bias=False, **place)
    fields = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "padding_mode")}
    if is_transposed(layer):
        fields["output_padding"] = layer.output_padding
    return _zeros(type(layer), layer.in_channels, rank, layer.kernel_size, bias=False, **fields, **place)


def _wide(layer: Any, rank: int) -> nn.Module:
    """The product from `rank` channels to the layer's outputs, all zero."""
    place = {"bias": layer.bias is not None, "device": layer.weight.device, "dtype": layer.weight.dtype}
    if isinstance(layer, nn.Linear):
        return _zeros(nn.Linear, rank, layer.out_features, **place)
    return _zeros(_POINTWISE[len(layer.kernel_size)], rank, layer.out_channels, 1, **place)


def _zeros(kind: type[nn.Module], *sizes: Any, **fields: Any) -> nn.Module:
    """A layer of zeros, made without drawing random numbers."""
    made = cast(nn.Module, nn.utils.skip_init(kind, *sizes, **fields))  # type: ignore[no-untyped-call]
    for own in made.parameters():
        own.detach().zero_()
    return made


@CHANGES.add("factored-layers")
@dataclass(frozen=True)
class FactoredLayers:
    """The change: layers become two thin ones, named `thin` and `wide` below the old name.

    Attributes:
        ranks: channels between the two, by layer name.
    """

    kind: ClassVar[str] = "factored-layers"
    ranks: Mapping[str, int]

    def apply_(self, network: nn.Module) -> None:
        """Put the thin layers in place, all zero; AttributeError or ValueError where they don't fit."""
        for name, rank in self.ranks.items():
            parent, _, key = name.rpartition(".")
            setattr(network.get_submodule(parent), key, Factored(network.get_submodule(name), rank))

    def fields(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ranks": dict(self.ranks)}

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `fields`; KeyError, TypeError or ValueError where they are damaged."""
        return cls({str(name): int(rank) for name, rank in dict(fields["ranks"]).items()})
