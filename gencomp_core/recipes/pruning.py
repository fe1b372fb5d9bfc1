"""Stages that zero weights and leave the shape of the network alone."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from gencomp_core.recipes.stage import Stage


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
