"""One layer's weight under one option, exactly as the recipe's stages would make it, and its exact bytes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gencomp_core.artifact.packing import weight_bytes
from gencomp_core.compression.importance import magnitude
from gencomp_core.compression.layers import is_transposed, weight_of
from gencomp_core.compression.masks import keep_largest
from gencomp_core.compression.quantizers import QuantizedWeight, quantize_weight
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.records import LayerOption


@dataclass(frozen=True, eq=False)
class OptionWeight:
    """A layer's weight under an option.

    Attributes:
        weight: what runs, float32, the shape of the layer's weight.
        n_bytes: of the tensor in the weights file: values, scales, masks and indices.
    """

    weight: Tensor
    n_bytes: int


@torch.no_grad()
def weight_under(layer: nn.Module, option: LayerOption) -> OptionWeight:
    """Zero the smallest weights, then round to nearest: `magnitude-pruning` within the layer, `weight-quantization`.

    Raises:
        RecipeError: weights so large that their scale is no float16.
    """
    weight = weight_of(layer).clone()
    if option.sparsity:
        weight.masked_fill_(~keep_largest(magnitude(weight), option.sparsity), 0.0)
    quantized = None if option.bits is None else _rounded(weight, option, transposed=is_transposed(layer))
    if quantized is not None:
        weight = quantized.dequantize()
    return OptionWeight(weight, weight_bytes(weight, quantized))


def _rounded(weight: Tensor, option: LayerOption, *, transposed: bool) -> QuantizedWeight:
    assert option.bits is not None
    return quantize_weight(
        weight,
        IntegerFormat(option.bits, option.symmetric),
        granularity="group" if option.group_size else "channel",
        group_size=option.group_size,
        clip_mse=option.clipping == "mse",
        ternary=option.clipping == "ternary",
        transposed=transposed,
    )
