"""Dense checkpoints: safetensors files with the shape of their network in the header."""

import hashlib
import json
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gencomp_core.data.assets import check_asset
from gencomp_core.errors import CheckpointError
from gencomp_core.runtime_env import ASSETS, device

CHECKPOINT_FOLDER = ASSETS / "checkpoints"


def checkpoint_path(name: str) -> Path:
    """Weights file of a bundled network."""
    return CHECKPOINT_FOLDER / name / "model.safetensors"


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the network's shape from the header (empty when it has none).

    Raises:
        CheckpointError: missing or damaged file.
        DataError: a shipped file that was changed.
    """
    check_asset(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
            metadata = file.metadata() or {}
            return tensors, json.loads(metadata.get("network_config", "{}"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing. Restore it from the repository, or train it again.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Restore it from the repository.") from None


def fill(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Load tensors into a network and put it in eval mode.

    Raises:
        CheckpointError: the tensors are those of another network.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(f"{path} holds another network: {first} Use the file that belongs to it.") from None
    return network.eval().requires_grad_(False)


def file_hash(path: Path) -> str:
    """First 16 hex digits of the file's SHA-256.

    Raises:
        CheckpointError: the file can't be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror}). Restore it from the repository.") from None


class CheckpointWeights(ABC):
    """A workload's dense model, read from a checkpoint when it is first used."""

    name: str

    def __init__(self, checkpoint: Path | None = None) -> None:
        self.checkpoint = checkpoint or checkpoint_path(self.name)

    @property
    def shape(self) -> dict[str, Any]:
        """Shape of the network, from the header of the checkpoint; a fresh dictionary."""
        return dict(self._content[1])

    @cached_property
    def model(self) -> nn.Module:
        """Dense model in eval mode; shared, never changed by anyone."""
        return fill(self.empty_network(), self._content[0], self.checkpoint).to(device())

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the dense weights."""
        return file_hash(self.checkpoint)

    @abstractmethod
    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights."""

    @cached_property
    def _content(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return read_checkpoint(self.checkpoint)
