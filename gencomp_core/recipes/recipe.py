"""The recipe: an ordered list of stages, read from YAML or JSON, with a signature."""

import hashlib
import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gencomp_core.errors import RecipeError
from gencomp_core.recipes import messages
from gencomp_core.recipes.stage import is_glob
from gencomp_core.recipes.stages import AnyStage

MAX_FILE_BYTES = 1_000_000


class Recipe(BaseModel):
    """What is done to a workload, in order. The empty recipe is the dense model.

    Attributes:
        stages: applied first to last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stages: tuple[AnyStage, ...] = Field(default=(), strict=False)

    def __hash__(self) -> int:
        return hash(self.signature)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.signature == other.signature

    @property
    def signature(self) -> str:
        """16 hex digits; equal for equal recipes, whatever file format or order of keys they came in."""
        plain = self.to_dict()
        for stage in plain["stages"]:
            if "layers" in stage:  # among globs the later one wins, so that their order is part of the recipe
                names = sorted(stage["layers"], key=lambda name: "" if is_glob(name) else name)
                stage["layers"] = [[name, stage["layers"][name]] for name in names]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def is_dense(self) -> bool:
        """Whether nothing is done."""
        return not self.stages

    def title(self) -> str:
        """A few words for legends and tables."""
        return " → ".join(stage.title() + (" *" if stage.layers else "") for stage in self.stages) or "dense"

    def to_dict(self) -> dict[str, Any]:
        """Plain values; fields at their default are left out, so that new fields keep old signatures."""
        stages = [{"kind": stage.kind, **stage.model_dump(exclude_defaults=True)} for stage in self.stages]
        return {"stages": stages}

    def to_yaml(self) -> str:
        """Recipe file that `from_yaml` reads back to an equal recipe."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @classmethod
    def from_dict(cls, fields: Any, *, source: str = "recipe") -> "Recipe":
        """Check plain values.

        Raises:
            RecipeError: one line with the place, the rule, the value and the next step.
        """
        if fields is None:
            raise RecipeError(f"{source}: a recipe must hold 'stages:', got an empty file. Write stages: [].")
        if not isinstance(fields, dict):
            raise RecipeError(
                f"{source}: a recipe must be a mapping with 'stages:', got a {messages.yaml_type(fields)}. "
                "Start the file with 'stages:'."
            )
        if "stages" not in fields:
            found = " ".join(", ".join(map(str, fields)).split()) or "an empty mapping"
            raise RecipeError(f"{source}: a recipe must hold 'stages:', got {found}. Put the stages below 'stages:'.")
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            line = messages.describe(error.errors())
            raise RecipeError(f"{source}: {' '.join(line.split())}") from None

    @classmethod
    def from_text(cls, text: str, *, source: str = "recipe") -> "Recipe":
        """Read YAML or JSON (which is YAML)."""
        try:
            fields = read_plain(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"{source}: {messages.describe_yaml(error)}") from None
        except ValueError as error:
            raise RecipeError(f"{source}: holds a value that can't be read ({error}). Correct it.") from None
        except RecursionError:
            raise RecipeError(f"{source}: is nested too deeply to be a recipe. Flatten it.") from None
        return cls.from_dict(fields, source=source)

    @classmethod
    def from_file(cls, path: Path) -> "Recipe":
        """Read a YAML or JSON file.

        Raises:
            RecipeError: unreadable file or bad recipe, as one line.
        """
        try:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise RecipeError(f"{path}: a recipe must be below 1 MB, got {size} bytes. Is it another file?")
            return cls.from_text(path.read_text(encoding="utf-8"), source=path.name)
        except OSError as error:
            raise RecipeError(f"{path}: can't be read ({error.strerror}). Check the path.") from None
        except UnicodeDecodeError:
            raise RecipeError(f"{path}: is no text file in UTF-8. A recipe is YAML or JSON.") from None


class _NoDuplicates(yaml.SafeLoader):
    """SafeLoader that refuses a key that stands twice, where YAML would keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} stands twice in one mapping", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_NoDuplicates.add_implicit_resolver(  # YAML 1.1 takes 1e-5 for text; YAML 1.2 and JSON take it for a number
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_plain(text: str) -> Any:
    """JSON where the text is JSON, else YAML; duplicate keys are refused in both."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_no_duplicates)
        except json.JSONDecodeError:
            pass  # YAML in braces
    return yaml.load(text, Loader=_NoDuplicates)  # a SafeLoader


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise yaml.YAMLError(f"{name!r} stands twice in one mapping")
    return dict(pairs)
