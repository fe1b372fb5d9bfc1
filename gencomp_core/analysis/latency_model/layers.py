"""The work of each layer in a generation: what the latency model knows of a network."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import cast

from torch import Tensor, nn

from gencomp_core.analysis.latency_model.work import FLOAT, INT8, INT8_WEIGHTS, LayerWork
from gencomp_core.analysis.latency_model.work import Table as Table
from gencomp_core.compression.activations import quantizer_of
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.workloads.base import Settings, Workload, work

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def layer_table(
    workload: Workload,
    model: nn.Module,
    *,
    batch: int,
    settings: Settings,
    quantized: Mapping[str, QuantizedWeight] | None = None,
) -> dict[str, LayerWork]:
    """Work of every layer that is called, seen in one generation of a batch in eager.

    Args:
        model: dense or compressed; its static input quantizers and `quantized` say what could run as integers.
        batch: samples together.
    """
    found: dict[str, LayerWork] = {}

    def see(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        macs, x = _macs(layer, inputs[0], output), inputs[0]
        known = found.get(name)
        if known is None:
            found[name] = _first(layer, macs, x, output, _format(layer, name in (quantized or {})))
        else:
            found[name] = replace(
                known,
                calls=known.calls + 1,
                macs=known.macs + macs,
                n_in=known.n_in + x.numel(),
                n_out=known.n_out + output.numel(),
            )

    layers = {name: own for name, own in weight_layers(model).items() if not isinstance(own, nn.Embedding)}
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output, name=name: see(name, layer, inputs, output))
        for name, layer in layers.items()
    ]
    try:
        work(workload, model, 0, batch, settings=settings)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _first(layer: nn.Module, macs: int, x: Tensor, output: Tensor, form: str) -> LayerWork:
    weight = weight_of(layer)
    channels = (
        (layer.in_features, layer.out_features)
        if isinstance(layer, nn.Linear)
        else (cast(int, layer.in_channels), cast(int, layer.out_channels))
    )
    return LayerWork(_kind(layer), *channels, weight.numel(), 1, macs, x.numel(), output.numel(), form)


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, nn.Linear):
        return "linear"
    if isinstance(layer, _TRANSPOSED):
        return "transposed"
    return "conv1" if prod(cast(tuple[int, ...], layer.kernel_size)) == 1 else "conv3"


def _format(layer: nn.Module, has_integers: bool) -> str:
    if not has_integers:
        return FLOAT
    quantizer = quantizer_of(layer)
    return INT8 if quantizer is not None and not quantizer.dynamic else INT8_WEIGHTS


def _macs(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    """Each output value (input value for a transposed convolution) meets one row of the weight."""
    return (x if isinstance(layer, _TRANSPOSED) else output).numel() * weight_of(layer)[0].numel()
