"""One measurement: compress, pack, reload, sample, compare with dense at the same seeds."""

import copy
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gencomp_core.analysis.judging import Judge, Samples, check_count, judge_for
from gencomp_core.analysis.samples import Drawer
from gencomp_core.artifact.packing import PackedWeights, pack, unpack_into
from gencomp_core.artifact.transport import transport_bytes
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.cost import count_macs, count_params
from gencomp_core.evaluate.latency import ROUNDS, interleave
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import (
    METRICS,
    EvaluationRequest,
    Latency,
    LatencyVerdict,
    Measurement,
    Progress,
)
from gencomp_core.runtime_env import machine, versions
from gencomp_core.runtimes.registry import runtimes
from gencomp_core.runtimes.subject import Subject
from gencomp_core.variant import compression_steps
from gencomp_core.workloads.base import Settings, Workload, complete_settings, makes_texts, work

_dense_sizes: dict[tuple[str, str], int] = {}


def make_request(
    workload: Workload,
    recipe: Recipe,
    *,
    n_samples: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    extractor: str | None = None,
) -> EvaluationRequest:
    """Request with the workload's default sampling settings filled in.

    Args:
        n_samples: as many as a published figure takes without it.
        extractor: feature space of images.

    Raises:
        EvaluationError: a number of samples, a sampling option or a value that is out of range, or a feature
            space for texts.
        UnknownNameError: no such feature space.
    """
    n_samples = METRICS[workload.metric].n_samples if n_samples is None else n_samples
    check_count(workload, n_samples)
    if extractor and makes_texts(workload):
        raise EvaluationError(f"{workload.name} makes texts, which have no feature space. Leave out --extractor.")
    extractor = extractor or ("sacrebleu" if makes_texts(workload) else "fashion")
    judge_for(workload, extractor)  # an unknown one is refused before anything is computed
    return EvaluationRequest(
        workload=workload.name,
        weights_hash=workload.weights_hash,
        recipe=recipe.to_dict(),
        seed=seed,
        n_samples=n_samples,
        settings=complete_settings(workload, settings),
        extractor=extractor,
    )


@dataclass(frozen=True, eq=False)
class Shipped:
    """A variant as a user would receive it: packed, and unpacked into an empty network.

    Attributes:
        workload, recipe: what it is.
        packed: the weights file.
        model: filled from that file; what is sampled and timed.
        quantized: integers behind its weights, by layer name.
    """

    workload: Workload
    recipe: Recipe
    packed: PackedWeights
    model: nn.Module
    quantized: Mapping[str, QuantizedWeight] = field(default_factory=dict)

    @property
    def subject(self) -> Subject:
        """What runtimes are given."""
        return Subject.shipped(self.workload, self.model, self.quantized, self.packed.content)

    @classmethod
    def of(cls, workload: Workload, recipe: Recipe, *, seed: int = 0, content: bytes | None = None) -> "Shipped":
        """Apply a recipe and pack the result, or take the weights file of an artifact as it is."""
        steps = cls.steps(workload, recipe, seed=seed, content=content)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                made: Shipped = finished.value
                return made

    @classmethod
    def steps(
        cls, workload: Workload, recipe: Recipe, *, seed: int = 0, content: bytes | None = None
    ) -> Generator[Progress, None, "Shipped"]:
        """`of`, yielding the progress of stages that train."""
        model = workload.empty_network()
        if content is not None:
            found = unpack_into(content, model)
            packed = pack(model, found.quantized, found.changes)
            return cls(workload, recipe, replace(packed, content=content), model.eval(), found.quantized)
        variant = yield from compression_steps(workload, recipe, seed=seed)
        packed = pack(variant.model, variant.quantized, variant.changes)
        found = unpack_into(packed.content, model)
        return cls(workload, recipe, packed, model.eval(), found.quantized)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Numbered samples of a variant and of dense, with who judges them.

    Attributes:
        judge, drawer: of these samples.
        samples, dense: of the same numbers.
        seconds: that drawing them took.
    """

    judge: Judge[Any]
    drawer: Drawer[Any]
    samples: Samples
    dense: Samples
    seconds: float


def draw_request(
    shipped: Shipped,
    request: EvaluationRequest,
    *,
    own_first: bool = False,
    guard: AbstractContextManager[object] | None = None,
) -> Generator[Progress, None, Drawn]:
    """Sample dense and compressed at the same seed; yields progress.

    What is sampled was unpacked from the weights file: the quality is the quality of the bytes.

    Args:
        own_first: sample the compressed model before the dense one, which another process samples meanwhile.
        guard: held while dense samples are looked up or made.
    """
    started = time.perf_counter()
    judge = judge_for(shipped.workload, request.extractor)
    drawer = Drawer(shipped.workload, seed=request.seed, settings=request.settings, judge=judge)
    samples = None
    if own_first and not shipped.recipe.is_dense:
        samples = yield from drawer.draw(shipped.model, request.n_samples, what="sampling compressed")
    with guard or nullcontext():
        dense = yield from drawer.dense(request.n_samples)
    if shipped.recipe.is_dense:
        samples = dense
    elif samples is None:
        samples = yield from drawer.draw(shipped.model, request.n_samples, what="sampling compressed")
    yield Progress("comparing", request.n_samples, request.n_samples)
    return Drawn(judge, drawer, samples, dense, time.perf_counter() - started)


def measure_drawn(shipped: Shipped, request: EvaluationRequest, drawn: Drawn) -> Measurement:
    """Size, quality and fidelity of samples that were drawn (without latency)."""
    started = time.perf_counter()
    workload, judge = shipped.workload, drawn.judge
    quality, dense_quality, change = judge.quality(drawn.samples, drawn.dense)
    return Measurement(
        **cost_fields(workload, shipped.recipe, shipped.model, shipped.packed),
        title=shipped.recipe.title(),
        signature=request.signature,
        request=request,
        status="measured",
        macs=count_macs(workload, shipped.model, request.settings),
        quality=quality,
        dense_quality=dense_quality,
        quality_change=change,
        fidelity=judge.fidelity(shipped.model, drawn.samples, drawn.dense),
        machine=machine(),
        versions=versions(),
        measured_at=now(),
        seconds=drawn.seconds + time.perf_counter() - started,
    )


def measure_request(shipped: Shipped, request: EvaluationRequest) -> Generator[Progress, None, Measurement]:
    """`draw_request` and `measure_drawn` one after the other."""
    drawn = yield from draw_request(shipped, request)
    return measure_drawn(shipped, request, drawn)


def dense_size(workload: Workload) -> int:
    """Bytes of the weights file of the dense model, written by the same packer; packed once a process."""
    key = (workload.name, workload.weights_hash)
    if key not in _dense_sizes:
        _dense_sizes[key] = pack(workload.model, {}).size_bytes
    return _dense_sizes[key]


def cost_fields(workload: Workload, recipe: Recipe, model: nn.Module, packed: PackedWeights) -> dict[str, Any]:
    """What is known without sampling: recipe, bytes, parameters, zeros."""
    n_params, n_nonzero = count_params(model)
    weights = [weight_of(layer) for layer in weight_layers(model).values()]
    n_weights = sum(weight.numel() for weight in weights)
    n_zeros = n_weights - sum(int(torch.count_nonzero(weight)) for weight in weights)
    return {
        "workload": workload.name,
        "recipe": recipe.to_dict(),
        "size_bytes": packed.size_bytes,
        "dense_size_bytes": dense_size(workload),
        "transport_bytes": transport_bytes(packed.content),
        "n_params": n_params,
        "n_nonzero": n_nonzero,
        "sparsity": n_zeros / max(1, n_weights),
        "effective_bits": 8 * packed.size_bytes / n_params,
        "tensors": packed.tensors,
    }


def measure_latency(
    subject: Subject,
    *,
    runtime: str,
    batch: int,
    settings: Settings,
    rounds: int = ROUNDS,
    stored: Path | None = None,
) -> Latency:
    """Time to generate a batch, interleaved with dense in the same runtime, a copy of it, and dense in eager.

    The copy is the noise floor. It has weights of its own: one dense model run twice in a row would
    find its weights in the cache, and everything else would look slower than it is.

    Args:
        stored: folder of an artifact with the runtime's files, which are then run as they are.

    Raises:
        EvaluationError, MissingDependencyError: the runtime can't take the model over.
    """
    workload = subject.workload
    dense = Subject.dense(workload)
    open_with = runtimes[runtime]
    opened = {
        "compressed": open_with(subject, stored=stored),
        "dense": open_with(dense),
        "again": open_with(replace(dense, model=copy.deepcopy(workload.model))),
    }
    networks = {name: own.network for name, own in opened.items()}
    if runtime != "eager":
        networks["eager"] = workload.model
    runs = {name: _generation(workload, network, batch, settings) for name, network in networks.items()}
    threads = torch.get_num_threads()
    timing = interleave(runs, threads=threads, rounds=rounds)
    low, ratio, high = timing.ratio("compressed", "dense")
    noise_low, noise_high = timing.noise_band("again", "dense")
    tie = low <= 1 <= high or noise_low <= ratio <= noise_high
    quartiles = [float(value) for value in np.percentile(timing.wall_ms["compressed"], [25, 50, 75])]
    medians = {name: float(np.median(values)) for name, values in timing.wall_ms.items()}
    return Latency(
        runtime=runtime,
        batch=batch,
        threads=threads,
        low_ms=quartiles[0],
        median_ms=quartiles[1],
        high_ms=quartiles[2],
        n_runs=rounds,
        dense_median_ms=medians["dense"],
        dense_eager_median_ms=medians.get("eager", medians["dense"]),
        ratio=float(ratio),
        ratio_low=float(low),
        ratio_high=float(high),
        eager_ratio=float(timing.ratio("compressed", "eager" if "eager" in networks else "dense")[1]),
        noise_low=float(noise_low),
        noise_high=float(noise_high),
        verdict=_verdict(float(ratio), tie=tie, busy=timing.busy),
        busy=timing.busy,
        ran=opened["compressed"].ran,
        machine=str(machine()["processor"]),
        measured_at=now(),
    )


def _generation(workload: Workload, network: nn.Module, batch: int, settings: Settings) -> Callable[[], object]:
    def run() -> object:
        return work(workload, network, 0, batch, settings=settings)

    return run


def _verdict(ratio: float, *, tie: bool, busy: bool) -> LatencyVerdict:
    if tie:
        return "tie"
    if busy:
        return "unclear"
    return "faster" if ratio < 1 else "slower"


def now() -> str:
    """ISO date and time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
