"""Stages that store weights or run activations in fewer bits."""

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from gencomp_core.recipes.stage import Stage


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
