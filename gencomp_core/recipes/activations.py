"""Stages that run activations in fewer bits, and the one that prepares weights and activations for it."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gencomp_core.recipes.stage import Stage

DEFAULT_PERCENTILE = 99.9
CALIBRATION_SAMPLES = 80
"""As many of each of ten classes, and five batches of sixteen texts from short to long."""


class ActivationQuantization(Stage):
    """Round what goes into each layer to integers of a few bits.

    Weights are left as they are: add a stage for them. Embeddings have no float input and are left alone;
    norms and the products of attention stay float. A layer that calibration never meets runs with dynamic
    ranges. A later stage of this kind replaces what an earlier one did to the same layers.

    Attributes:
        bits: width of the integers, 4 to 8.
        symmetric: integers around 0; otherwise affine with a zero point.
        mode: `static` fixes ranges by calibration; `dynamic` takes those of each token (linear layers) or
            each sample (convolutions) at run time.
        observer: which range holds: that of all values, that between two percentiles, or the one with the
            least squared rounding error.
        percentile: of the values below the upper end of the range, as many above the lower end.
        steps: calibrate on all stages of the generation (time steps of a diffusion model), or on the last.
        split: give both halves of a concatenated input ranges of their own, where the network names its seams.
        keep_ends: leave the first and the last layer float: of those with a float input, in the order in
            which the model lists them.
        calibration_samples: how many samples are followed through the model.
    """

    source: ClassVar[str] = (
        "Krishnamoorthi 2018 (arXiv:1806.08342); all time steps, split: Q-Diffusion, Li 2023 (arXiv:2302.04304); "
        "dynamic: ZeroQuant, Yao 2022 (arXiv:2206.01861)"
    )
    exclusive_fields: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"mode", "observer", "percentile"}),)
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"steps", "keep_ends", "calibration_samples"})

    kind: Literal["activation-quantization"] = "activation-quantization"
    bits: int = Field(default=8, ge=4, le=8, description="width of the integers")
    symmetric: bool = Field(default=False, description="integers around 0; otherwise affine with a zero point")
    mode: Literal["static", "dynamic"] = Field(
        default="static", description="ranges from calibration, or of each token or sample at run time"
    )
    observer: Literal["min-max", "percentile", "mse"] = Field(
        default="min-max", description="hold all values, cut off outliers, or search the least squared error"
    )
    percentile: float | None = Field(
        default=None, gt=50, le=100, description="of the values below the upper end of the range"
    )
    steps: Literal["all", "last"] = Field(
        default="all", description="calibrate on all stages of the generation, or on the last one"
    )
    split: bool = Field(default=True, description="ranges of their own for both halves of a concatenated input")
    keep_ends: bool = Field(default=True, description="leave the first and the last layer float")
    calibration_samples: int = Field(
        default=CALIBRATION_SAMPLES, ge=1, le=10_000, description="samples followed through the model"
    )

    @model_validator(mode="before")
    @classmethod
    def _infer_observer(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        fields = dict(fields)
        if fields.get("percentile") is not None:
            fields.setdefault("observer", "percentile")
        elif fields.get("observer") == "percentile":
            fields["percentile"] = DEFAULT_PERCENTILE
        return fields

    @model_validator(mode="after")
    def _only_what_is_used(self) -> Self:
        if self.percentile is not None and self.observer != "percentile":
            raise ValueError(
                f"must have no percentile when observer is {self.observer!r}, got {self.percentile}. "
                "Use observer: percentile, or remove percentile."
            )
        if self.mode == "dynamic" and self.observer != "min-max":
            raise ValueError(
                f"must have no observer when mode is 'dynamic', got {self.observer!r}, because ranges are those "
                "of each token or sample. Use mode: static, or remove observer."
            )
        return self

    def title(self) -> str:
        """A few words for legends and tables."""
        how = "dynamic" if self.mode == "dynamic" else self._observed()
        extras = (", symmetric" if self.symmetric else "") + ("" if self.split else ", unsplit")
        return f"{self.bits}-bit activations ({how}{extras})"

    def _observed(self) -> str:
        observer = {"min-max": "min-max", "percentile": f"{self.percentile}%", "mse": "MSE"}[self.observer]
        return observer + (", last step" if self.steps == "last" else "")


class SmoothQuant(Stage):
    """Move outlier channels from activations into weights, so that both round well.

    The input of a layer is divided by a scale per channel and the columns of its weight are multiplied by it:
    s = max|x|^α / max|w|^(1 - α), equation 4 of the paper. What the network computes stays the same. Layers that read
    a norm which nothing else reads share one scale, and the norm's weights are divided by it: nothing is left at run
    time. Elsewhere (behind an activation, or where readers are skipped or have another α) the division stays. Put it
    before the stages that quantize: weights that are integers already are rounded again in their format, a layer
    whose input is quantized already is refused. Embeddings, layers whose weight another module shares, and
    layers that calibration never meets are left alone.

    Attributes:
        alpha: share of the outliers that moves into the weights, in [0, 1].
        calibration_samples: how many samples are followed through the model.
    """

    source: ClassVar[str] = "SmoothQuant, Xiao 2022 (arXiv:2211.10438)"
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"calibration_samples"})

    kind: Literal["smooth-quant"] = "smooth-quant"
    alpha: float = Field(default=0.5, ge=0, le=1, description="share of the outliers that moves into the weights")
    calibration_samples: int = Field(
        default=CALIBRATION_SAMPLES, ge=1, le=10_000, description="samples followed through the model"
    )

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"smoothed (α {self.alpha:g})"
