"""Parameters, non-zeros and multiply-accumulates of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.compression.untouchable import untouchable
from gencomp_core.recipes.stages import STAGES
from gencomp_core.workloads.base import Settings, Workload, complete_settings, makes_texts, work

N_TYPICAL_TEXTS = 8


@dataclass(frozen=True)
class LayerFacts:
    """One compressible layer.

    Attributes:
        name: dotted name.
        kind: class of the layer.
        shape: of the weight.
        n_params: weights and biases.
        macs: multiply-accumulates for one sample, over all calls.
        can: stages that may be applied to it.
        cannot: the other stages, and why.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    n_params: int
    macs: int
    can: tuple[str, ...]
    cannot: Mapping[str, str] = field(default_factory=dict)


def count_params(model: nn.Module) -> tuple[int, int]:
    """Parameters, and those that are not zero; a shared parameter counts once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(int(torch.count_nonzero(p)) for p in parameters)


def count_macs(workload: Workload, model: nn.Module, settings: Settings) -> int:
    """Multiply-accumulates to generate one sample, over all calls of the network; the mean of a few texts.

    Counted by torch's FLOP counter (two FLOPs a MAC): convolutions and all matrix products, those
    of attention included.
    """
    counter = FlopCounterMode(display=False)
    n = _n_typical(workload)
    with counter:
        for number in range(n):
            work(workload, model, number, number + 1, settings=settings)
    return counter.get_total_flops() // 2 // n


def count_layer_macs(workload: Workload, model: nn.Module, settings: Settings) -> dict[str, int]:
    """Multiply-accumulates of each compressible layer to generate one sample, by layer name."""
    counts: dict[str, int] = {}

    def count(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts[name] = counts.get(name, 0) + _layer_macs(layer, inputs[0], output)

    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output, name=name: count(name, layer, inputs, output))
        for name, layer in weight_layers(model).items()
    ]
    n = _n_typical(workload)
    try:
        for number in range(n):
            work(workload, model, number, number + 1, settings=settings)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: count // n for name, count in counts.items()}


def _n_typical(workload: Workload) -> int:
    """Samples whose mean cost stands for one: images all cost the same, texts differ in length."""
    return N_TYPICAL_TEXTS if makes_texts(workload) else 1


def _layer_macs(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    """Each output value (input value for a transposed convolution) meets one row of the weight."""
    if isinstance(layer, nn.Embedding):
        return 0  # a look-up
    weight = weight_of(layer)
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return x.numel() * weight[0].numel()
    return output.numel() * weight[0].numel()


def inspect_layers(workload: Workload) -> list[LayerFacts]:
    """Every compressible layer of a workload, in the order of the model."""
    macs = count_layer_macs(workload, workload.model, complete_settings(workload))
    reasons = untouchable(workload, workload.model)
    return [
        LayerFacts(
            name=name,
            kind=type(layer).__name__,
            shape=tuple(weight_of(layer).shape),
            n_params=sum(p.numel() for p in layer.parameters()),
            macs=macs.get(name, 0),
            can=tuple(kind for kind in STAGES if name not in reasons.get(kind, {})),
            cannot={kind: found[name] for kind, found in reasons.items() if name in found},
        )
        for name, layer in weight_layers(workload.model).items()
    ]
