"""The stage that replaces layers by two thin ones."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from gencomp_core.recipes.stage import Stage

CALIBRATION_SAMPLES = 64


class LowRankFactorization(Stage):
    """Replace a layer by two thin ones, so that it has fewer weights and multiplies less.

    The weight as a matrix, (out, in) or (out, in · kernel), becomes the best product of (out, rank) and (rank, in).
    In the recipe that follows the two layers are called `NAME.wide` and `NAME.thin`. Layers that would not get
    smaller stay whole, and so do embeddings, convolutions with groups, and layers whose weight is used outside of
    them. Zeros of pruned layers are filled: prune afterwards. Put it before the stages that quantize.

    Attributes:
        rank: channels between the two layers, in place of `energy`.
        energy: take as many channels as it needs to keep this share of the squared output (or weight), in (0, 1).
        weighting: keep most of each layer's output on calibration inputs, or of its weight. Layers that
            calibration never calls go by their weight.
        calibration_samples: samples of the workload that show the inputs.
    """

    source: ClassVar[str] = (
        "Eckart & Young 1936; Denton 2014 (arXiv:1404.0736); convolutions: Zhang 2015 (arXiv:1505.06798)"
    )
    exclusive_fields: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"rank", "energy"}),)
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"calibration_samples"})

    kind: Literal["low-rank-factorization"] = "low-rank-factorization"
    rank: int | None = Field(default=None, ge=1, le=65_536, description="channels between the two layers")
    energy: float = Field(
        default=0.99, gt=0, lt=1, description="share of the squared output that is kept, where no rank is given"
    )
    weighting: Literal["inputs", "none"] = Field(
        default="inputs", description="keep the layer's output on calibration inputs, or its weights"
    )
    calibration_samples: int = Field(
        default=CALIBRATION_SAMPLES, ge=1, le=10_000, description="samples that show the inputs"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_choice(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("rank") is not None and "energy" in fields:
            raise ValueError(
                f"must say either rank or energy, got rank {fields['rank']} and energy {fields['energy']}. Remove one."
            )
        return fields

    def title(self) -> str:
        """A few words for legends and tables."""
        how = f"rank {self.rank}" if self.rank else f"{self.energy:.4g} of the energy"
        return f"factored ({how}{'' if self.weighting == 'inputs' else ', of weights'})"
