"""What a search may try: the recipes of a grid. No torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from gencomp_core.analysis.grid import SKIP, Grid
from gencomp_core.errors import GridError
from gencomp_core.recipes.recipe import Recipe

RECIPE_ONLY = ("stages", "axes")
Point = tuple[int, ...]
"""Position of the chosen value on each axis."""


@dataclass(frozen=True)
class Space:
    """The recipes of a grid, as points of its axes.

    Attributes:
        grid: its axes and its template.
    """

    grid: Grid

    @classmethod
    def of(cls, grid: Grid) -> "Space":
        """The space of a grid that varies the recipe and nothing else.

        Raises:
            GridError: it varies something else or nothing, or none of its combinations is a recipe.
        """
        if other := [name for name in grid.plain if name not in RECIPE_ONLY]:
            raise GridError(
                f"{grid.source}: a search varies stages and nothing else, got {other[0]}. Remove it, or use "
                "'gencomp sweep'."
            )
        if not grid.axes:
            raise GridError(f"{grid.source}: a search must have a choice, got none. Write a list: bits: [8, 4].")
        space = cls(grid)
        if not space.recipes:
            grid.recipe(next(grid.choices()))  # says what is wrong with the first
        return space

    def canonical(self, point: Point) -> Recipe | None:
        """The recipe of a point, or None where its values don't go together."""
        return self._recipes[point]

    @cached_property
    def points(self) -> dict[str, Point]:
        """Each different recipe once, by signature, with the first point that stands for it."""
        found: dict[str, Point] = {}
        for point, recipe in self._recipes.items():
            if recipe is not None:
                found.setdefault(recipe.signature, point)
        return found

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """Each different recipe once, by signature, in the order of the axes."""
        return {recipe.signature: recipe for recipe in self._recipes.values() if recipe is not None}

    @cached_property
    def _recipes(self) -> dict[Point, Recipe | None]:
        return {point: self._read(point) for point in self._all()}

    def _all(self) -> Iterator[Point]:
        return product(*(range(len(values)) for values in self.grid.axes.values()))

    def _read(self, point: Point) -> Recipe | None:
        choice = {name: values[at] for (name, values), at in zip(self.grid.axes.items(), point, strict=True)}
        try:
            return self.grid.recipe(choice)
        except GridError:
            return None


def is_ordered(values: Sequence[Any]) -> bool:
    """Whether neighbours on an axis are alike: numbers, beside `skip` and None."""
    numbers = [value for value in values if value not in (None, SKIP)]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers)


def default_grid(x: str) -> Grid:
    """What is tried of a workload that nothing is known of: at most 504 combinations.

    Args:
        x: column of the cost. Zeros and short weights shrink the file; only fewer channels and thinner layers
            multiply less; a runtime may run them and integers faster.
    """
    return Grid.from_dict({"stages": _default_stages(x)}, source="default")


def _default_stages(x: str) -> list[dict[str, Any]]:
    if x == "size_bytes":
        return [
            {"kind": "magnitude-pruning", "scope": ["layer", "global"], "sparsity": [SKIP, 0.3, 0.5, 0.6, 0.7, 0.8]},
            {
                "kind": "weight-quantization",
                "bits": [SKIP, 8, 6, 5, 4, 3, 2],
                "group_size": [None, 64, 32],
                "clipping": ["none", "mse"],
            },
        ]
    channels = {
        "kind": "channel-pruning",
        "scope": ["layer", "global"],
        "importance": ["magnitude", "taylor"],
        "pruning_ratio": [SKIP, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    }
    thin = {"kind": "low-rank-factorization", "energy": [SKIP, 0.99, 0.97, 0.95, 0.9]}
    if x == "macs":
        return [channels, thin]
    rounded = [
        {"kind": "weight-quantization", "bits": [SKIP, 8]},
        {"kind": "activation-quantization", "bits": [SKIP, 8]},
    ]
    return [channels, *rounded]
