"""Changes to a network beyond its weights: other widths, removed blocks, quantized activations, side branches.

A change is written to the weights file as plain JSON and made again on an empty network before the weights are
read. What it needs as tensors, it registers on the network as parameters or persistent buffers: they travel with
the weights. Layers keep their names, so that later stages still find them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from torch import nn

from gencomp_core.registry import Registry


class Change(Protocol):
    """One change, frozen.

    Attributes:
        kind: key in `CHANGES`.
    """

    kind: ClassVar[str]

    def apply_(self, network: nn.Module) -> None:
        """Make the change on a network that has the shape from before it."""

    def fields(self) -> dict[str, Any]:
        """Plain JSON values."""

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `fields`; KeyError, TypeError or ValueError where they are damaged."""


CHANGES: Registry[type[Change]] = Registry("change")
