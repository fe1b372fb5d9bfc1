"""What a command line may name: a workload, a workload with a recipe, or an artifact folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from gencomp_core.analysis.measurement import Shipped
from gencomp_core.artifact.load import LoadedArtifact, load_artifact
from gencomp_core.errors import GenCompError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtimes.registry import SIMULATING, runtimes
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload


@dataclass(frozen=True, eq=False)
class Target:
    """Something that can be sampled and measured.

    Attributes:
        workload: that it belongs to.
        recipe: that made it.
        content: weights file of an artifact; None when the recipe is applied now.
        seed: that the recipe was applied with.
        stored: folders of an artifact with files of runtimes, by runtime.
    """

    workload: Workload
    recipe: Recipe
    content: bytes | None
    seed: int
    stored: Mapping[str, Path] = field(default_factory=dict)
    _artifact: LoadedArtifact | None = None

    def network(self, runtime: str = SIMULATING) -> nn.Module:
        """The compressed model, or what takes its place in another runtime.

        Raises:
            ArtifactError: an artifact without this runtime.
            EvaluationError, MissingDependencyError: the runtime can't take the model.
        """
        if self._artifact:
            return self._artifact.open(runtime).network
        open_with = runtimes[runtime]
        if runtime == SIMULATING:
            return compress(self.workload, self.recipe, seed=self.seed).model
        return open_with(Shipped.of(self.workload, self.recipe, seed=self.seed).subject).network


def resolve(name: str, recipe_file: Path | None = None, *, seed: int = 0) -> Target:
    """Target of a name.

    Raises:
        GenCompError: an artifact together with a recipe.
        UnknownNameError, ArtifactError, RecipeError: what does not exist or can't be read.
    """
    folder = Path(name)
    if folder.is_dir():
        if recipe_file:
            raise GenCompError(f"{name} is an artifact, which has its recipe inside. Leave out --recipe.")
        artifact = load_artifact(folder)
        seed = artifact.manifest.seed
        return Target(artifact.workload, artifact.recipe, artifact.content, seed, artifact.stored, artifact)
    recipe = Recipe.from_file(recipe_file) if recipe_file else Recipe()
    return Target(load_workload(name), recipe, None, seed)
