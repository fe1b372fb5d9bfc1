"""Workloads from Hugging Face models: `hf:FOLDER-OR-ID`, `hf:FOLDER-OR-ID?texts=FILE`.

Text generators load through transformers (encoder–decoders and decoders), image generators through diffusers
(unconditional pixel diffusion). Weights must be safetensors, and code that comes with a model is never run.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs

from gencomp_core.errors import CheckpointError, MissingDependencyError, UnknownNameError
from gencomp_core.workloads.catalog import HUGGINGFACE_PREFIX

if TYPE_CHECKING:
    from torch import nn

    from gencomp_core.workloads.base import Workload

PIPELINE_FILE = "model_index.json"


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: the workload's whole name.
        model: folder, or id on the hub.
        texts: file with prompts and references; None for the bundled verses.
    """

    name: str
    model: str
    texts: Path | None = None

    @classmethod
    def parse(cls, name: str) -> "Source":
        """Read a workload's name.

        Raises:
            UnknownNameError: no model is named, or something else than texts is asked for.
        """
        model, _, query = name.removeprefix(HUGGINGFACE_PREFIX).partition("?")
        asked = parse_qs(query, keep_blank_values=True)
        if not model or set(asked) - {"texts"} or (query and "texts" not in asked):
            raise UnknownNameError(
                "A Hugging Face model is named hf:FOLDER-OR-ID, or hf:FOLDER-OR-ID?texts=FILE with prompts and "
                f"references; got {name!r}. Write it so."
            )
        return cls(name, model, Path(asked["texts"][0]) if asked else None)


def load_huggingface(name: str) -> "Workload":
    """A Hugging Face model as a workload.

    Raises:
        UnknownNameError: a malformed name, or a kind of model that can't be loaded.
        CheckpointError: no such model, or its files can't be read.
        DataError: a file of texts that can't be read.
        MissingDependencyError: transformers or diffusers is not installed.
    """
    source = Source.parse(name)
    if _is_pipeline(source.model):
        with loading(source, "diffusers"):
            from gencomp_core.workloads.huggingface_images import load_images

            return cast("Workload", load_images(source))
    with loading(source, "transformers"):
        from gencomp_core.workloads.huggingface_texts import load_texts

        return cast("Workload", load_texts(source))


@contextmanager
def loading(source: Source, package: str) -> Iterator[None]:
    """Turn what a library says into one clear line."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingDependencyError(f"{source.name} needs a package: pip install {package}.") from None
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{source.model} can't be loaded by {package} ({reason}). Give a folder that save_pretrained wrote, with "
            "safetensors, or the id of a model on the hub with internet access."
        ) from None


def state_hash(model: "nn.Module") -> str:
    """First 16 hex digits of the SHA-256 of all weights and their names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _is_pipeline(model: str) -> bool:
    """Whether it is one of diffusers; a model on the hub is asked for the file that only those have."""
    folder = Path(model).expanduser()
    if folder.is_dir() or folder.is_absolute():
        return (folder / PIPELINE_FILE).is_file()
    try:
        from huggingface_hub import file_exists
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ModuleNotFoundError:
        return False
    try:
        return file_exists(model, PIPELINE_FILE)
    except (HfHubHTTPError, HFValidationError, OSError):
        return False  # what loads it says what is wrong
