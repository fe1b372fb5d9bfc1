"""The draft: a model under compression, with the integers behind its quantized weights."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from gencomp_core.compression.changes import Change
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.records import TrainingRecord
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import CalibrationBatch, histogram


@dataclass
class Draft:
    """A private copy of a model that stages work on.

    Attributes:
        workload: whose model it is; calibration comes from it.
        model: runs with the compressed weights as float32 (fake quantization).
        quantized: integers of the quantized weights by layer name; exactly what `model` runs with.
        changes: what was done to the network beyond its weights, in order.
        seed: of everything that a stage draws, calibration included.
        calibration: samples that ranges were calibrated with, by stage of the generation and by class or length.
        rounded_from: float32 weights that quantized ones were rounded from, by layer name.
        pruned: layers that lost weights.
        masks: which weights were left (bool) of layers that were integers when they were pruned.
        curves: of each tuning, in order.
        tunings: names of the folders below GenComp's home in which they are kept.
    """

    workload: Workload
    model: nn.Module
    quantized: dict[str, QuantizedWeight] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    seed: int = 0
    calibration: dict[str, dict[str, int]] = field(default_factory=dict)
    rounded_from: dict[str, Tensor] = field(default_factory=dict)
    pruned: set[str] = field(default_factory=set)
    masks: dict[str, Tensor] = field(default_factory=dict)
    curves: list[tuple[TrainingRecord, ...]] = field(default_factory=list)
    tunings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, workload: Workload, *, seed: int = 0) -> "Draft":
        """Draft of a workload's dense model, which is left untouched."""
        return cls(workload, copy.deepcopy(workload.model), seed=seed)

    @property
    def owner(self) -> str:
        """Name of the workload, for messages."""
        return self.workload.name

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """Compressible layers by name."""
        return weight_layers(self.model)

    @cached_property
    def reference(self) -> nn.Module:
        """What compression is compared with: the dense model, or one that computes the same and replaced it."""
        return self.workload.model

    def change_(self, change: Change) -> None:
        """Change the network itself; a layer that is gone or has another shape loses its integers."""
        before = {name: weight_of(layer).shape for name, layer in self.layers.items()}
        change.apply_(self.model)
        self.changes.append(change)
        del self.layers
        kept = {name for name, layer in self.layers.items() if before.get(name) == weight_of(layer).shape}
        self.quantized = {name: own for name, own in self.quantized.items() if name in kept}
        self.rounded_from = {name: own for name, own in self.rounded_from.items() if name in kept}

    def calibrated_with_(self, batches: Iterable[CalibrationBatch]) -> None:
        """Keep what a stage was calibrated with; stages share their first samples, so that the larger count holds."""
        for stage, counts in histogram(batches).items():
            known = self.calibration.setdefault(stage, {})
            known.update({name: max(n, known.get(name, 0)) for name, n in counts.items()})

    @torch.no_grad()
    def quantize_(self, name: str, quantized: QuantizedWeight, *, of: Tensor | None = None) -> None:
        """Give a layer the weights of these codes; `of` is what they were rounded from, where that is known."""
        weight = quantized.dequantize()
        weight_of(self.layers[name]).copy_(weight)
        self.quantized[name] = quantized
        self.rounded_from[name] = self._shared(name, weight if of is None else of)

    def _shared(self, name: str, weight: Tensor) -> Tensor:
        """The dense model's own tensor where it holds the same numbers, so that no second copy is kept."""
        dense = self._dense_layers.get(name)
        if dense is None or weight_of(dense).shape != weight.shape or not torch.equal(weight_of(dense), weight):
            return weight
        return weight_of(dense)

    @cached_property
    def _dense_layers(self) -> dict[str, nn.Module]:
        return weight_layers(self.workload.model)

    @torch.no_grad()
    def mask_(self, name: str, keep: Tensor) -> None:
        """Zero a layer's weights where `keep` is False; integers become the code of 0."""
        weight = weight_of(self.layers[name])
        before = self.kept(name)
        self.pruned.add(name)
        if name in self.quantized:
            self.masks[name] = keep & before
            self.quantize_(name, self.quantized[name].with_zeros(keep), of=self.rounded_from[name])
        else:
            weight.masked_fill_(~keep, 0.0)  # a product would leave -0.0, which is no zero when packed

    def kept(self, name: str) -> Tensor:
        """Which weights of a layer no stage has pruned: bool, the weight's shape."""
        weight = weight_of(self.layers[name])
        if name not in self.pruned:
            return torch.ones_like(weight, dtype=torch.bool)
        mask = self.masks.get(name)
        if name in self.quantized and mask is not None and mask.shape == weight.shape:
            return mask
        return self.rounded_from.get(name, weight) != 0
