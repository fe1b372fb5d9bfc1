"""Quantization stages applied to a draft."""

from typing import cast

from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import is_transposed, layers_for, weight_of
from gencomp_core.compression.quantizers import quantize_weight
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.recipes.quantization import WeightQuantization


def quantize_weights_(draft: Draft, stage: WeightQuantization) -> None:
    """Round the weights of each layer to integers; exact zeros stay exact zeros."""
    layers = draft.layers
    for name, own in layers_for(stage, layers, owner=draft.owner).items():
        own = cast(WeightQuantization, own)
        quantized = quantize_weight(
            weight_of(layers[name]),
            IntegerFormat(own.bits, own.symmetric),
            granularity=own.granularity,
            group_size=own.group_size,
            clip_mse=own.clipping == "mse",
            transposed=is_transposed(layers[name]),
        )
        draft.quantize_(name, quantized)
