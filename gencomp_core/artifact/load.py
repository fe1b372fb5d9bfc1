"""Read an artifact back: checked files in, a model that samples out."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gencomp_core.artifact import manifest as files
from gencomp_core.artifact.manifest import Manifest, changed_files, read_manifest
from gencomp_core.artifact.packing import unpack_into
from gencomp_core.errors import ArtifactError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Outputs, Settings, Workload, complete_settings


@dataclass(frozen=True, eq=False)
class LoadedArtifact:
    """An artifact in memory.

    Attributes:
        folder: where it came from.
        manifest, recipe: as written.
        workload: that it belongs to.
        model: filled from the packed weights; treat as read-only.
        content: bytes of the weights file.
    """

    folder: Path
    manifest: Manifest
    recipe: Recipe
    workload: Workload
    model: nn.Module
    content: bytes

    def sample(self, n: int, *, seed: int = 0, settings: Settings | None = None) -> Outputs:
        """Samples number 0 to n - 1: (n, c, h, w) uint8 for images, n strings for texts."""
        chosen = complete_settings(self.workload, settings or self.manifest.selftest.settings)
        outputs: Outputs = self.workload.generate(self.model, 0, n, seed=seed, settings=chosen)
        return outputs

    def recorded_samples(self) -> Tensor:
        """Samples that the self-test compares with.

        Raises:
            ArtifactError: the file is damaged.
        """
        try:
            return load_file(self.folder / files.SELFTEST_FILE)["samples"]
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
    if not (folder / files.SUMS_FILE).exists():
        read_manifest(folder)  # says so when this is no artifact at all
    wrong = changed_files(folder)
    if wrong:
        raise ArtifactError(
            f"{folder}: {', '.join(wrong)} {'does' if len(wrong) == 1 else 'do'} not match {files.SUMS_FILE}. "
            "The artifact was changed or damaged: export it again."
        )
    manifest = read_manifest(folder)
    recipe = Recipe.from_file(folder / files.RECIPE_FILE)
    workload = load_workload(manifest.workload)
    content = (folder / files.WEIGHTS_FILE).read_bytes()
    model = workload.empty_network()
    try:
        unpack_into(content, model)
    except ArtifactError as error:
        raise ArtifactError(f"{folder / files.WEIGHTS_FILE}: {error}") from None
    return LoadedArtifact(folder, manifest, recipe, workload, model.eval().requires_grad_(False), content)
