"""What a command line may name: a workload, a workload with a recipe, or an artifact folder."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gencomp_core.artifact.load import load_artifact
from gencomp_core.errors import GenCompError
from gencomp_core.recipes.recipe import Recipe
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
    """

    workload: Workload
    recipe: Recipe
    content: bytes | None
    seed: int
    _model: nn.Module | None = None

    @property
    def model(self) -> nn.Module:
        """The compressed model."""
        return self._model or compress(self.workload, self.recipe, seed=self.seed).model


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
        return Target(artifact.workload, artifact.recipe, artifact.content, artifact.manifest.seed, artifact.model)
    recipe = Recipe.from_file(recipe_file) if recipe_file else Recipe()
    return Target(load_workload(name), recipe, None, seed)
