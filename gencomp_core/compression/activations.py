"""Quantized activations: the inputs of layers, rounded by forward pre-hooks with calibrated or run-time ranges."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self, cast, runtime_checkable

import torch
from torch import Tensor, nn

from gencomp_core.compression.changes import CHANGES
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.factored import Factored
from gencomp_core.compression.layers import layers_for, weight_of
from gencomp_core.compression.observers import (
    Histogram,
    ValueRange,
    fake_quantize,
    fake_quantize_rows,
    least_error_range,
    percentile_range,
    quantization_parameters,
    range_of,
    row_parameters,
)
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.activations import ActivationQuantization
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches

See = Callable[[str, Tensor, str], None]
BUFFER = "input_quantization"
"""(parts, 2) float32 on a layer: scale and zero point of its input, or of each half of it."""


@dataclass(frozen=True)
class InputQuantizer:
    """Forward pre-hook that rounds the input of a layer to integers and back, by torch's own fake quantization.

    It holds neither tensors nor a module, so that a copied layer goes by its own buffer. Integer inputs pass.

    Attributes:
        bits: width of the integers.
        symmetric: integers around 0; otherwise affine with a zero point.
        dynamic: ranges of each token (linear layers) or sample (convolutions); otherwise those in the buffer.
        seam: channels of the first half of a concatenated input; None where all channels share a range.
    """

    bits: int
    symmetric: bool
    dynamic: bool
    seam: int | None = None

    @property
    def format(self) -> IntegerFormat:
        """Range of the integers."""
        return IntegerFormat(self.bits, self.symmetric)

    @property
    def n_parts(self) -> int:
        """How many ranges there are."""
        return 1 if self.seam is None else 2

    def parts(self, layer: nn.Module, x: Tensor) -> list[Tensor]:
        """The input, or its two halves."""
        if self.seam is None:
            return [x]
        return list(x.tensor_split((self.seam,), dim=channel_axis(layer)))

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """What the layer gets in place of its inputs."""
        x, *rest = inputs
        if not x.is_floating_point() or not x.numel():
            return None
        parts = self.parts(layer, x)
        if self.dynamic:
            rounded = [_round_rows(layer, part, self.format) for part in parts]
        else:
            own = zip(parts, getattr(layer, BUFFER), strict=True)
            rounded = [fake_quantize(part, scale, zero, self.format) for part, (scale, zero) in own]
        return (rounded[0] if len(rounded) == 1 else torch.cat(rounded, dim=channel_axis(layer)), *rest)


def _round_rows(layer: nn.Module, x: Tensor, format: IntegerFormat) -> Tensor:
    """Round each token or sample by its own range."""
    size = x.shape[-1] if isinstance(layer, nn.Linear) else x.flatten(channel_axis(layer)).shape[-1]
    rows = x.reshape(-1, size)
    return fake_quantize_rows(rows, *row_parameters(rows.detach(), format), format).view(x.shape)


def channel_axis(layer: nn.Module) -> int:
    """Dimension of the input that the layer sums over, counted from the end: with or without a batch."""
    return -1 if isinstance(layer, nn.Linear) else -1 - len(cast(Sequence[int], layer.kernel_size))


@dataclass(frozen=True)
class QuantizedInputs:
    """The change: hooks that round inputs, with buffers for static ranges.

    Attributes:
        layers: quantizer of each layer; replaces what an earlier change of this kind did to it.
    """

    kind: ClassVar[str] = "quantized-inputs"
    layers: Mapping[str, InputQuantizer]

    def apply_(self, network: nn.Module) -> None:
        """Add hooks and buffers; KeyError where a layer is missing."""
        found = dict(network.named_modules())
        for name, quantizer in self.layers.items():
            layer = found[name]
            release_(layer)
            if not quantizer.dynamic:
                unset = weight_of(layer).new_tensor([[1.0, 0.0]]).repeat(quantizer.n_parts, 1)
                layer.register_buffer(BUFFER, unset)
            layer.register_forward_pre_hook(quantizer)

    def fields(self) -> dict[str, Any]:
        """Plain JSON values, layers with equal quantizers together."""
        together: dict[InputQuantizer, list[str]] = {}
        for name, quantizer in self.layers.items():
            together.setdefault(quantizer, []).append(name)
        return {"inputs": [{**asdict(quantizer), "layers": names} for quantizer, names in together.items()]}

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `fields`; KeyError, TypeError or ValueError where they are damaged."""
        layers: dict[str, InputQuantizer] = {}
        for group in fields["inputs"]:
            quantizer = InputQuantizer(**{key: value for key, value in group.items() if key != "layers"})
            layers |= dict.fromkeys(group["layers"], quantizer)
        return cls(layers)


CHANGES.add(QuantizedInputs.kind)(QuantizedInputs)


def quantizer_of(layer: nn.Module) -> InputQuantizer | None:
    """What rounds the input of a layer."""
    return next((hook for hook in layer._forward_pre_hooks.values() if isinstance(hook, InputQuantizer)), None)


def release_(layer: nn.Module) -> None:
    """Let a layer have its input as it comes."""
    for key, hook in list(layer._forward_pre_hooks.items()):
        if isinstance(hook, InputQuantizer):
            del layer._forward_pre_hooks[key]
    if BUFFER in layer._buffers:
        delattr(layer, BUFFER)


@runtime_checkable
class HasSeams(Protocol):
    """A network with layers that take concatenated inputs."""

    def input_seams(self) -> Mapping[str, int]:
        """Channels of the first half, by layer name."""


class InputScale(NamedTuple):
    """Static quantization of one input, with an entry for each half of a split one.

    Attributes:
        scale: step between codes, > 0.
        zero_point: code of exactly 0.
        bits, symmetric: codes run over ±(2^(bits-1) - 1), or from 0 to 2^bits - 1.
        seam: channels of the first half; None where there is one scale.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    bits: int
    symmetric: bool
    seam: int | None


def activation_scales(model: nn.Module) -> dict[str, InputScale]:
    """Scales of every layer with a static range, by layer name, for runtimes that execute integers."""
    found = {}
    for name, layer in model.named_modules():
        quantizer = quantizer_of(layer)
        if quantizer is not None and not quantizer.dynamic:
            scale, zero_point = getattr(layer, BUFFER).T.tolist()
            points = tuple(int(point) for point in zero_point)
            found[name] = InputScale(tuple(scale), points, quantizer.bits, quantizer.symmetric, quantizer.seam)
    return found


# The stage


def quantize_activations_(draft: Draft, stage: ActivationQuantization) -> None:
    """Round the inputs of layers; ranges come from the draft as it is, along the dense model's trajectories."""
    chosen = _chosen(draft, stage)
    if not chosen:
        return
    for name in chosen:
        release_(draft.layers[name])  # what an earlier stage did, so that true inputs are seen
    seams = _seams(draft.model)
    quantizers = {
        name: InputQuantizer(own.bits, own.symmetric, own.mode == "dynamic", seams.get(name) if own.split else None)
        for name, own in chosen.items()
    }
    static = {name: own for name, own in chosen.items() if own.mode == "static"}
    ranges: dict[str, list[ValueRange]] = {}
    if static:
        batches = list(forward_batches(draft.workload, stage.calibration_samples, seed=draft.seed))
        if stage.steps == "last":
            batches = [batch for batch in batches if batch.stage == batches[-1].stage]
        ranges = calibrate(draft.model, static, quantizers, batches)
        draft.calibrated_with_(batches)
    for name in static.keys() - ranges.keys():  # never met
        quantizers[name] = replace(quantizers[name], dynamic=True)
    draft.change_(QuantizedInputs(quantizers))
    for name, found in ranges.items():
        set_ranges_(draft.layers[name], found)


def _seams(model: nn.Module) -> dict[str, int]:
    """Channels of the first half of concatenated inputs, by the layer that gets them, or its first factor."""
    found = model.input_seams() if isinstance(model, HasSeams) else {}
    factored = {name for name, module in model.named_modules() if isinstance(module, Factored)}
    return {f"{name}.thin" if name in factored else name: seam for name, seam in found.items()}


def _chosen(draft: Draft, stage: ActivationQuantization) -> dict[str, ActivationQuantization]:
    """The stage as it holds for each layer whose input it rounds."""
    with_input = [name for name, layer in draft.layers.items() if not isinstance(layer, nn.Embedding)]
    if stage.keep_ends:
        with_input = with_input[1:-1]
    chosen = layers_for(stage, draft.layers, owner=draft.owner)
    return {name: cast(ActivationQuantization, chosen[name]) for name in with_input if name in chosen}


def set_ranges_(layer: nn.Module, ranges: Sequence[ValueRange]) -> None:
    """Write scales and zero points of a layer's ranges to its buffer."""
    quantizer = quantizer_of(layer)
    assert quantizer is not None
    low, high = torch.tensor(ranges).T
    buffer: Tensor = getattr(layer, BUFFER)
    buffer.copy_(torch.stack(quantization_parameters(low, high, quantizer.format), dim=1))


def calibrate(
    model: nn.Module,
    stages: Mapping[str, ActivationQuantization],
    quantizers: Mapping[str, InputQuantizer],
    batches: Sequence[CalibrationBatch],
) -> dict[str, list[ValueRange]]:
    """Ranges of the inputs of layers, one for each part, by layer name; layers that were not met are missing.

    All batches run twice where an observer needs a histogram: once for its span, once to fill it.

    Raises:
        RecipeError: an input that is not finite.
    """
    layers, spans = dict(model.named_modules()), dict[str, list[ValueRange]]()

    def widen(name: str, x: Tensor, place: str) -> None:
        met = [range_of(part) for part in quantizers[name].parts(layers[name], x)]
        if not all(math.isfinite(end) for span in met for end in span):
            raise RecipeError(
                f"Inputs of {name} at {place} must be finite to be calibrated, got {met[0].low} to {met[0].high}. "
                "Compress less before this stage."
            )
        spans[name] = [span.around(own) for span, own in zip(spans.get(name, met), met, strict=True)]

    watch_inputs(model, stages, batches, widen)
    spans |= {name: [span.mirrored() for span in own] for name, own in spans.items() if stages[name].symmetric}
    histograms = {
        name: [Histogram.over(span) for span in own]
        for name, own in spans.items()
        if stages[name].observer != "min-max"
    }

    def count(name: str, x: Tensor, place: str) -> None:
        for histogram, part in zip(histograms[name], quantizers[name].parts(layers[name], x), strict=True):
            histogram.add_(part)

    if histograms:
        watch_inputs(model, histograms, batches, count)
    return spans | {name: [_narrowed(own, stages[name]) for own in seen] for name, seen in histograms.items()}


def _narrowed(seen: Histogram, stage: ActivationQuantization) -> ValueRange:
    if stage.percentile is not None:
        return percentile_range(seen, stage.percentile, symmetric=stage.symmetric)
    return least_error_range(seen, IntegerFormat(stage.bits, stage.symmetric))


def watch_inputs(model: nn.Module, names: Iterable[str], batches: Iterable[CalibrationBatch], see: See) -> None:
    """Run batches and call `see(name, input, stage of the generation)` at every call of the named layers."""
    layers, place = dict(model.named_modules()), ""

    def look(name: str, x: Tensor) -> None:
        if x.is_floating_point() and x.numel():
            see(name, x.detach(), place)

    hooks = [
        layers[name].register_forward_pre_hook(lambda layer, inputs, name=name: look(name, inputs[0])) for name in names
    ]
    try:
        with torch.no_grad():
            for batch in batches:
                place = batch.stage
                batch.run(model)
    finally:
        for hook in hooks:
            hook.remove()
