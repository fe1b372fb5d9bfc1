"""The draft: a model under compression, with the integers behind its quantized weights."""

import copy
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.compression.quantizers import QuantizedWeight


@dataclass
class Draft:
    """A private copy of a model that stages work on.

    Attributes:
        owner: name of the workload, for messages.
        model: runs with the compressed weights as float32 (fake quantization).
        quantized: integers of the quantized weights by layer name; exactly what `model` runs with.
    """

    owner: str
    model: nn.Module
    quantized: dict[str, QuantizedWeight] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, owner: str) -> "Draft":
        """Draft of a model that is left untouched."""
        return cls(owner, copy.deepcopy(model))

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """Compressible layers by name."""
        return weight_layers(self.model)

    @torch.no_grad()
    def quantize_(self, name: str, quantized: QuantizedWeight) -> None:
        """Give a layer integer weights."""
        weight_of(self.layers[name]).copy_(quantized.dequantize())
        self.quantized[name] = quantized

    @torch.no_grad()
    def mask_(self, name: str, keep: Tensor) -> None:
        """Zero a layer's weights where `keep` is False; integers become the code of 0."""
        weight = weight_of(self.layers[name])
        if name in self.quantized:
            self.quantize_(name, self.quantized[name].with_zeros(keep))
        else:
            weight.masked_fill_(~keep, 0.0)  # a product would leave -0.0, which is no zero when packed
