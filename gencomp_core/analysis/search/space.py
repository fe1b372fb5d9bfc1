"""What a search may try: the recipes that a template with lists in it stands for. No torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

from gencomp_core.errors import EvaluationError, RecipeError
from gencomp_core.recipes.recipe import Recipe

SKIP = "skip"
MOST_COMBINATIONS = 10_000
Choice = Mapping[str, Any]
"""One value for each axis, by the axis's name."""
Point = tuple[int, ...]
"""Position of the chosen value on each axis."""


@dataclass(frozen=True)
class Space:
    """Axes, and the recipe of each choice.

    Attributes:
        axes: values by name.
        recipe_of: the recipe of a choice; a RecipeError where its values don't go together.
    """

    axes: Mapping[str, tuple[Any, ...]]
    recipe_of: Callable[[Choice], Recipe]

    @classmethod
    def of(cls, template: Sequence[Mapping[str, Any]]) -> "Space":
        """Stages of a recipe in which a list in place of a field's value is an axis.

        `skip` on it stands for the recipe without the stage, None for the stage without the field.

        Raises:
            EvaluationError: no list, an empty one, or too many combinations.
        """
        axes = {
            f"stages[{number}].{field}": tuple(value)
            for number, stage in enumerate(template)
            for field, value in stage.items()
            if isinstance(value, list)
        }
        return cls(axes, lambda choice: _recipe(template, choice)).checked()

    def checked(self) -> "Space":
        """This space, when it can be searched.

        Raises:
            EvaluationError: as for `of`.
        """
        for name, values in self.axes.items():
            if not values:
                raise EvaluationError(f"{name} must hold values to try, got an empty list. Write at least one.")
        if not self.axes:
            raise EvaluationError("A search must have a choice, got none. Write a list for one field: bits: [8, 4].")
        n = prod(len(values) for values in self.axes.values())
        if n > MOST_COMBINATIONS:
            raise EvaluationError(f"A search must have at most {MOST_COMBINATIONS:,} combinations, got {n:,}.")
        return self

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
        return product(*(range(len(values)) for values in self.axes.values()))

    def _read(self, point: Point) -> Recipe | None:
        choice = {name: values[at] for (name, values), at in zip(self.axes.items(), point, strict=True)}
        try:
            return self.recipe_of(choice)
        except RecipeError:
            return None


def is_ordered(values: Sequence[Any]) -> bool:
    """Whether neighbours on an axis are alike: numbers, beside `skip` and None."""
    numbers = [value for value in values if value not in (None, SKIP)]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers)


def _recipe(template: Sequence[Mapping[str, Any]], choice: Choice) -> Recipe:
    stages = []
    for number, stage in enumerate(template):
        fields = {field: choice.get(f"stages[{number}].{field}", value) for field, value in stage.items()}
        if SKIP not in [value for value in fields.values() if isinstance(value, str)]:
            stages.append({field: value for field, value in fields.items() if value is not None})
    return Recipe.from_dict({"stages": stages}, source="search")


def default_template(x: str) -> list[dict[str, Any]]:
    """What is tried of a workload that nothing is known of: at most 504 combinations.

    Args:
        x: column of the cost. Zeros and short weights shrink the file; only fewer channels and thinner layers
            multiply less; a runtime may run them and integers faster.
    """
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
