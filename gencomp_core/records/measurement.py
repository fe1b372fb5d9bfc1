"""What was found of one variant, and the request that its numbers depend on."""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records.base import Estimate, Record
from gencomp_core.records.metrics import Better

METHOD_VERSION = "1"
"""Raise when a change to sampling, metrics, packing or stages gives other numbers for the same request."""

STAGE_VERSIONS = {"sparsegpt-pruning": "2", "smooth-quant": "2", "gptq": "2", "adaround": "2"}
"""The same for one kind of stage or way of rounding: recipes without it keep their measurements."""

Status = Literal["measured", "simulated", "failed"]
LatencyVerdict = Literal["faster", "slower", "tie", "unclear"]
RuntimeVerdict = Literal["same", "better", "worse"]


class Quality(Record):
    """The quality metric of one variant.

    Attributes:
        metric: registered name, such as `fid`.
        name: full printed name with feature space and sample count.
        value, low, high: with the 95 % bootstrap interval over samples.
        n_samples: generated samples it was taken over.
        better: which direction is better.
        noise_floor: what real data gets at the same sample count.
        baselines: what answers without any model get over the same samples, by name.
    """

    metric: str
    name: str
    value: float
    low: float
    high: float
    n_samples: int
    better: Better
    noise_floor: float | None = None
    baselines: dict[str, float] = Field(default_factory=dict)


class Latency(Record):
    """Time to generate one batch, measured interleaved with the dense model.

    Attributes:
        runtime: what executed it.
        batch: samples generated together.
        threads: CPU threads of the process.
        median_ms, low_ms, high_ms: wall time with quartiles.
        n_runs: timed rounds.
        dense_median_ms: dense model in the same runtime, same rounds.
        dense_eager_median_ms: dense model in torch eager, same rounds.
        ratio, ratio_low, ratio_high: compressed / dense CPU time of the same round: median, quartiles.
        eager_ratio: compressed / dense in torch eager, median of the same rounds; None in old measurements.
        noise_low, noise_high: ratios that mean nothing here: 5 to 95 % of dense against itself, at least ±5 %.
        verdict: `tie` when the ratio lies within the noise, `unclear` when it does not but the machine was busy.
        busy: another process took the core for a notable part of the time.
        ran: what really ran, which may not be all that the recipe asks for; empty in old measurements.
        machine: processor that it was measured on.
        measured_at: ISO date and time, UTC.
    """

    runtime: str
    batch: int
    threads: int
    median_ms: float
    low_ms: float
    high_ms: float
    n_runs: int
    dense_median_ms: float
    dense_eager_median_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    noise_low: float
    noise_high: float
    verdict: LatencyVerdict
    busy: bool
    machine: str
    eager_ratio: float | None = None
    ran: str = ""
    measured_at: str


class RuntimeQuality(Record):
    """Quality of a runtime's own samples: what ships, beside what was simulated.

    Attributes:
        runtime, ran: what executed it, and what really ran.
        quality: of its samples, over the same numbers and the same seed as the measurement's.
        change: against dense, paired by seed.
        change_to_simulated: against the model with its integers widened to floats, paired by seed.
        agreement: same-seed measures against that model, by name with unit.
        tolerance: change to the simulated model that counts as none, in units of the metric.
        verdict: `same` when that change is within the tolerance or its interval holds 0.
        size_bytes: of the runtime's own files.
        machine, versions, measured_at: provenance.
    """

    runtime: str
    ran: str
    quality: Quality
    change: Estimate
    change_to_simulated: Estimate
    agreement: dict[str, Estimate] = Field(default_factory=dict)
    tolerance: float
    verdict: RuntimeVerdict
    size_bytes: int
    machine: str
    versions: dict[str, str]
    measured_at: str


class TensorCost(Record):
    """How one tensor was written to the weights file.

    Attributes:
        name: of the tensor in the state dict.
        coding: `dense`, `bitmask` or `index`.
        bits: of one stored value.
        n_values, n_zeros: values, and how many of them are exactly zero.
        n_bytes: written for it, with positions, scales and zero points.
        overhead_bytes: scales and zero points among them.
        dense_bytes: of the same tensor in float32.
    """

    name: str
    coding: str
    bits: int
    n_values: int
    n_zeros: int
    n_bytes: int
    overhead_bytes: int
    dense_bytes: int


class EvaluationRequest(Record):
    """Everything that a measurement's numbers depend on.

    Attributes:
        workload: name.
        weights_hash: of the dense weights.
        recipe: plain form of the recipe.
        seed: of the noise and of random stages.
        n_samples: samples for the quality metric.
        settings: sampling settings, complete.
        extractor: feature space of the metric, or the library that computes it for texts.
    """

    workload: str
    weights_hash: str
    recipe: dict[str, Any]
    seed: int
    n_samples: int
    settings: dict[str, int | float | str]
    extractor: str = "fashion"

    @property
    def signature(self) -> str:
        """16 hex digits; equal for equal requests under the same method version."""
        recipe = Recipe.from_dict(self.recipe).signature
        version = " ".join([METHOD_VERSION, *_stage_versions(self.recipe)])
        text = json.dumps([version, recipe, self.model_dump(exclude={"recipe"})], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def dense(self) -> "EvaluationRequest":
        """The same request for the dense model."""
        return self.model_copy(update={"recipe": {"stages": []}})


def _stage_versions(recipe: dict[str, Any]) -> list[str]:
    """What of a recipe has a version of its own, with it."""
    used = set()
    for stage in recipe["stages"]:
        own = [stage, *dict(stage.get("layers") or {}).values()]
        used |= {stage["kind"], *(fields.get("rounding") for fields in own)}
    return [f"{name} {STAGE_VERSIONS[name]}" for name in sorted(STAGE_VERSIONS) if name in used]


class Measurement(Record):
    """What was found of one variant.

    Attributes:
        workload, recipe, request: what was measured, and how.
        signature: of the request.
        title: the recipe in a few words.
        status: `measured` (packed, reloaded, run), `simulated` (fake-quantized in memory) or `failed`.
        reason: why it failed.
        size_bytes, dense_size_bytes: of the weights file, and of the dense one.
        transport_bytes: of the weights file after zstd; None in old measurements.
        n_params, n_nonzero: parameters, and those that are not zero.
        sparsity: fraction of the compressible weights that is zero.
        effective_bits: bits of the weights file per parameter.
        macs: multiply-accumulates for one sample.
        quality, dense_quality: metric of the variant, and of dense at the same seeds.
        quality_change: variant minus dense, paired by seed.
        fidelity: same-seed measures against dense, by name with unit.
        latency: one entry per runtime and batch.
        runtime_quality: quality of the samples of other runtimes than eager, one entry each.
        tensors: how each tensor was written.
        machine, versions, measured_at, seconds: provenance.
    """

    workload: str
    signature: str
    title: str
    recipe: dict[str, Any]
    request: EvaluationRequest
    status: Status
    reason: str | None = None
    size_bytes: int
    dense_size_bytes: int
    n_params: int
    n_nonzero: int
    sparsity: float
    effective_bits: float
    macs: int
    quality: Quality | None = None
    dense_quality: Quality | None = None
    quality_change: Estimate | None = None
    fidelity: dict[str, Estimate] = Field(default_factory=dict)
    transport_bytes: int | None = None
    latency: tuple[Latency, ...] = ()
    runtime_quality: tuple[RuntimeQuality, ...] = ()
    tensors: tuple[TensorCost, ...] = ()
    machine: dict[str, str | int]
    versions: dict[str, str]
    measured_at: str
    seconds: float

    @property
    def n_times_smaller(self) -> float:
        """Dense bytes per byte of this variant."""
        return self.dense_size_bytes / self.size_bytes

    def summary(self) -> dict[str, Any]:
        """Plain form without the per-tensor list, for command-line JSON."""
        return self.model_dump(mode="json", exclude={"tensors"})
