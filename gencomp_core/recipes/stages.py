"""The stages that a recipe may hold: one frozen class each, which checks itself.

To add one: a class here with a `kind` of its own, its name in `AnyStage`, its function in
`compression/` or `recover/`, and a line in `variant.py`.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
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


class MagnitudePruning(Stage):
    """Zero the smallest weights.

    Attributes:
        sparsity: fraction of weights set to zero, in [0, 1).
        scope: rank weights within each layer, or over the whole network.
    """

    source: ClassVar[str] = "Han 2015 (arXiv:1506.02626); global ranking: Frankle & Carbin 2019 (arXiv:1803.03635)"

    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"scope"})

    kind: Literal["magnitude-pruning"] = "magnitude-pruning"
    sparsity: float = Field(ge=0, lt=1, description="fraction of weights set to zero")
    scope: Literal["layer", "global"] = Field(
        default="layer", description="rank weights within each layer, or over the whole network"
    )

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.scope == "global" and any("skip" not in override for override in self.layers.values()):
            raise ValueError(
                "layers may only skip layers when scope is 'global', because one threshold holds for all. "
                "Use scope: layer, or {skip: true}."
            )
        return self

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"{self.sparsity:.0%} magnitude ({self.scope})"


class WeightQuantization(Stage):
    """Round weights to integers of a few bits; activations stay float.

    Attributes:
        bits: width of the integers, 2 to 8.
        granularity: one scale per tensor, per output channel, or per group of `group_size` weights.
            Without it: per group when `group_size` is given, else per channel.
        group_size: consecutive weights of an output channel that share a scale.
        symmetric: integers around 0; otherwise affine with a zero point.
        clipping: `none` maps the largest weight to the largest integer; `mse` searches the range
            with the least squared error.
    """

    source: ClassVar[str] = "Krishnamoorthi 2018 (arXiv:1806.08342); MSE clipping: Banner 2019 (arXiv:1810.05723)"
    exclusive_fields: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"granularity", "group_size"}),)

    kind: Literal["weight-quantization"] = "weight-quantization"
    bits: int = Field(ge=2, le=8, description="width of the integers")
    granularity: Literal["tensor", "channel", "group"] = Field(
        default="channel", description="how many weights share a scale"
    )
    group_size: int | None = Field(
        default=None, ge=2, le=65_536, description="weights of an output channel that share a scale"
    )
    symmetric: bool = Field(default=True, description="integers around 0; otherwise affine with a zero point")
    clipping: Literal["none", "mse"] = Field(
        default="none", description="map the largest weight to the largest integer, or search the best range"
    )

    @model_validator(mode="before")
    @classmethod
    def _infer_granularity(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        fields = dict(fields)
        if fields.get("group_size") is not None:
            fields.setdefault("granularity", "group")
        elif fields.get("granularity") == "group":
            fields["group_size"] = 64
        return fields

    @field_validator("group_size", mode="after")
    @classmethod
    def _groups_only(cls, group_size: int | None, info: ValidationInfo) -> int | None:
        granularity = info.data.get("granularity")
        if group_size is not None and granularity in ("tensor", "channel"):
            raise ValueError(
                f"must be left out when granularity is {granularity!r}, got {group_size}. "
                "Use granularity: group, or remove group_size."
            )
        return group_size

    def title(self) -> str:
        """A few words for legends and tables."""
        where = f"g{self.group_size}" if self.granularity == "group" else f"per {self.granularity}"
        extras = ("" if self.symmetric else ", affine") + (", MSE clip" if self.clipping == "mse" else "")
        return f"{self.bits}-bit {where}{extras}"


AnyStage = Annotated[MagnitudePruning | WeightQuantization, Field(discriminator="kind")]
STAGES: dict[str, type[Stage]] = {
    "magnitude-pruning": MagnitudePruning,
    "weight-quantization": WeightQuantization,
}
