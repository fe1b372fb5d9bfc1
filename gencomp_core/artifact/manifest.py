"""The manifest of an artifact: what it is, where it came from, and what its self-test must find again."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gencomp_core.errors import ArtifactError
from gencomp_core.records import Latency

MANIFEST_FILE = "manifest.json"
SCHEMA_FILE = "manifest.schema.json"
WEIGHTS_FILE: Literal["weights.safetensors"] = "weights.safetensors"
ZSTD_FILE: Literal["weights.safetensors.zst"] = "weights.safetensors.zst"
RECIPE_FILE = "recipe.yaml"
SAMPLING_FILE = "sampling.json"
SELFTEST_FILE = "selftest.safetensors"
CARD_FILE = "README.md"
EXAMPLE_FILE = "example.py"
FORMAT = "gencomp-artifact-2"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SelfTestFacts(_Part):
    """Which samples a loaded artifact must make again.

    Attributes:
        n_samples, seed, settings: which.
        sha256: of their bytes in eager, as generated where the artifact was made.
    """

    n_samples: int
    seed: int
    settings: dict[str, int | float | str]
    sha256: str


class Tolerance(_Part):
    """How far samples may lie from the recorded ones, as another processor rounds otherwise.

    Attributes:
        max_difference: of any pixel in levels of 255, or number of texts.
        mean_difference: of all pixels in levels, which is enough alone; None where only the largest counts.
    """

    max_difference: int
    mean_difference: float | None = None


class SmallMetric(_Part):
    """The quality metric over few samples: no figure to publish, but one that must come out again.

    Attributes:
        metric, n_samples, value: what was found; samples number 0 to n - 1 at the seed of the self-test.
        tolerance: difference that is allowed, in units of the metric.
    """

    metric: str
    n_samples: int
    value: float
    tolerance: float


class Evidence(_Part):
    """What was measured of a runtime where the artifact was made.

    Attributes:
        metric: over few samples; None with a `reason`.
        latency: of one sample, interleaved with dense in the same runtime; None where it was not timed.
        reason: why there is no metric.
    """

    metric: SmallMetric | None = None
    latency: Latency | None = None
    reason: str | None = None


class RuntimeFacts(_Part):
    """One runtime that the artifact can run in.

    Attributes:
        ran: what really runs, in a few words.
        files: bytes of the files it needs, by path in the folder.
        sha256: of its self-test samples.
        tolerance: against those, which `selftest.safetensors` holds under the runtime's name.
        evidence: measured where the artifact was made.
    """

    ran: str
    files: dict[str, int]
    sha256: str
    tolerance: Tolerance
    evidence: Evidence

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(self.files.values())


class Transport(_Part):
    """How the weights file travels, and what reading it took where the artifact was made.

    Attributes:
        coding: `none`, or `zstd` around the safetensors file.
        unpacked_bytes: of the safetensors file.
        read_ms, decompress_ms, unpack_ms: from disk, out of zstd, and into the network's tensors; medians, one thread.
    """

    coding: Literal["none", "zstd"] = "none"
    unpacked_bytes: int
    read_ms: float
    decompress_ms: float
    unpack_ms: float

    @property
    def load_ms(self) -> float:
        """All of it."""
        return self.read_ms + self.decompress_ms + self.unpack_ms


class Manifest(_Part):
    """What an artifact is, and where it came from.

    Attributes:
        format: version of this layout.
        workload: name.
        dense_weights_hash: of the dense weights that were compressed.
        recipe_signature: of `recipe.yaml`.
        seed: that the recipe was applied with.
        weights_file: name of the weights file, packed and perhaps compressed.
        size_bytes: its length on disk.
        dense_size_bytes: length of the dense weights file (safetensors, never compressed).
        transport: how it travels and how long it takes to load.
        licences: of weights, data and code.
        versions: packages that made it.
        machine: that made it.
        created_at: ISO date and time, UTC.
        selftest: what `verify` re-checks.
        runtimes: what it runs in, `eager` first.
        not_shipped: runtimes that were tried and can't run it, with the reason.
        measurement: stored figures of this configuration, without the per-tensor list; None when it
            was never measured.
        calibration: samples that the variant was calibrated with, by stage of the generation and by class or length.
    """

    format: str
    workload: str
    dense_weights_hash: str
    recipe_signature: str
    seed: int
    weights_file: Literal["weights.safetensors", "weights.safetensors.zst"] = WEIGHTS_FILE
    size_bytes: int
    dense_size_bytes: int
    transport: Transport
    licences: dict[str, str]
    versions: dict[str, str]
    machine: dict[str, str | int]
    created_at: str
    selftest: SelfTestFacts
    runtimes: dict[str, RuntimeFacts]
    not_shipped: dict[str, str] = {}
    measurement: dict[str, Any] | None = None
    calibration: dict[str, dict[str, int]] = {}


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest as JSON, and beside it the JSON schema that it follows."""
    for name, document in (
        (MANIFEST_FILE, manifest.model_dump(mode="json")),
        (SCHEMA_FILE, Manifest.model_json_schema()),
    ):
        (folder / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest.

    Raises:
        ArtifactError: no artifact folder, or a manifest of another format.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
        _check_format(text, path)
        return Manifest.model_validate_json(text)
    except FileNotFoundError:
        raise ArtifactError(f"{folder} is no artifact: no {MANIFEST_FILE}. Name the folder of an export.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} can't be read ({error}). Export the artifact again.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ArtifactError(f"{path} is damaged at {place}: {first['msg']}. Export the artifact again.") from None


def _check_format(text: str, path: Path) -> None:
    """Refuse another layout by its name, before its fields look wrong."""
    try:
        found = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError):
        return  # validation says what is wrong
    if found != FORMAT:
        raise ArtifactError(
            f"{path}: format must be {FORMAT}, got {found}. Make it again with 'gencomp compress' and its "
            f"{RECIPE_FILE}, or use the GenComp that wrote it."
        )
