"""Layers timed in every runtime and format, interleaved, each point by itself so that stopping loses little."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gencomp_core.analysis.break_even.chains import DEPTH, NOTHING, POINTS, Called, ChainsWorkload, name_of
from gencomp_core.analysis.measurement import Shipped
from gencomp_core.errors import MissingDependencyError
from gencomp_core.evaluate.latency import Timing, interleave
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Progress
from gencomp_core.records.machines import LayerPoint, LayerTiming
from gencomp_core.runtimes.registry import runtimes
from gencomp_core.workloads.base import Workload

FLOAT, INT8, INT8_WEIGHTS = "float", "int8", "int8 weights"
_WEIGHTS = {"kind": "weight-quantization", "bits": 8}
_INPUTS = {"kind": "activation-quantization", "bits": 8, "keep_ends": False}
RECIPES = {
    FLOAT: Recipe(),
    INT8: Recipe.from_dict({"stages": [_WEIGHTS, _INPUTS]}),
    INT8_WEIGHTS: Recipe.from_dict({"stages": [_WEIGHTS]}),
}
"""What each format is as a recipe."""
TRIED: Mapping[str, tuple[str, ...]] = {
    "eager": (FLOAT,),
    "openvino": (FLOAT, INT8, INT8_WEIGHTS),
    "openvino-bf16": (FLOAT,),
    "onnxruntime": (FLOAT, INT8),
}
"""Formats by runtime. Eager widens integers, and so does ONNX Runtime with weights alone: nothing is gained there."""
ROUNDS = 15
AGAIN = "again"

Run = Callable[[], object]
Way = tuple[str, str]
"""Runtime and format."""


@dataclass(frozen=True, eq=False)
class OpenedChains:
    """The chains in every runtime and format that this machine has.

    Attributes:
        workload: whose chains they are.
        runs: network by way, and once more for what a run differs from itself.
        ran: what really runs, by way.
    """

    workload: ChainsWorkload
    networks: Mapping[Way, Called]
    ran: Mapping[Way, str]

    def run(self, way: Way, name: str, x: Tensor) -> Run:
        """One call of a chain."""
        call = self.networks[way].calls[name]
        return lambda: call(x)


def open_chains(
    points: Sequence[LayerPoint] = POINTS, tried: Mapping[str, Sequence[str]] = TRIED
) -> Generator[Progress, None, OpenedChains]:
    """Convert all chains for every runtime and format; a runtime that is not installed is left out."""
    workload = ChainsWorkload(points)
    ways = [(runtime, form) for runtime, forms in tried.items() for form in forms]
    networks, ran = dict[Way, Called](), dict[Way, str]()
    for number, (runtime, form) in enumerate(ways):
        yield Progress(f"opening layers in {runtime}, {form}", number, len(ways))
        shipped = Shipped.of(cast(Workload, workload), RECIPES[form])
        try:
            opened = runtimes[runtime](shipped.subject)
        except MissingDependencyError:
            continue
        network = opened.network
        networks[runtime, form] = network if isinstance(network, Called) else _in_eager(workload, shipped.model)
        ran[runtime, form] = opened.ran
    return OpenedChains(workload, networks, ran)


def _in_eager(workload: ChainsWorkload, model: torch.nn.Module) -> Called:
    def call_of(name: str) -> Callable[..., Sequence[Tensor]]:
        chain = model.get_submodule(f"chains.{name}")

        def call(x: Tensor) -> Sequence[Tensor]:
            with torch.no_grad():
                return [chain(x)]

        return call

    return Called(model, {name: call_of(name) for name in workload.specs})


def time_calls(opened: OpenedChains, *, rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds of processor time that a call takes which computes nothing, by runtime."""
    x = opened.workload.inputs(NOTHING, 1)
    ways = {runtime: (runtime, form) for runtime, form in opened.networks if form == FLOAT}
    runs = {runtime: opened.run(way, NOTHING, x) for runtime, way in ways.items()}
    timing = interleave(runs, threads=torch.get_num_threads(), rounds=rounds)
    return {runtime: float(np.median(timing.cpu_ms[runtime])) for runtime in runs}


def time_point(
    opened: OpenedChains, point: LayerPoint, call_ms: Mapping[str, float], *, rounds: int = ROUNDS
) -> list[LayerTiming]:
    """One layer in every runtime and format, in turns."""
    name = name_of(point.kind, point.width, point.positions)
    x = opened.workload.inputs(name, point.batch)
    found = []
    for runtime in dict.fromkeys(runtime for runtime, _ in opened.networks):
        forms = [form for own, form in opened.networks if own == runtime]
        runs = {form: opened.run((runtime, form), name, x) for form in forms}
        runs[AGAIN] = runs[FLOAT]
        timing = interleave(runs, threads=torch.get_num_threads(), rounds=rounds)
        noise = timing.noise_band(AGAIN, FLOAT)
        for form in forms:
            low, ms, high = (float(value) for value in _layer_ms(timing, form, call_ms[runtime]))
            ratio = float(np.median(timing.cpu_ms[FLOAT] / timing.cpu_ms[form]))
            found.append(
                LayerTiming(
                    point=point,
                    runtime=runtime,
                    format=form,
                    ran=opened.ran[runtime, form],
                    ms=ms,
                    low_ms=low,
                    high_ms=high,
                    speed_up=ratio,
                    noise_low=noise[0],
                    noise_high=noise[1],
                )
            )
    return found


def _layer_ms(timing: Timing, form: str, call_ms: float) -> np.ndarray:
    """Quartiles of what one layer of a chain takes: (3,)."""
    own: np.ndarray = np.percentile(timing.cpu_ms[form], [25, 50, 75])
    layer: np.ndarray = np.maximum(own - call_ms, 0.1 * own) / DEPTH
    return layer
