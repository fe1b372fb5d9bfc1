"""Scores of layers made from their weights alone, for plans that need a scan at no cost."""

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import torch

from gencomp_core.analysis.planning.options import recipe_of
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.records import Estimate, LayerOption, LayerScore
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Workload

T = TypeVar("T")


def finished(steps: Generator[Any, None, T]) -> T:
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found


def scores_by_squared_error(workload: Workload, options: Sequence[LayerOption], *, seed: int = 0) -> list[LayerScore]:
    """Squared change of each layer's weights, times a sensitivity that is drawn for the layer."""
    layers = weight_layers(workload.model)
    generator = torch.Generator().manual_seed(seed)
    sensitivity = {name: float(10 ** (2 * torch.rand(1, generator=generator) - 1)) for name in layers}
    scores = []
    for option in options:
        variant = compress(workload, recipe_of(dict.fromkeys(layers, option)))
        compressed = weight_layers(variant.model)
        for name, layer in layers.items():
            error = float((weight_of(compressed[name]) - weight_of(layer)).square().sum()) * sensitivity[name]
            scores.append(
                LayerScore(
                    layer=name,
                    option=option,
                    method="fisher",
                    damage=Estimate(value=error, low=error, high=error),
                    size_bytes=0,
                    dense_size_bytes=4 * weight_of(layer).numel(),
                )
            )
    return scores
