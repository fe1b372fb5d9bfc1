"""Stages that train what compression has left: fine-tuning and quantization-aware training."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gencomp_core.recipes.stage import Stage


class TuningStage(Stage):
    """A stage that trains the model as it comes to it.

    Zeros of pruned layers stay zero, integers stay integers, removed parts stay removed. Layers that `layers`
    skips are left as they are. The best state by held-out data is kept, the one from before included.

    Attributes:
        steps: optimizer steps.
        learning_rate: peak rate of Adam; a twentieth of the steps warms up, a cosine ends at zero.
        batch_size: samples a step.
        distillation: weight of the dense model's outputs in the loss, from 0 (data alone) to 1 (teacher alone).
        match: what is compared with the dense model.
        precision: arithmetic of the forward pass while training; checks are in float32.
        checks: how often the held-out data are looked at, evenly over the steps.
    """

    whole_stage_fields: ClassVar[frozenset[str]] = frozenset(
        {"steps", "learning_rate", "batch_size", "distillation", "match", "precision", "checks"}
    )

    kind: str
    steps: int = Field(default=500, ge=1, le=1_000_000, description="optimizer steps")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="peak rate of Adam")
    batch_size: int = Field(default=64, ge=1, le=65_536, description="samples a step")
    distillation: float = Field(
        default=0.5, ge=0, le=1, description="weight of the dense model's outputs in the loss; 0 is data alone"
    )
    match: Literal["outputs", "features", "sequences"] = Field(
        default="outputs",
        description="distil outputs, outputs and layers between, or (texts) whole texts of the dense model",
    )
    precision: Literal["bf16", "fp32"] = Field(default="bf16", description="arithmetic of the forward pass in training")
    checks: int = Field(default=10, ge=1, le=1000, description="how often held-out data are looked at")

    @model_validator(mode="after")
    def _match_needs_a_teacher(self) -> Self:
        if self.match != "outputs" and not self.distillation:
            raise ValueError(
                f"must have distillation above 0 when match is {self.match!r}, got 0. "
                "Remove match, or weigh the teacher."
            )
        return self

    def _details(self) -> str:
        """Steps and, where it is not the default, how the teacher takes part."""
        teacher = {"features": ", features matched", "sequences": ", teacher's texts"}.get(self.match, "")
        return f"{self.steps} steps" + (teacher if self.distillation else ", no teacher")


class FineTuning(TuningStage):
    """Train the compressed model further, so that it gets its quality back.

    The loss is that of the workload's training, mixed with the difference to the dense model's outputs. Quantized
    weights are trained by straight-through rounding to their own codes and scales.

    Attributes:
        trainable: everything; only norms and biases; or low-rank additions to each weight, which are merged in the
            end, with everything that is no weight of a layer.
        rank: of the low-rank additions; 8 without it.
    """

    source: ClassVar[str] = (
        "Han 2015 (arXiv:1506.02626); distillation: Hinton 2015 (arXiv:1503.02531); norms: Frankle 2021 "
        "(arXiv:2003.00152); low rank: Hu 2021 (arXiv:2106.09685); straight-through: Bengio 2013 (arXiv:1308.3432)"
    )
    whole_stage_fields: ClassVar[frozenset[str]] = TuningStage.whole_stage_fields | {"trainable", "rank"}

    kind: Literal["fine-tune"] = "fine-tune"
    trainable: Literal["all", "norms-and-biases", "low-rank"] = Field(
        default="all", description="everything, only norms and biases, or low-rank additions to weights"
    )
    rank: int | None = Field(default=None, ge=1, le=4096, description="of the low-rank additions")

    @model_validator(mode="before")
    @classmethod
    def _infer_rank(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("trainable") == "low-rank" and fields.get("rank") is None:
            return {**fields, "rank": 8}
        return fields

    @model_validator(mode="after")
    def _rank_of_low_rank(self) -> Self:
        if self.rank is not None and self.trainable != "low-rank":
            raise ValueError(
                f"must have no rank when trainable is {self.trainable!r}, got {self.rank}. "
                "Use trainable: low-rank, or remove rank."
            )
        return self

    def title(self) -> str:
        """A few words for legends and tables."""
        what = {"norms-and-biases": "norms and biases ", "low-rank": f"rank-{self.rank} "}.get(self.trainable, "")
        return f"{what}tuned ({self._details()})"


class QuantizationAwareTraining(TuningStage):
    """Train weights under their own rounding, together with the steps between the integers.

    Put it after the stages that quantize: it starts from their codes, scales and ranges, and ends with codes and
    scales of the same formats.

    Attributes:
        scales: train the scale of each channel or group, or keep it.
        ranges: of static activations: trained; observed (a moving average of what layers meet in training, frozen
            at half time); or kept.
        reallocations: times, over the first half of the steps, that bits move between layers: where gradients say that
            they matter more, at no more bits in all. Layers keep between 2 and 8.
    """

    source: ClassVar[str] = (
        "Straight-through: Bengio 2013 (arXiv:1308.3432); LSQ: Esser 2020 (arXiv:1902.08153); trained as logarithms: "
        "Jain 2020 (arXiv:1903.08066); observers: Jacob 2018 (arXiv:1712.05877), Krishnamoorthi 2018 (arXiv:1806.08342)"
    )
    whole_stage_fields: ClassVar[frozenset[str]] = TuningStage.whole_stage_fields | {
        "scales",
        "ranges",
        "reallocations",
    }

    kind: Literal["quantization-aware-training"] = "quantization-aware-training"
    learning_rate: float = Field(default=3e-4, gt=0, le=1, description="peak rate of Adam")
    scales: Literal["learned", "kept"] = Field(
        default="learned", description="train the scales of weights, or keep them"
    )
    ranges: Literal["learned", "observed", "kept"] = Field(
        default="learned", description="of static activations: trained, observed until half time, or kept"
    )

    reallocations: int = Field(default=0, ge=0, le=1000, description="times that bits move between layers")

    def title(self) -> str:
        """A few words for legends and tables."""
        extras = ("" if self.scales == "learned" else ", scales kept") + (
            "" if self.ranges == "learned" else f", ranges {self.ranges}"
        )
        extras += f", bits moved {self.reallocations} times" if self.reallocations else ""
        return f"QAT ({self._details()}{extras})"
