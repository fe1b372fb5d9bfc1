"""Stages that store weights in fewer bits, and those that make up for it."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from gencomp_core.recipes.formats import FloatName
from gencomp_core.recipes.stage import Stage

CALIBRATION_SAMPLES = 64
_ROUNDINGS = {"nearest": "", "gptq": ", GPTQ", "adaround": ", AdaRound"}


class WeightQuantization(Stage):
    """Round weights to integers of a few bits; activations stay float.

    Weights that are exactly zero stay so. GPTQ, AdaRound and AWQ look at the inputs of each layer, in the model
    as it comes to this stage. An embedding that is the output layer too goes by the gradient of the training loss,
    in which both of its uses meet. Other layers without an input matrix (look-ups, convolutions with groups) and
    layers that calibration never calls are rounded to nearest. AWQ also leaves layers alone
    whose weight is used outside of them.

    Attributes:
        bits: width of the integers, 1 to 8. One symmetric bit is the sign times the mean |w| of what shares a
            scale; weights that are exactly zero then cost a second bit in their layer.
        granularity: one scale per tensor, per output channel, or per group of `group_size` weights.
            Without it: per group when `group_size` is given, else per channel.
        group_size: consecutive weights of an output channel that share a scale.
        symmetric: integers around 0; otherwise affine with a zero point.
        clipping: `none` maps the largest weight to the largest integer; `mse` searches the range
            with the least squared error; `ternary` makes weights below 0.7 of the mean |w| zero and the
            others ± their mean, in two bits or one bit and one more for each that is not zero.
        rounding: to nearest; by GPTQ, which moves the error of each column to those after it; or by
            AdaRound, which learns for each weight whether to round down or up.
        act_order: GPTQ takes columns with the largest inputs first; scales of groups are then found before.
        damping: GPTQ adds it to the diagonal of the inputs' second moments, as a fraction of its mean.
        adaround_iterations: steps of AdaRound, at most.
        awq: scale the columns of each weight by the root mean square of their input, to a power that is
            searched from 0 to 1, and divide the input by it.
        calibration_samples: samples of the workload that show the inputs.
    """

    source: ClassVar[str] = (
        "Krishnamoorthi 2018 (arXiv:1806.08342); MSE clipping: Banner 2019 (arXiv:1810.05723); binary: Rastegari "
        "2016 (arXiv:1603.05279); ternary: Li & Liu 2016 (arXiv:1605.04711); GPTQ: Frantar 2022 (arXiv:2210.17323); "
        "AdaRound: Nagel 2020 (arXiv:2004.10568); AWQ: Lin 2023 (arXiv:2306.00978)"
    )
    exclusive_fields: ClassVar[tuple[frozenset[str], ...]] = (
        frozenset({"granularity", "group_size"}),
        frozenset({"rounding", "act_order", "damping", "adaround_iterations"}),
    )
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"calibration_samples"})

    kind: Literal["weight-quantization"] = "weight-quantization"
    bits: int = Field(ge=1, le=8, description="width of the integers")
    granularity: Literal["tensor", "channel", "group"] = Field(
        default="channel", description="how many weights share a scale"
    )
    group_size: int | None = Field(
        default=None, ge=2, le=65_536, description="weights of an output channel that share a scale"
    )
    symmetric: bool = Field(default=True, description="integers around 0; otherwise affine with a zero point")
    clipping: Literal["none", "mse", "ternary"] = Field(
        default="none", description="map the largest weight to the largest integer, search the best range, or ternary"
    )
    rounding: Literal["nearest", "gptq", "adaround"] = Field(
        default="nearest", description="to nearest, or by what the layer's output loses"
    )
    act_order: bool = Field(default=False, description="GPTQ takes columns with the largest inputs first")
    damping: float = Field(
        default=0.01, gt=0, le=1, description="GPTQ adds it to the diagonal of the second moments, relative to its mean"
    )
    adaround_iterations: int = Field(default=2000, ge=1, le=100_000, description="steps of AdaRound, at most")
    awq: bool = Field(default=False, description="scale columns by the size of their input before rounding")
    calibration_samples: int = Field(
        default=CALIBRATION_SAMPLES, ge=1, le=10_000, description="samples that show the inputs"
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

    @model_validator(mode="after")
    def _only_what_is_used(self) -> Self:
        if self.clipping == "ternary" and not (self.bits == 2 and self.symmetric):
            raise ValueError(
                f"must have 2 symmetric bits when clipping is 'ternary', got {self.bits} "
                f"{'symmetric' if self.symmetric else 'affine'}. Use bits: 2, or another clipping."
            )
        if self.clipping == "mse" and self.bits == 1 and self.symmetric:
            raise ValueError(
                "must have no clipping with 1 symmetric bit, got 'mse', because the mean |w| is the scale with the "
                "least squared error. Remove clipping."
            )
        if self.act_order and self.rounding != "gptq":
            raise ValueError(
                f"must have no act_order when rounding is {self.rounding!r}. Use rounding: gptq, or remove act_order."
            )
        return self

    def title(self) -> str:
        """A few words for legends and tables."""
        width = "ternary" if self.clipping == "ternary" else f"{self.bits}-bit"
        where = f"g{self.group_size}" if self.granularity == "group" else f"per {self.granularity}"
        extras = ("" if self.symmetric else ", affine") + (", MSE clip" if self.clipping == "mse" else "")
        return f"{width} {where}{extras}{_ROUNDINGS[self.rounding]}{', AWQ' if self.awq else ''}"


class FloatCast(Stage):
    """Store weights as shorter floating-point numbers, or as NF4.

    Weights that are exactly zero stay so. Biases and norms stay float32.

    Attributes:
        format: `float16` and `bfloat16` (2 bytes a weight); `float8_e4m3fn` with a scale per output channel
            (1 byte); `nf4`, sixteen quantiles of a normal distribution with a scale per block of 64 weights of
            an output channel (half a byte). Scales are float16.
    """

    source: ClassVar[str] = (
        "FP8: Micikevicius 2022 (arXiv:2209.05433); NF4: QLoRA, Dettmers 2023 (arXiv:2305.14314); bfloat16: "
        "Kalamkar 2019 (arXiv:1905.12322)"
    )

    kind: Literal["float-format"] = "float-format"
    format: FloatName = Field(description="how a weight is stored")

    def title(self) -> str:
        """A few words for legends and tables."""
        return {"float8_e4m3fn": "FP8-E4M3", "nf4": "NF4"}.get(self.format, self.format) + " weights"


class LowRankCorrection(Stage):
    """Add a thin branch beside each rounded layer that brings back most of the rounding error.

    The branch is a layer to `rank` channels and one back, of the same kind, in float16: its product is the best
    approximation of what the last rounding took. Layers that were not rounded have no branch. Neither have
    embeddings and convolutions with groups, nor layers whose codes a stage after the rounding made anew
    (smoothing, removed channels): put this stage right after the rounding. A later stage of this kind replaces
    the branches.

    Attributes:
        rank: channels between the two thin layers; at most the width of the layer.
        weighting: fit the error of the layer's output on calibration inputs, or that of its weights.
        calibration_samples: samples of the workload that show the inputs.
    """

    source: ClassVar[str] = "SVDQuant, Li 2024 (arXiv:2411.05007); LQER, Zhang 2024 (arXiv:2402.02446)"
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"calibration_samples"})

    kind: Literal["low-rank-correction"] = "low-rank-correction"
    rank: int = Field(default=8, ge=1, le=4096, description="channels between the two thin layers")
    weighting: Literal["inputs", "none"] = Field(
        default="inputs", description="fit the layer's output on calibration inputs, or its weights"
    )
    calibration_samples: int = Field(
        default=CALIBRATION_SAMPLES, ge=1, le=10_000, description="samples that show the inputs"
    )

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"rank-{self.rank} correction" + ("" if self.weighting == "inputs" else " of weights")


class BiasCorrection(Stage):
    """Put back into biases what compression shifted in the mean of each output.

    The shift is measured on the inputs that the dense model's layers see. Layers without a bias get one. Embeddings
    and layers that calibration never calls are left alone.

    Attributes:
        calibration_samples: samples of the workload that show the inputs.
    """

    source: ClassVar[str] = "Nagel 2019 (arXiv:1906.04721), section 4.2"
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"calibration_samples"})

    kind: Literal["bias-correction"] = "bias-correction"
    calibration_samples: int = Field(
        default=CALIBRATION_SAMPLES, ge=1, le=10_000, description="samples that show the inputs"
    )

    def title(self) -> str:
        """A few words for legends and tables."""
        return "bias correction"


class CrossLayerEqualization(Stage):
    """Give channels between two layers equal ranges in both, so that a scale per tensor fits them.

    What the network computes stays the same. Pairs are layers with ReLU, LeakyReLU or nothing between: both
    halves of a feed-forward, values and projection of an attention, and neighbours in a sequence. A pair with a
    skipped layer is left alone; a network without pairs is refused. Weights that are integers already are
    rounded again in their format.

    Attributes:
        rounds: passes over the pairs, at most; layers in a chain need several, others one.
    """

    source: ClassVar[str] = "Nagel 2019 (arXiv:1906.04721), section 4.1"
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"rounds"})

    kind: Literal["cross-layer-equalization"] = "cross-layer-equalization"
    rounds: int = Field(default=20, ge=1, le=1000, description="passes over the pairs, at most")

    def title(self) -> str:
        """A few words for legends and tables."""
        return "equalized"
