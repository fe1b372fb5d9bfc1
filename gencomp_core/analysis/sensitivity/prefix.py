"""Runs of a network in which one layer has another weight: what is computed before that layer is not computed again.

Every call of a leaf module of `torch.nn` is recorded once. With another weight in one layer, all calls before the first
of that layer see what they saw before, so that their outputs are taken from the record. What lies between modules is
computed anew, which keeps loops, branches and caches of the network as they are.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gencomp_core.compression.layers import shared_layers, weight_layers, weight_of
from gencomp_core.workloads.calibration import PositionedBatch

BUDGET_BYTES = 1_500_000_000
_RECORDING = -1


@dataclass(eq=False)
class _Record:
    """Leaf calls of one batch.

    Attributes:
        outputs: of each call in order; None where it must be made again.
        versions: how often each output had been written to when it was recorded.
        first: number of the first call of each module.
    """

    outputs: list[Tensor | None] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    first: dict[str, int] = field(default_factory=dict)


class PrefixRunner:
    """A private copy of a model with the recorded calls of some batches.

    A weight that the network uses outside of its layer, and says so (`tied_layers`), is run without the record. A
    layer that is never called as a module is, too.

    Args:
        read: what is made of a raw output.
        reuse: whether to use the record at all.
        budget_bytes: of recorded outputs; calls beyond it are made again.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[PositionedBatch],
        read: Callable[[object], Tensor],
        *,
        reuse: bool = True,
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        self.network = copy.deepcopy(model).eval().requires_grad_(False)
        self.layers = weight_layers(self.network)
        self.batches = batches
        self._read = read
        self._whole = shared_layers(self.network) if reuse else set(self.layers)
        self._left = budget_bytes
        self._record: _Record | None = None
        self._limit = self._call = 0
        for name, module in self.network.named_modules():
            if not any(module.children()) and type(module).__module__.startswith("torch.nn."):
                module.forward = self._watched(name, module.forward)
        self.dense, self._records = self._run_dense()

    @torch.no_grad()
    def outputs(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Output of each batch with other weights in some layers, which have their own again afterwards."""
        before = {name: weight_of(self.layers[name]).clone() for name in weights}
        found = []
        try:
            for name, weight in weights.items():
                weight_of(self.layers[name]).copy_(weight)
            for batch, record in zip(self.batches, self._records, strict=True):
                firsts = [0 if name in self._whole else record.first.get(name, 0) for name in weights]
                self._record, self._call, self._limit = record, 0, min(firsts, default=len(record.outputs))
                found.append(self._read(batch.run(self.network)))
        finally:
            self._record = None
            for name, weight in before.items():
                weight_of(self.layers[name]).copy_(weight)
        return found

    @torch.no_grad()
    def _run_dense(self) -> tuple[list[Tensor], list[_Record]]:
        outputs, records = [], []
        for batch in self.batches:
            record = _Record()
            self._record, self._call, self._limit = record, 0, _RECORDING
            outputs.append(self._read(batch.run(self.network)))
            for number, (own, version) in enumerate(zip(record.outputs, record.versions, strict=True)):
                if own is not None and own._version != version:
                    record.outputs[number] = None  # written to in place: no longer what the call gave
            records.append(record)
        self._record = None
        return outputs, records

    def _watched(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            record, number = self._record, self._call
            self._call += 1
            if record is None:
                return forward(*args, **kwargs)
            if number < self._limit and record.outputs[number] is not None:
                return record.outputs[number]
            output = forward(*args, **kwargs)
            if self._limit == _RECORDING:
                self._note(record, name, number, output)
            return output

        return call

    def _note(self, record: _Record, name: str, number: int, output: Any) -> None:
        record.first.setdefault(name, number)
        keep = isinstance(output, Tensor) and not output.is_inference() and self._left > 0
        record.outputs.append(output if keep else None)
        record.versions.append(output._version if keep else 0)
        if keep:
            self._left -= output.numel() * output.element_size()
