"""Parameters, non-zeros and multiply-accumulates of a model."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gencomp_core.compress.layers import weight_layers, weight_of
from gencomp_core.workloads.base import Workload, complete_settings


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
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    n_params: int
    macs: int
    can: tuple[str, ...]


def count_params(model: nn.Module) -> tuple[int, int]:
    """Parameters, and those that are not zero; a shared parameter counts once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(int(torch.count_nonzero(p)) for p in parameters)


def count_macs(workload: Workload, model: nn.Module, settings: dict[str, int | float | str]) -> dict[str, int]:
    """Multiply-accumulates to generate one sample: by layer name, and the total under "".

    Counted by torch's FLOP counter (two FLOPs a MAC) over convolutions and matrix products.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        workload.generate(model, 0, 1, seed=0, settings=settings)
    prefix = type(model).__name__
    counts = {"": counter.get_total_flops() // 2}
    for path, flops in counter.get_flop_counts().items():
        if path.startswith(f"{prefix}."):
            counts[path.removeprefix(f"{prefix}.")] = sum(flops.values()) // 2
    return counts


def inspect_layers(workload: Workload) -> list[LayerFacts]:
    """Every compressible layer of a workload, in the order of the model."""
    macs = count_macs(workload, workload.model, complete_settings(workload))
    return [
        LayerFacts(
            name=name,
            kind=type(layer).__name__,
            shape=tuple(weight_of(layer).shape),
            n_params=sum(p.numel() for p in layer.parameters()),
            macs=macs.get(name, 0),
            can=("magnitude-pruning", "weight-quantization"),
        )
        for name, layer in weight_layers(workload.model).items()
    ]
