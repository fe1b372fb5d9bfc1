"""What a runtime is given, and what it gives back."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import nn

from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.workloads.base import Workload


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that is to be executed.

    Attributes:
        workload: that it belongs to.
        model: fake-quantized, in eval mode; never changed.
        quantized: integers behind its weights, by layer name.
        key: differs between models with other weights or another structure.
    """

    workload: Workload
    model: nn.Module
    quantized: Mapping[str, QuantizedWeight]
    key: str

    @classmethod
    def dense(cls, workload: Workload) -> "Subject":
        """The dense model of a workload."""
        return cls(workload, workload.model, {}, f"dense-{workload.weights_hash}")

    @classmethod
    def shipped(
        cls, workload: Workload, model: nn.Module, quantized: Mapping[str, QuantizedWeight], content: bytes
    ) -> "Subject":
        """A model that was filled from the bytes of a weights file."""
        return cls(workload, model, quantized, hashlib.sha256(content).hexdigest()[:16])


@dataclass(frozen=True, eq=False)
class Opened:
    """A model in a runtime.

    Attributes:
        network: takes the model's place in the workload's sampler.
        ran: what really runs, in a few words.
        files: of the runtime itself, by the name that they have in an artifact; empty where it needs none.
    """

    network: nn.Module
    ran: str
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Length of the runtime's own files."""
        return sum(path.stat().st_size for path in self.files.values())


class Runtime(Protocol):
    """Opens models for execution."""

    def __call__(self, subject: Subject, *, stored: Path | None = None) -> Opened:
        """The model, ready to sample with as many threads as torch uses now.

        Args:
            stored: folder with `Opened.files` of an earlier opening, which are then run as they are; without it
                the model is converted, once for its weights.

        Raises:
            EvaluationError: this runtime can't take the model over.
            MissingDependencyError: its package is not installed.
        """
        ...
