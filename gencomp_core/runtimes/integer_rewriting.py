"""A model with integer layers in place of those that a recipe rounds, ready to be exported to ONNX."""

import copy
from collections.abc import Mapping

from torch import nn
from torch.nn.utils import parametrize

from gencomp_core.compression.activations import quantizer_of
from gencomp_core.compression.layers import weight_layers
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.runtimes.integer_layers import has_integer_form, integer_layer
from gencomp_core.runtimes.rewriting import IntegerWeight, integers_for_integer_inputs, is_integers, show_norms_


def with_integer_layers(model: nn.Module, quantized: Mapping[str, QuantizedWeight]) -> tuple[nn.Module, dict[str, str]]:
    """A copy of a model, on the CPU, that computes what the model computes, and in which way each layer runs.

    A layer whose inputs have a static range computes with integers. Other rounded weights are stored as integers and
    widened to floats when the graph is loaded.
    """
    made = copy.deepcopy(model).cpu()
    ways: dict[str, str] = {}
    for name, layer in weight_layers(made).items():
        own, quantizer = quantized.get(name), quantizer_of(layer)
        if own is not None and quantizer is not None and not quantizer.dynamic and has_integer_form(layer):
            shown, way = integers_for_integer_inputs(layer, own.cpu())
            made.set_submodule(name, integer_layer(layer, shown))
        elif own is not None and is_integers(layer, own):
            parametrize.register_parametrization(layer, "weight", IntegerWeight(own.cpu()), unsafe=True)
            way = "float (weights stored in 8 bits)"
        else:
            way = "float"
        ways[name] = way
    show_norms_(made)
    return made.eval().requires_grad_(False), ways
