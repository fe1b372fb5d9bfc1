"""What tensors leave in a weights file: the parts that are written for each, without their values."""

from math import prod
from typing import Any

from pydantic import Field

from gencomp_core.records.base import Record
from gencomp_core.records.scores import LayerOption

PRICES_VERSION = "1"
"""Raise when packing writes other bytes for the same weights, so that old price lists are made anew."""

ELEMENT_BYTES = {
    "U64": 8, "I64": 8, "F64": 8, "C64": 8, "F32": 4, "U32": 4, "I32": 4, "BF16": 2, "F16": 2, "U16": 2, "I16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one element by the name that safetensors gives its dtype, in the order in which it writes them."""


class Part(Record):
    """One entry of a safetensors file.

    Attributes:
        name: such as `linear.weight.scale`.
        dtype: as safetensors names it.
        shape: of the entry.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes of its values."""
        return prod(self.shape) * ELEMENT_BYTES[self.dtype]


class Footprint(Record):
    """All that is written for one tensor of a model.

    Attributes:
        tensor: name in the state dict.
        parts: entries of the file.
        layout: how the header describes them; empty for a plain tensor.
    """

    tensor: str
    parts: tuple[Part, ...]
    layout: dict[str, Any] = Field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Bytes of its values, scales, masks and indices, without the header."""
        return sum(part.n_bytes for part in self.parts)


class LayerPrice(Record):
    """What a layer's weight takes in the file under one option.

    Attributes:
        option: what was done.
        footprint: what is written.
        n_zeros: weights that are exactly zero.
    """

    option: LayerOption
    footprint: Footprint
    n_zeros: int


class LayerPrices(Record):
    """One compressible layer with the price of every option, the first of which is to do nothing.

    Attributes:
        layer: dotted module name.
        n_weights: values of its weight.
        macs: multiply-accumulates for one sample, over all calls.
        options: with their prices.
    """

    layer: str
    n_weights: int
    macs: int
    options: tuple[LayerPrice, ...]


class PriceList(Record):
    """What a plan needs to know of a workload to tell its bytes and operations exactly, without its weights.

    Attributes:
        workload, weights_hash: whose weights were packed.
        fixed: tensors that no option changes: biases, norms, buffers.
        layers: compressible layers, in the order of the model.
        macs: multiply-accumulates of the dense model for one sample, those between tensors included.
        metadata: fields of the file's header that are not of single tensors.
    """

    workload: str
    weights_hash: str
    fixed: tuple[Footprint, ...]
    layers: tuple[LayerPrices, ...]
    macs: int
    metadata: dict[str, Any] = Field(default_factory=dict)
