"""Read an artifact back: checked files in, a model that samples out, in every runtime that ships."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gencomp_core.artifact import manifest as files
from gencomp_core.artifact.manifest import Manifest, read_manifest
from gencomp_core.artifact.packing import unpack_into
from gencomp_core.artifact.sums import SUMS_FILE, changed_files
from gencomp_core.artifact.transport import read_weights
from gencomp_core.errors import ArtifactError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtimes.registry import SIMULATING, runtimes
from gencomp_core.runtimes.subject import Opened, Subject
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Outputs, Settings, Workload, complete_settings


@dataclass(frozen=True, eq=False)
class LoadedArtifact:
    """An artifact in memory.

    Attributes:
        folder: where it came from.
        manifest, recipe: as written.
        subject: the model that was filled from the packed weights, as runtimes are given it.
        content: bytes of the safetensors file.
    """

    folder: Path
    manifest: Manifest
    recipe: Recipe
    subject: Subject
    content: bytes

    @property
    def workload(self) -> Workload:
        """That it belongs to."""
        return self.subject.workload

    @property
    def model(self) -> nn.Module:
        """Filled from the packed weights; treat as read-only."""
        return self.subject.model

    @property
    def stored(self) -> Mapping[str, Path]:
        """Folders with the files of runtimes, by runtime."""
        return {name: self.folder / name for name in self.manifest.runtimes if name != SIMULATING}

    def open(self, runtime: str) -> Opened:
        """The model in one of the runtimes that ship, from the files in the folder.

        Raises:
            ArtifactError: no such runtime in this artifact.
            EvaluationError, MissingDependencyError: it can't be run here.
        """
        if runtime not in self.manifest.runtimes:
            runtimes[runtime]  # a misspelt one is told with what it may have meant
            reason = self.manifest.not_shipped.get(runtime)
            raise ArtifactError(
                f"This artifact holds {', '.join(self.manifest.runtimes)}, got {runtime!r}"
                f"{f', which could not ship ({reason})' if reason else ''}. "
                f"Make it again with --runtime {runtime}, or name another."
            )
        return runtimes[runtime](self.subject, stored=self.stored.get(runtime))

    def sample(self, n: int, *, seed: int = 0, settings: Settings | None = None, runtime: str = SIMULATING) -> Outputs:
        """Samples number 0 to n - 1: (n, c, h, w) uint8 for images, n strings for texts."""
        chosen = complete_settings(self.workload, settings or self.manifest.selftest.settings)
        network = self.open(runtime).network
        outputs: Outputs = self.workload.generate(network, 0, n, seed=seed, settings=chosen)
        return outputs

    def recorded_samples(self, runtime: str = SIMULATING) -> Tensor:
        """Samples that the self-test of a runtime compares with.

        Raises:
            ArtifactError: the file is damaged.
        """
        try:
            return load_file(self.folder / files.SELFTEST_FILE)[runtime]
        except (OSError, SafetensorError, KeyError) as error:
            raise ArtifactError(f"{files.SELFTEST_FILE} is damaged ({error}). Export the artifact again.") from None


def load_artifact(folder: Path | str) -> LoadedArtifact:
    """Load an artifact after checking every file against its checksum.

    Raises:
        ArtifactError: no artifact, or a file that is missing, added or changed; the message names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is no folder. Name the folder of an export.")
    if not (folder / SUMS_FILE).exists():
        read_manifest(folder)  # says so when this is no artifact at all
    wrong = changed_files(folder)
    if wrong:
        raise ArtifactError(
            f"{folder}: {', '.join(wrong)} {'does' if len(wrong) == 1 else 'do'} not match {SUMS_FILE}. "
            "The artifact was changed or damaged: export it again."
        )
    manifest = read_manifest(folder)
    recipe = Recipe.from_file(folder / files.RECIPE_FILE)
    workload = load_workload(manifest.workload)
    model = workload.empty_network()
    try:
        content = read_weights(folder / manifest.weights_file, unpacked_bytes=manifest.transport.unpacked_bytes)
        found = unpack_into(content, model)
    except ArtifactError as error:
        raise ArtifactError(f"{folder / manifest.weights_file}: {error}") from None
    filled = model.eval().requires_grad_(False)
    subject = Subject.shipped(workload, filled, found.quantized, content)
    return LoadedArtifact(folder, manifest, recipe, subject, content)
