"""How much each layer minds what could be done to it, and what a plan makes of it."""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from gencomp_core.records.base import Estimate, Record

ScoreAxis = Literal["sparsity", "bits", "pruning_ratio", "joint"]
ScanMethod = Literal["fisher", "proxy", "metric"]
Direction = Literal["only-this", "all-but-this"]

SCAN_VERSION = "1"
"""Raise when the same scan now gives other damages."""


class LayerOption(Record):
    """One thing that can be done to one layer: prune it, then round it.

    Attributes:
        sparsity: fraction of its weights set to zero.
        pruning_ratio: fraction of its channels removed.
        bits: of its weights; None keeps floats.
        group_size: weights that share a scale; None for one scale a channel.
        symmetric: integers around zero, without a zero point.
        clipping: how the range of rounding is found, a name of the weight-quantization stage.
        activation_bits: of its rounded inputs; None keeps floats.
    """

    sparsity: float = 0.0
    pruning_ratio: float = 0.0
    bits: int | None = None
    group_size: int | None = None
    symmetric: bool = True
    clipping: str = "none"
    activation_bits: int | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether the layer stays as it is."""
        return not self.sparsity and not self.pruning_ratio and self.bits is None and self.activation_bits is None

    @property
    def axis(self) -> ScoreAxis:
        """What is changed; `joint` where weights are both zeroed and rounded."""
        if self.pruning_ratio:
            return "pruning_ratio"
        if self.bits is None:
            return "sparsity"
        return "joint" if self.sparsity else "bits"

    def short(self) -> str:
        """The level alone, for the head of a column: `50%`, `4b g64`."""
        parts = [f"{100 * own:.4g}%" for own in (self.pruning_ratio, self.sparsity) if own]
        parts += [f"{self.bits}b"] if self.bits is not None else []
        return " ".join(parts + ([f"g{self.group_size}"] if self.group_size else []))

    def title(self) -> str:
        """A few words for tables: `50 % zero, 4 bits g64`."""
        parts = [f"{100 * self.pruning_ratio:.4g} % of channels removed"] if self.pruning_ratio else []
        parts += [f"{100 * self.sparsity:.4g} % zero"] if self.sparsity else []
        if self.bits is not None:
            group = f" g{self.group_size}" if self.group_size else ""
            extras = ("" if self.symmetric else " affine") + ("" if self.clipping == "none" else f" {self.clipping}")
            parts += [f"{self.bits} bits{group}{extras}"]
        parts += [f"inputs {self.activation_bits} bits"] if self.activation_bits is not None else []
        return ", ".join(parts) or "dense"


class LayerScore(Record):
    """What one option costs in quality, by one way of asking.

    Attributes:
        layer: dotted module name; tied layers have one score, under the first name. Of removed channels: the first
            layer that makes them.
        option: what was done.
        direction: to this layer alone, or to all others.
        method: how it was asked.
        position: step of the generation, token position or latent region that it holds for; None for all.
        damage: how much worse, ≥ 0 up to noise; in the units of the method, so that only one method's can be compared.
            Infinite where the output was not finite, or the option could not be applied.
        size_bytes: of the layer's weight tensor under the option, as packed: values, scales, masks and indices,
            without its share of the file's header. Of removed channels: of the weights of all layers that have them.
        dense_size_bytes: of the same tensors in float32.
    """

    layer: str
    option: LayerOption
    direction: Direction = "only-this"
    method: ScanMethod
    position: str | None = None
    damage: Estimate
    size_bytes: int
    dense_size_bytes: int


class ScanRequest(Record):
    """Everything that the damages of a scan depend on, but for the layers and options that were asked for.

    Attributes:
        workload: name.
        weights_hash: of the dense weights.
        method: how damage is asked.
        direction: one layer compressed, or all others.
        n_samples: calibration samples, or samples of the metric.
        seed: of noise and projections.
        settings: of the method: probes, steps, sampling settings.
    """

    workload: str
    weights_hash: str
    method: ScanMethod
    direction: Direction = "only-this"
    n_samples: int
    seed: int
    settings: dict[str, int | float | str] = Field(default_factory=dict)

    @property
    def signature(self) -> str:
        """16 hex digits; equal for equal requests under the same version."""
        text = json.dumps([SCAN_VERSION, self.model_dump()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Scan(Record):
    """One scan as it is kept: its request, and what it found beside scores.

    Attributes:
        request: what the scores depend on.
        signature: of the request.
        unit: what a damage is, in words.
        allowance: damage above which the mildest option of a layer counts as unsafe.
        layers: that can be compressed, in the order of the model.
        untouchable: why a part of the network can't be compressed, by name.
        fixed_channels: why a layer keeps its channels, by name; empty where that was not asked.
        seconds: spent on it so far.
        machine, measured_at: provenance.
    """

    request: ScanRequest
    signature: str
    unit: str
    allowance: float
    layers: tuple[str, ...] = ()
    untouchable: dict[str, str] = Field(default_factory=dict)
    fixed_channels: dict[str, str] = Field(default_factory=dict)
    seconds: float = 0.0
    machine: dict[str, str | int] = Field(default_factory=dict)
    measured_at: str


class RankCorrelation(Record):
    """How far two methods agree in the order of what they damage.

    Attributes:
        methods: the two.
        spearman: rank correlation of their damages, in [-1, 1].
        n: pairs of layer and option that both have scored.
        trustworthy: whether it is at least 0.8.
    """

    methods: tuple[ScanMethod, ScanMethod]
    spearman: float
    n: int
    trustworthy: bool


class ScanReport(Record):
    """A scan with its scores.

    Attributes:
        scan: what was asked.
        scores: of all layers and options that were asked for, positions included.
        n_new: scores among them that were computed now.
        seconds: that this took.
        unsafe: why a layer should not be touched, by name.
        rank_correlations: with other methods' kept scans of the same weights.
        warnings: one line each.
    """

    scan: Scan
    scores: tuple[LayerScore, ...]
    n_new: int
    seconds: float
    unsafe: dict[str, str] = Field(default_factory=dict)
    rank_correlations: tuple[RankCorrelation, ...] = ()
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Plain form for command-line JSON; a damage that is not finite is null."""
        request = self.scan.request
        return {
            "workload": request.workload,
            "method": request.method,
            "direction": request.direction,
            "axes": sorted({score.option.axis for score in self.scores}),
            "signature": self.scan.signature,
            "n_samples": request.n_samples,
            "seed": request.seed,
            "settings": request.settings,
            "unit": self.scan.unit,
            "seconds": self.seconds,
            "n_new": self.n_new,
            "unsafe": self.unsafe,
            "untouchable": self.scan.untouchable,
            "fixed_channels": self.scan.fixed_channels,
            "rank_correlations": [own.model_dump(mode="json") for own in self.rank_correlations],
            "warnings": list(self.warnings),
            "scores": [_plain(score) for score in self.scores],
        }


def _plain(score: LayerScore) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(score.model_dump_json(exclude={"direction", "method"}))
    infinite = {name: None if abs(value) == float("inf") else value for name, value in fields["damage"].items()}
    return {**fields, "damage": infinite}
