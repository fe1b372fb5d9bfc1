"""What is to be measured of a workload: plain data that can be sent to another process."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gencomp_core.recipes.recipe import Recipe


@dataclass(frozen=True)
class Configuration:
    """One point of a sweep or a search.

    Attributes:
        workload: name.
        recipe: what is done to it.
        n_samples: for the quality metric; as many as a published figure takes when None.
        seed: of noise and random stages.
        settings: sampling options that differ from the workload's defaults.
        runtimes, batches: every pair is timed; no runtime means no timing.
        extractor: feature space of images, the usual one when None.
    """

    workload: str
    recipe: Recipe
    n_samples: int | None = None
    seed: int = 0
    settings: Mapping[str, int | float | str] = field(default_factory=dict)
    runtimes: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    extractor: str | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for configurations that are measured alike."""
        options = tuple(sorted(self.settings.items()))
        return (self.workload, self.recipe.signature, self.n_samples, self.seed, options, self.extractor)

    @property
    def title(self) -> str:
        """A few words: `fashion-vae, 4-bit per channel, steps 8`."""
        return ", ".join(
            [self.workload, self.recipe.title(), *(f"{name} {value}" for name, value in self.settings.items())]
        )
