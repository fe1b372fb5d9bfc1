"""Dense checkpoints: safetensors files with the shape of their network in the header."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gencomp_core.data.assets import check_asset
from gencomp_core.errors import CheckpointError
from gencomp_core.runtime_env import ASSETS

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
