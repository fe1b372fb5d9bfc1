"""The manifest of an artifact, and the checksums that guard every file beside it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gencomp_core.errors import ArtifactError

MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "weights.safetensors"
RECIPE_FILE = "recipe.yaml"
SELFTEST_FILE = "selftest.safetensors"
CARD_FILE = "README.md"
SUMS_FILE = "SHA256SUMS"
FORMAT = "gencomp-artifact-1"


class SelfTestFacts(BaseModel):
    """What a loaded artifact must reproduce.

    Attributes:
        n_samples, seed, settings: which samples.
        sha256: of their bytes, as generated where the artifact was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_samples: int
    seed: int
    settings: dict[str, int | float | str]
    sha256: str


class Manifest(BaseModel):
    """What an artifact is, and where it came from.

    Attributes:
        format: version of this layout.
        workload: name.
        dense_weights_hash: of the dense weights that were compressed.
        recipe_signature: of `recipe.yaml`.
        seed: that the recipe was applied with.
        size_bytes: length of `weights.safetensors`.
        dense_size_bytes: length of the dense weights file.
        licences: of weights, data and code.
        versions: packages that made it.
        created_at: ISO date and time, UTC.
        selftest: what `verify` re-checks.
        measurement: stored figures of this configuration, without the per-tensor list; None when it
            was never measured.
        calibration: samples that the variant was calibrated with, by stage of the generation and by class or length.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    workload: str
    dense_weights_hash: str
    recipe_signature: str
    seed: int
    size_bytes: int
    dense_size_bytes: int
    licences: dict[str, str]
    versions: dict[str, str]
    created_at: str
    selftest: SelfTestFacts
    measurement: dict[str, Any] | None = None
    calibration: dict[str, dict[str, int]] = {}


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest as JSON."""
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest.

    Raises:
        ArtifactError: no artifact folder, or a manifest of another format.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = Manifest.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise ArtifactError(f"{folder} is no artifact: no {MANIFEST_FILE}. Name the folder of an export.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} can't be read ({error}). Export the artifact again.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ArtifactError(f"{path} is damaged at {place}: {first['msg']}. Export the artifact again.") from None
    if manifest.format != FORMAT:
        raise ArtifactError(f"{path}: format must be {FORMAT}, got {manifest.format}. Update GenComp or export again.")
    return manifest


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over all other files, in the format of `sha256sum --check`."""
    lines = [f"{file_sha256(path)}  {path.name}" for path in sorted(folder.iterdir()) if path.name != SUMS_FILE]
    (folder / SUMS_FILE).write_text("\n".join(lines) + "\n")


def changed_files(folder: Path) -> list[str]:
    """Names of files that are missing, changed or not listed in SHA256SUMS; empty when all is well.

    Raises:
        ArtifactError: no artifact folder, or its SHA256SUMS can't be read.
    """
    path = folder / SUMS_FILE
    if not path.exists():
        raise ArtifactError(f"{folder} is no complete artifact: it has no {SUMS_FILE}. Export it again.")
    listed = {}
    for line in path.read_text(errors="replace").removesuffix("\n").split("\n"):
        digest, separator, name = line.partition("  ")
        if not separator:
            return [SUMS_FILE]
        listed[name] = digest
    present = {entry.name: entry for entry in folder.iterdir() if entry.name != SUMS_FILE}
    wrong = [name for name, digest in listed.items() if name not in present or _digest(present[name]) != digest]
    return wrong + [name for name in present if name not in listed]


def _digest(path: Path) -> str:
    return file_sha256(path) if path.is_file() else "no file"


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
