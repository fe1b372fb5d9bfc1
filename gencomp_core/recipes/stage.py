"""What every stage of a recipe is: a frozen class that checks itself, with exceptions for single layers."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

Overrides = dict[str, dict[str, Any]]


def is_glob(pattern: str) -> bool:
    """Whether a key of `layers` may fit several layers."""
    return any(sign in pattern for sign in "*?[")


class Stage(BaseModel):
    """One step of compression.

    Attributes:
        layers: exceptions by layer name or glob, such as `{"out": {"bits": 8}, "time_*": {"skip": true}}`.
            An exact name wins over a glob, a later glob over an earlier one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    source: ClassVar[str]
    exclusive_fields: ClassVar[tuple[frozenset[str], ...]] = ()
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset()

    kind: str
    layers: Overrides = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_overrides(self) -> Self:
        checked: Overrides = {}
        for pattern, override in self.layers.items():
            if not pattern:
                raise ValueError("a key of layers must be a layer name or glob, got ''. Name a layer, or use '*'.")
            if override.get("skip", False) is True and len(override) == 1:
                checked[pattern] = {"skip": True}
                continue
            if "skip" in override:
                raise ValueError(
                    f"layers.{pattern} must say skip: true and nothing else, or the values to change, "
                    f"got {override}. Remove one of them."
                )
            if forbidden := ({"kind", "layers"} | self.whole_stage_fields) & override.keys():
                raise ValueError(
                    f"layers.{pattern} may not change {sorted(forbidden)[0]!r}. Add another stage to the recipe."
                )
            if not override:
                raise ValueError(
                    f"layers.{pattern} changes nothing. Write the values to change, such as "
                    "{bits: 8}, or {skip: true}."
                )
            try:
                merged = self._merged(override)
                checked[pattern] = {name: getattr(merged, name) for name in override}
            except ValidationError as error:
                raise PydanticCustomError(
                    "override", "override", {"pattern": pattern, "nested": error.errors()[0]}
                ) from None
        self.__dict__["layers"] = checked  # values as the fields have them, so that 0 and 0.0 are one recipe
        return self

    def for_layer(self, layer: str) -> Self | None:
        """This stage as it holds for one layer, without overrides; None where the layer is skipped."""
        override = self._override(layer)
        if override.get("skip"):
            return None
        return self._merged(override)

    def unmatched_names(self, layers: list[str]) -> list[str]:
        """Keys of `layers` that fit none of the given layer names."""
        return [p for p in self.layers if not any(fnmatchcase(layer, p) for layer in layers)]

    def title(self) -> str:
        """A few words for legends and tables."""
        return self.kind

    def _override(self, layer: str) -> Mapping[str, Any]:
        if layer in self.layers:
            return self.layers[layer]
        matching = [override for pattern, override in self.layers.items() if fnmatchcase(layer, pattern)]
        return matching[-1] if matching else {}

    def _merged(self, override: Mapping[str, Any]) -> Self:
        fields = self.model_dump(exclude={"layers"}, exclude_defaults=True)
        for family in self.exclusive_fields:
            if family & override.keys():
                fields = {name: value for name, value in fields.items() if name not in family}
        return type(self).model_validate({**fields, "kind": self.kind, **override})
