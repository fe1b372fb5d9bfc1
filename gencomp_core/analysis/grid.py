"""Grids: a recipe in which values may be lists, and what else is varied. Known without torch.

```yaml
stages:                                     # as in a recipe; every list is an axis
  - kind: [magnitude-pruning, wanda-pruning]
    sparsity: [skip, 0.3, 0.5]              # skip: without this stage
  - kind: weight-quantization
    bits: [8, 4]
    group_size: [null, 64]                  # null: without this field
settings: {steps: [8, 16]}                  # sampling options
workloads: [fashion-diffusion-w50]          # measured beside the one that is asked for
runtimes: [eager, openvino]                 # each configuration is timed in each, at every batch
batches: [1, 16]
samples: 1000
seed: 0
extractor: fashion
axes: {width: [4, 8]}                       # values that several places share: bits: $width
```
Every combination of the axes is one configuration; those that come out equal are one. A field that is a
list itself, such as `blocks`, takes a list of lists.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from gencomp_core.analysis.configuration import Configuration
from gencomp_core.errors import GridError, RecipeError
from gencomp_core.recipes import messages
from gencomp_core.recipes.recipe import MAX_FILE_BYTES, Recipe, read_plain
from gencomp_core.registry import suggestion

MOST_CONFIGURATIONS = 10_000
SKIP = "skip"
KEYS = ("stages", "settings", "workloads", "runtimes", "batches", "samples", "seed", "extractor", "axes")

Choice = Mapping[str, Any]
"""One value for each axis, by the axis's name."""


@dataclass(frozen=True)
class Grid:
    """What is varied, and over which values.

    Attributes:
        plain: as it was written, checked.
        axes: values by name: the place in the file, such as `stages[0].sparsity`, or the name under `axes`.
        source: file name, for messages.
    """

    plain: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    source: str = "grid"

    @classmethod
    def from_dict(cls, plain: Any, *, source: str = "grid") -> "Grid":
        """Check plain values.

        Raises:
            GridError: one line with the place, the rule, the value and the next step.
        """
        _check(plain, source)
        shared = {name: tuple(values) for name, values in plain.get("axes", {}).items()}
        found = dict(_axes({"stages": plain.get("stages", []), "settings": plain.get("settings", {})}))
        used = set(_references([plain.get("stages", []), plain.get("settings", {})]))
        for name in sorted(used - shared.keys()):
            raise GridError(f"{source}: ${name} is no axis.{suggestion(name, list(shared))} Add it below 'axes:'.")
        for name in sorted(shared.keys() - used):
            raise GridError(f"{source}: axes.{name} is used nowhere. Write ${name} where its values belong.")
        axes = {**shared, **found}
        for name, values in axes.items():
            if not values:
                raise GridError(f"{source}: {name} is an empty list. Write at least one value.")
        n = math.prod(len(values) for values in axes.values())
        if n > MOST_CONFIGURATIONS:
            raise GridError(f"{source}: {n:,} combinations are more than {MOST_CONFIGURATIONS:,}. Shorten an axis.")
        return cls(plain, axes, source)

    @classmethod
    def from_file(cls, path: Path) -> "Grid":
        """Read a YAML or JSON file.

        Raises:
            GridError: it can't be read, or is no grid.
        """
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise GridError(f"{path}: a grid must be below 1 MB. Is it another file?")
            return cls.from_dict(read_plain(path.read_text(encoding="utf-8")), source=path.name)
        except OSError as error:
            raise GridError(f"{path}: can't be read ({error.strerror}). Check the path.") from None
        except yaml.YAMLError as error:
            raise GridError(f"{path.name}: {messages.describe_yaml(error)}") from None
        except (UnicodeDecodeError, ValueError):
            raise GridError(f"{path}: is no text in UTF-8 that can be read as YAML. Correct it.") from None

    def choices(self) -> Iterator[Choice]:
        """Every combination of the axes, the last axis fastest."""
        for values in product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))

    def recipe(self, choice: Choice) -> Recipe:
        """The recipe of one combination.

        Raises:
            GridError: the values make no recipe.
        """
        stages = [_stage(stage, choice, f"stages[{i}]") for i, stage in enumerate(self.plain.get("stages", []))]
        kept = [stage for stage in stages if stage is not None]
        try:
            return Recipe.from_dict({"stages": kept}, source=self.source)
        except RecipeError as error:
            raise GridError(str(error)) from None

    def settings(self, choice: Choice) -> dict[str, int | float | str]:
        """Sampling options of one combination that differ from the workload's defaults."""
        chosen = _filled(self.plain.get("settings", {}), choice, "settings")
        return {name: value for name, value in chosen.items() if value is not None}

    def configurations(
        self, workload: str, *, samples: int | None = None, seed: int | None = None
    ) -> tuple[Configuration, ...]:
        """All different configurations, for each workload in turn.

        Args:
            workload: that is asked for; those of the grid follow it.
            samples, seed: in place of the grid's.

        Raises:
            GridError: some values make no recipe.
        """
        combinations = [(self.recipe(choice), self.settings(choice)) for choice in self.choices()]
        plain = self.plain
        found = [
            Configuration(
                workload=name,
                recipe=recipe,
                n_samples=samples if samples is not None else plain.get("samples"),
                seed=seed if seed is not None else plain.get("seed", 0),
                settings=settings,
                runtimes=tuple(plain.get("runtimes", ())),
                batches=tuple(plain.get("batches", (1,))),
                extractor=plain.get("extractor"),
            )
            for name in dict.fromkeys([workload, *plain.get("workloads", [])])
            for recipe, settings in combinations
        ]
        different: dict[object, Configuration] = {}
        for one in found:
            different.setdefault(one.identity, one)
        return tuple(different.values())


def _check(plain: Any, source: str) -> None:
    """Refuse what is no grid, with one line that names the place."""
    if not isinstance(plain, dict):
        found = "an empty file" if plain is None else f"a {messages.yaml_type(plain)}"
        raise GridError(f"{source}: a grid must be a mapping with 'stages:', got {found}. Start with 'stages:'.")
    for key in plain:
        if key not in KEYS:
            hint = suggestion(str(key), list(KEYS))
            raise GridError(f"{source}: {key} is no part of a grid.{hint} Known parts: {', '.join(KEYS)}.")
    _check_list(plain, "stages", dict, "a list of stages, as in a recipe", source)
    _check_list(plain, "workloads", str, "a list of workload names", source)
    _check_list(plain, "runtimes", str, "a list of runtime names", source)
    _check_list(plain, "batches", int, "a list of whole numbers", source, least=1)
    for key, least in (("samples", 1), ("seed", 0)):
        if key in plain and not _is_whole(plain[key], least):
            raise GridError(f"{source}: {key} must be a whole number from {least}, got {plain[key]!r}. Correct it.")
    for key in ("settings", "axes"):
        if not isinstance(plain.get(key, {}), dict):
            raise GridError(f"{source}: {key} must be a mapping, got {plain[key]!r}. Write 'name: values'.")
    if not isinstance(plain.get("extractor", ""), str):
        raise GridError(f"{source}: extractor must be a name, got {plain['extractor']!r}. Correct it.")
    for name, values in plain.get("axes", {}).items():
        if not isinstance(values, list):
            raise GridError(f"{source}: axes.{name} must be a list, got {values!r}. Put the value in brackets.")


def _check_list(plain: Mapping[str, Any], key: str, kind: type, what: str, source: str, least: int = 0) -> None:
    values = plain.get(key, [])
    fine = isinstance(values, list) and all(
        _is_whole(value, least) if kind is int else isinstance(value, kind) for value in values
    )
    if not fine:
        raise GridError(f"{source}: {key} must be {what}, got {str(values)[:60]}. Correct it.")


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _axes(plain: Any, place: str = "") -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every list below a mapping, with its place; the stages themselves are no axis."""
    if isinstance(plain, Mapping):
        for name, value in plain.items():
            inner = f"{place}.{name}" if place else str(name)
            if inner == "stages":
                for i, stage in enumerate(value):
                    yield from _axes(stage, f"stages[{i}]")
            else:
                yield from _axes(value, inner)
    elif isinstance(plain, list):
        yield place, tuple(plain)


def _references(plain: Any) -> Iterator[str]:
    """Names of the shared axes that values refer to."""
    if isinstance(plain, Mapping):
        plain = list(plain.values())
    if isinstance(plain, list):
        for value in plain:
            yield from _references(value)
    elif isinstance(plain, str) and plain.startswith("$"):
        yield plain[1:]


def _filled(plain: Any, choice: Choice, place: str) -> Any:
    """The same with one value of each axis in its place."""
    if place in choice:
        return _filled(choice[place], choice, "") if isinstance(choice[place], str) else choice[place]
    if isinstance(plain, str) and plain.startswith("$"):
        return choice[plain[1:]]
    if isinstance(plain, Mapping):
        return {name: _filled(value, choice, f"{place}.{name}") for name, value in plain.items()}
    return plain


def _stage(plain: Mapping[str, Any], choice: Choice, place: str) -> dict[str, Any] | None:
    """A stage of one combination; None where it is skipped."""
    fields: dict[str, Any] = _filled(plain, choice, place)
    if SKIP in [value for value in fields.values() if isinstance(value, str)]:
        return None
    kept = {name: value for name, value in fields.items() if value is not None}
    if isinstance(kept.get("layers"), Mapping):
        kept["layers"] = {pattern: _override(override) for pattern, override in kept["layers"].items()}
    return kept


def _override(fields: Any) -> Any:
    if not isinstance(fields, Mapping):
        return fields
    if SKIP in [value for value in fields.values() if isinstance(value, str)]:
        return {"skip": True}
    return {name: value for name, value in fields.items() if value is not None}


def names_of(axes: Mapping[str, Sequence[Any]]) -> str:
    """`stages[0].sparsity (3), settings.steps (2)`, for people."""
    return ", ".join(f"{name} ({len(values)})" for name, values in axes.items())
