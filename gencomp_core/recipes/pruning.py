"""Stages that zero weights and leave the shape of the network alone."""

import math
import re
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from gencomp_core.recipes.stage import Stage

LONGEST_GROUP = 128


class SparseStage(Stage):
    """A stage that is told how many weights to zero."""

    kind: str
    sparsity: float = Field(ge=0, lt=1, description="fraction of weights set to zero")

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        scope = getattr(self, "scope", "layer")
        if scope != "layer" and any("skip" not in override for override in self.layers.values()):
            raise ValueError(
                f"layers may only skip layers when scope is {scope!r}, because all layers share one sparsity. "
                "Use scope: layer, or {skip: true}."
            )
        return self

    def amount(self) -> str:
        """Sparsity, for titles."""
        return f"{self.sparsity:.0%}"


class PatternStage(SparseStage):
    """A stage that may keep N of every M columns, which implies the sparsity."""

    exclusive_fields: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"sparsity", "pattern"}),)

    pattern: str | None = Field(
        default=None,
        description="N:M keeps N of every M consecutive columns of a row, such as 2:4; it implies the sparsity",
    )

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """The pattern's two numbers."""
        return None if self.pattern is None else _n_of_m(self.pattern)

    @model_validator(mode="before")
    @classmethod
    def _imply_sparsity(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or not isinstance(fields.get("pattern"), str):
            return fields
        found = _n_of_m(fields["pattern"])
        implied = 0.0 if found is None else _sparsity_of(found)  # what is no pattern is told below
        given = fields.get("sparsity", implied)
        close = isinstance(given, float) and math.isclose(given, implied, abs_tol=1e-3)
        return {**fields, "sparsity": implied if close else given}

    @field_validator("pattern", mode="after")
    @classmethod
    def _check_pattern(cls, pattern: str | None, info: ValidationInfo) -> str | None:
        if pattern is None:
            return None
        found = _n_of_m(pattern)
        if found is None:
            raise ValueError(
                f"must be N:M with 0 < N < M <= {LONGEST_GROUP}, got {pattern!r}. Write 2:4 to keep two of every four."
            )
        implied = _sparsity_of(found)
        if info.data.get("sparsity", implied) != implied:
            raise ValueError(
                f"must fit the sparsity, got {pattern!r}, which is {implied:g}, and {info.data['sparsity']:g}. "
                "Leave out the sparsity."
            )
        return f"{found[0]}:{found[1]}"

    def amount(self) -> str:
        """Pattern or sparsity, for titles."""
        return self.pattern or super().amount()


def _sparsity_of(n_of_m: tuple[int, int]) -> float:
    n, m = n_of_m
    return (m - n) / m


def _n_of_m(pattern: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([0-9]{1,3}):([0-9]{1,3})", pattern)
    if found is None:
        return None
    n, m = int(found[1]), int(found[2])
    return (n, m) if 0 < n < m <= LONGEST_GROUP else None


class MagnitudePruning(PatternStage):
    """Zero the smallest weights.

    Attributes:
        sparsity: fraction of weights set to zero, in [0, 1).
        pattern: N:M keeps the N largest of every M consecutive columns of a row, which implies the sparsity. In a
            row whose length is no multiple of M, the rest keeps its largest in proportion, rounded up.
        scope: rank weights within each layer, over the whole network, or over the network by LAMP's score, which
            compares a weight with the larger ones of its layer. `erk` ranks within each layer; layers with few
            weights for their inputs and outputs keep more of them.
    """

    source: ClassVar[str] = (
        "Han 2015 (arXiv:1506.02626); global ranking: Frankle & Carbin 2019 (arXiv:1803.03635); LAMP: Lee 2021 "
        "(arXiv:2010.07611); ERK: Evci 2020 (arXiv:1911.11134); N:M: Mishra 2021 (arXiv:2104.08378)"
    )
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"scope"})

    kind: Literal["magnitude-pruning"] = "magnitude-pruning"
    scope: Literal["layer", "global", "lamp", "erk"] = Field(
        default="layer", description="rank weights within each layer, or how layers share the sparsity"
    )

    @field_validator("scope", mode="after")
    @classmethod
    def _patterns_are_local(cls, scope: str, info: ValidationInfo) -> str:
        if scope != "layer" and info.data.get("pattern") is not None:
            raise ValueError(
                f"must be 'layer' with a pattern, which ranks within groups of columns, got {scope!r}. "
                "Remove scope or pattern."
            )
        return scope

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"{self.amount()} magnitude" + ("" if self.pattern else f" ({self.scope})")


class WandaPruning(PatternStage):
    """Zero weights that are small for the inputs they multiply.

    The score of a weight is its size times the root mean square of its input column. All inputs are those of the
    model as it comes to this stage. Layers without an input matrix (embeddings, convolutions with groups) and
    layers that calibration never calls are pruned by magnitude, within the layer.

    Attributes:
        sparsity: fraction of weights set to zero, in [0, 1).
        pattern: N:M keeps the N best of every M consecutive columns of a row, which implies the sparsity. In a
            row whose length is no multiple of M, the rest keeps its best in proportion, rounded up.
        group: compare weights within each output row, or over the layer.
        calibration_samples: samples of the workload that show the inputs.
    """

    source: ClassVar[str] = "Sun 2023 (arXiv:2306.11695)"
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"calibration_samples"})

    kind: Literal["wanda-pruning"] = "wanda-pruning"
    group: Literal["row", "layer"] = Field(
        default="row", description="compare weights within each output row, or over the layer"
    )
    calibration_samples: int = Field(default=128, ge=1, le=10_000, description="samples that show the inputs")

    @field_validator("group", mode="after")
    @classmethod
    def _patterns_are_of_rows(cls, group: str, info: ValidationInfo) -> str:
        if group != "row" and info.data.get("pattern") is not None:
            raise ValueError(f"must be 'row' with a pattern, got {group!r}. Remove group or pattern.")
        return group

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"{self.amount()} Wanda" + ("" if self.group == "row" else " (layer)")


class SparseGPTPruning(PatternStage):
    """Zero weights, and let those that remain make up for the loss.

    Column by column, what a zeroed weight did is moved to the columns after it through the inverse of the inputs'
    second moments. All inputs are those of the model as it comes to this stage. Weights that are exactly zero
    stay so and count towards the sparsity. Where no update is possible the stage only masks: quantized layers keep
    their integers and are masked by Wanda's score; layers without an input matrix (look-ups, convolutions with
    groups) and layers that calibration never calls are pruned by magnitude. An embedding
    that is the output layer too goes by the gradient of the training loss, in which both of its uses meet.

    Attributes:
        sparsity: fraction of weights set to zero, in [0, 1).
        pattern: N:M keeps the N best of every M consecutive columns of a row, which implies the sparsity. In a
            row whose length is no multiple of M, the rest keeps its best in proportion, rounded up.
        block_size: columns whose mask is chosen together, after the updates from the columns before. The paper's 128
            suits layers of thousands of columns; in narrow ones it takes columns together that stand in for each
            other.
        damping: added to the diagonal of the second moments, as a fraction of its mean.
        calibration_samples: samples of the workload that show the inputs.
    """

    source: ClassVar[str] = "Frantar & Alistarh 2023 (arXiv:2301.00774)"
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"calibration_samples"})

    kind: Literal["sparsegpt-pruning"] = "sparsegpt-pruning"
    block_size: int = Field(default=32, ge=1, le=65_536, description="columns whose mask is chosen together")
    damping: float = Field(
        default=0.01, gt=0, le=1, description="added to the diagonal of the second moments, relative to its mean"
    )
    calibration_samples: int = Field(default=128, ge=1, le=10_000, description="samples that show the inputs")

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"{self.amount()} SparseGPT"


class GradientPruning(SparseStage):
    """Zero weights whose loss would change the training loss least.

    Gradients are those of the workload's training loss, batch by batch, on the model as it comes to this stage.
    Batches of a time step whose loss is small tell little and are left out. An embedding row that no sample uses has
    no gradient and goes first: for texts take thousands of samples, or skip the embedding.

    Attributes:
        sparsity: fraction of weights set to zero, in [0, 1).
        criterion: `taylor` is |g · w|, averaged over batches; `fisher` is w² · mean g² / 2, the second-order loss
            change with the squared gradients of batches for curvature; `snip` is |mean g · w|, normalised. With a
            single batch the three rank alike.
        scope: rank weights within each layer, or over the whole network.
        calibration_samples: samples that the loss is taken on.
        min_relative_loss: time steps count whose loss is at least this fraction of the largest one.
    """

    source: ClassVar[str] = (
        "Taylor: Molchanov 2017 (arXiv:1611.06440), 2019 (arXiv:1906.10771); Fisher: LeCun 1989 (OBD), Theis 2018 "
        "(arXiv:1801.05787); SNIP: Lee 2019 (arXiv:1810.02340); time steps: Fang 2023 (arXiv:2305.10924)"
    )
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset(
        {"criterion", "scope", "calibration_samples", "min_relative_loss"}
    )

    kind: Literal["gradient-pruning"] = "gradient-pruning"
    criterion: Literal["taylor", "fisher", "snip"] = Field(
        default="fisher", description="how gradients become a score per weight"
    )
    scope: Literal["layer", "global"] = Field(
        default="global", description="rank weights within each layer, or over the whole network"
    )
    calibration_samples: int = Field(default=256, ge=1, le=10_000, description="samples that the loss is taken on")
    min_relative_loss: float = Field(
        default=0.05, ge=0, le=1, description="time steps count whose loss is at least this fraction of the largest"
    )

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"{self.amount()} {self.criterion} ({self.scope})"


class AdaptivePruning(Stage):
    """Zero weights until the output has changed by as much as is allowed.

    Each layer has a threshold of its own. It falls with the layer's sensitivity: how much the output changes for
    the squared weights that are taken, measured with the layer half pruned. All thresholds are then moved together,
    by bisection, as far as the change against dense allows. This takes one forward pass over the calibration
    samples for each layer and nine more; no gradients. Layers that never change the output are pruned first.

    Attributes:
        max_output_change: mean squared difference to the dense outputs on the same inputs, as a fraction of the
            variance of the dense outputs, above 0. For texts the outputs are log-probabilities.
        max_sparsity: fraction of a layer's weights that may be zeroed, in [0, 1).
        calibration_samples: samples of the workload that show the outputs.
    """

    source: ClassVar[str] = (
        "Han 2015 (arXiv:1506.02626), thresholds per layer by sensitivity; sensitivity per squared weight as in "
        "LeCun 1989 (OBD) with one curvature a layer"
    )
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"max_output_change", "calibration_samples"})

    kind: Literal["adaptive-pruning"] = "adaptive-pruning"
    max_output_change: float = Field(
        gt=0, description="mean squared difference to the dense outputs, relative to their variance"
    )
    max_sparsity: float = Field(default=0.95, ge=0, lt=1, description="fraction of a layer's weights, at most")
    calibration_samples: int = Field(default=16, ge=1, le=10_000, description="samples that show the outputs")

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"adaptive pruning, change {self.max_output_change:.3g}"
