"""Stages that store weights in fewer bits, applied to a draft."""

from functools import partial
from typing import cast

import torch
from torch import Tensor

from gencomp_core.compression.adaround import round_by_adaround
from gencomp_core.compression.calibration import rows_of
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.gptq import round_by_gptq
from gencomp_core.compression.layers import (
    is_transposed,
    layers_for,
    n_inputs,
    over_weight,
    shared_layers,
    to_rows,
    weight_of,
)
from gencomp_core.compression.moments import input_moments
from gencomp_core.compression.quantizers import QuantizedWeight, quantize_weight
from gencomp_core.compression.scaling import awq_scale, scale_inputs_
from gencomp_core.recipes.formats import FloatFormat, IntegerFormat
from gencomp_core.recipes.quantization import FloatCast, WeightQuantization


@torch.no_grad()
def quantize_weights_(draft: Draft, stage: WeightQuantization) -> None:
    """Round the weights of each layer to integers; exact zeros stay exact zeros."""
    chosen = cast(dict[str, WeightQuantization], layers_for(stage, draft.layers, owner=draft.owner))
    calibrated = [name for name, own in chosen.items() if own.rounding != "nearest" or own.awq]
    grams = input_moments(draft, calibrated, stage.calibration_samples, why="quantize") if calibrated else {}
    shared = shared_layers(draft.model)
    scales, weights, rounded = dict[str, Tensor](), dict[str, Tensor](), dict[str, QuantizedWeight]()
    wait = any(own.awq for own in chosen.values())  # scaling inputs touches layers that others wait for
    for name, own in chosen.items():
        layer, gram = draft.layers[name], grams.pop(name, None)
        weight = weight_of(layer).float().clone()  # the layer itself is overwritten below
        if own.awq and gram is not None and name not in shared:
            scale = awq_scale(rows_of(layer), gram, n_inputs(layer), partial(_nearest, own=own, transposed=False))
            if bool((scale != 1).any()):
                columns = scale.repeat_interleave(len(gram) // len(scale))
                weight, gram = weight * over_weight(layer, scale), gram / columns / columns[:, None]
                scales[name] = scale
        made = _round(weight, gram, own, transposed=is_transposed(layer))
        if wait:
            weights[name], rounded[name] = weight, made
        else:
            draft.quantize_(name, made, of=weight)
    if scales:
        scale_inputs_(draft, scales)
    for name, quantized in rounded.items():
        draft.quantize_(name, quantized, of=weights[name])


def cast_weights_(draft: Draft, stage: FloatCast) -> None:
    """Store the weights of each layer as shorter floats; exact zeros stay exact zeros."""
    chosen = cast(dict[str, FloatCast], layers_for(stage, draft.layers, owner=draft.owner))
    for name, own in chosen.items():
        layer = draft.layers[name]
        weight = weight_of(layer).float().clone()
        quantized = quantize_weight(weight, FloatFormat(own.format), transposed=is_transposed(layer))
        draft.quantize_(name, quantized, of=weight)


def _round(weight: Tensor, gram: Tensor | None, own: WeightQuantization, *, transposed: bool) -> QuantizedWeight:
    nearest = _nearest(weight, own=own, transposed=transposed)
    if gram is None or own.rounding == "nearest":
        return nearest
    rows = to_rows(weight, transposed=transposed)
    if own.rounding == "adaround":
        return round_by_adaround(rows, gram, nearest, iterations=own.adaround_iterations)
    return round_by_gptq(
        rows,
        gram,
        nearest,
        clip_mse=own.clipping == "mse",
        ternary=own.clipping == "ternary",
        act_order=own.act_order,
        damping=own.damping,
    )


def _nearest(weight: Tensor, *, own: WeightQuantization, transposed: bool) -> QuantizedWeight:
    return quantize_weight(
        weight,
        IntegerFormat(own.bits, own.symmetric),
        granularity=own.granularity,
        group_size=own.group_size,
        clip_mse=own.clipping == "mse",
        ternary=own.clipping == "ternary",
        transposed=transposed,
    )
