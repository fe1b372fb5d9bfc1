"""Stages that prune while they train: what goes is decided on the way, and what stays makes up for it."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from gencomp_core.recipes.recovery import TuningStage


class MaskTraining(TuningStage):
    """A stage that zeroes weights while it trains the others.

    The best state counts from when the sparsity is reached. On weights that are integers, the rounding and its scales
    are trained along.

    Attributes:
        sparsity: fraction of weights that are zero in the end, in [0, 1); zeros from before count.
        scope: rank weights within each layer, or over the whole network.
    """

    whole_stage_fields: ClassVar[frozenset[str]] = TuningStage.whole_stage_fields | {"scope"}

    kind: str
    sparsity: float = Field(ge=0, lt=1, description="fraction of weights that are zero in the end")
    scope: Literal["layer", "global"] = Field(
        default="layer", description="rank weights within each layer, or over the whole network"
    )

    @model_validator(mode="after")
    def _one_ranking(self) -> Self:
        if self.scope == "global" and any("skip" not in override for override in self.layers.values()):
            raise ValueError(
                "layers may only skip layers when scope is 'global', because one ranking holds for all. "
                "Use scope: layer, or {skip: true}."
            )
        return self

    def _amount(self) -> str:
        return f"{self.sparsity:.0%}{' global' if self.scope == 'global' else ''}"


class IterativePruning(MaskTraining):
    """Prune a little, tune, and so on: the sparsity rises on a cubic curve.

    s(t) = s₁ + (s₀ - s₁) (1 - t / T)³, in equal rounds over the first part of the steps; the rest is tuning.

    Attributes:
        rounds: times that the smallest weights are zeroed; 1 is one-shot pruning with tuning after it.
        ramp: share of the steps over which the sparsity rises.
        rewind: after the last round, begin the learning rate anew, or that and the weights that stay from where
            the stage found them.
        min_gain: end when the held-out figure falls by less than this fraction from check to check; 0 never does.
    """

    source: ClassVar[str] = (
        "Cubic schedule: Zhu & Gupta 2017 (arXiv:1710.01878); rewinding: Renda 2020 (arXiv:2003.02389); Han 2015 "
        "(arXiv:1506.02626)"
    )
    whole_stage_fields: ClassVar[frozenset[str]] = MaskTraining.whole_stage_fields | {
        "rounds",
        "ramp",
        "rewind",
        "min_gain",
    }

    kind: Literal["iterative-pruning"] = "iterative-pruning"
    rounds: int = Field(default=10, ge=1, le=10_000, description="times that the smallest weights are zeroed")
    ramp: float = Field(default=0.5, ge=0, lt=1, description="share of the steps over which the sparsity rises")
    rewind: Literal["none", "rate", "weights"] = Field(
        default="none", description="after the last round begin anew with the learning rate, or with the weights too"
    )
    min_gain: float = Field(
        default=0.0, ge=0, lt=1, description="end when the held-out figure falls by less from check to check"
    )

    def title(self) -> str:
        """A few words for legends and tables."""
        rewind = {"rate": ", rate rewound", "weights": ", weights rewound"}.get(self.rewind, "")
        return f"{self._amount()} iterative ({self.rounds} rounds, {self._details()}{rewind})"


class MovementPruning(MaskTraining):
    """Keep the weights that training moves away from zero.

    The score of a weight is the sum of -g · w over the steps, g the gradient of the loss by the masked weight. The
    weights with the largest scores stay; one that was zeroed keeps its value and may come back.

    Attributes:
        rounds: times that the mask is chosen anew.
        ramp: share of the steps over which the sparsity rises; then the mask is fixed.
    """

    source: ClassVar[str] = "Sanh 2020 (arXiv:2005.07683), hard movement pruning; cubic schedule: arXiv:1710.01878"
    whole_stage_fields: ClassVar[frozenset[str]] = MaskTraining.whole_stage_fields | {"rounds", "ramp"}

    kind: Literal["movement-pruning"] = "movement-pruning"
    rounds: int = Field(default=20, ge=1, le=10_000, description="times that the mask is chosen anew")
    ramp: float = Field(default=0.7, ge=0, lt=1, description="share of the steps over which the sparsity rises")

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"{self._amount()} movement ({self._details()})"


class HardConcretePruning(MaskTraining):
    """Learn a gate in front of every weight, and zero those whose gates close.

    Gates are drawn at random in every step and are exactly zero with a chance that is trained, so that the number of
    weights has a gradient. It is pushed down to the sparsity; then the most open gates stay as a mask, and the rest of
    the steps tunes what is left.

    Attributes:
        strength: how fast the push on the gates rises while they are too open.
        ramp: share of the steps with gates; then the mask is fixed.
    """

    source: ClassVar[str] = (
        "Hard concrete L0, Louizos 2018 (arXiv:1712.01312); a target sparsity: Wang 2020 (arXiv:1910.04732)"
    )
    whole_stage_fields: ClassVar[frozenset[str]] = MaskTraining.whole_stage_fields | {"strength", "ramp"}

    kind: Literal["hard-concrete-pruning"] = "hard-concrete-pruning"
    strength: float = Field(default=1.0, gt=0, le=1e6, description="how fast the push on open gates rises")
    ramp: float = Field(default=0.5, gt=0, lt=1, description="share of the steps with gates")

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"{self._amount()} by hard-concrete gates ({self._details()})"


class RegularizedPruning(MaskTraining):
    """Push weights towards zero while training, then zero the smallest and tune the rest.

    Attributes:
        penalty: `l1` on every weight; `group-lasso` on each output channel; `growing`, an L2 penalty on the
            weights that are smallest at the start, which rises step by step.
        strength: what the penalty adds to the loss at the start; of the growing one, the weight decay that it
            reaches.
        ramp: share of the steps with the penalty; then weights are zeroed, and the rest is tuned without it.
    """

    source: ClassVar[str] = (
        "L1: Han 2015 (arXiv:1506.02626), Liu 2017 (arXiv:1708.06519); group lasso: Wen 2016 (arXiv:1608.03665); "
        "growing: Wang 2021 (arXiv:2012.09243)"
    )
    whole_stage_fields: ClassVar[frozenset[str]] = MaskTraining.whole_stage_fields | {"penalty", "strength", "ramp"}

    kind: Literal["regularized-pruning"] = "regularized-pruning"
    penalty: Literal["l1", "group-lasso", "growing"] = Field(
        default="growing", description="on every weight, on output channels, or rising on what will go"
    )
    strength: float = Field(
        default=0.1, gt=0, le=1000, description="what the penalty adds at the start, or the decay it reaches"
    )
    ramp: float = Field(default=0.5, gt=0, lt=1, description="share of the steps with the penalty")

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"{self._amount()} after {self.penalty} ({self._details()})"


class Regrowth(TuningStage):
    """Let pruned weights change places: the smallest go, those with the largest gradient come back.

    They come back as zeros that are trained. The number of zeros of each layer stays. Put it after a stage that
    prunes.

    Attributes:
        fraction: of the weights that stay, exchanged in the first round; it falls to zero on a cosine.
        rounds: times that weights are exchanged.
        ramp: share of the steps with exchanges; then the mask is fixed.
    """

    source: ClassVar[str] = "RigL, Evci 2020 (arXiv:1911.11134), algorithm 1"
    whole_stage_fields: ClassVar[frozenset[str]] = TuningStage.whole_stage_fields | {"fraction", "rounds", "ramp"}

    kind: Literal["regrowth"] = "regrowth"
    fraction: float = Field(default=0.3, gt=0, lt=1, description="of the weights that stay, exchanged at first")
    rounds: int = Field(default=10, ge=1, le=10_000, description="times that weights are exchanged")
    ramp: float = Field(default=0.7, gt=0, lt=1, description="share of the steps with exchanges")

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"regrown ({self.rounds} rounds, {self._details()})"
