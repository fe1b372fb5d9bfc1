"""Models made ready for graph compilers: the numbers stay, and what runs is named."""

import pytest
import torch
from torch import nn

from gencomp_core.compression.quantizers import quantize_weight
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.runtimes.openvino import ran_as
from gencomp_core.runtimes.rewriting import IntegerWeight, rewritten
from gencomp_core.variant import compress
from tests.tiny import Bare, layers, quantization, recipe


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("fields", [{"granularity": "tensor"}, {}, {"granularity": "group", "group_size": 4}])
@pytest.mark.parametrize("transposed", [False, True])
def test_integers_in_the_graph_stand_for_the_weight(
    bits: int, symmetric: bool, fields: dict[str, object], transposed: bool
) -> None:
    weight = torch.randn(6, 10, 3, generator=torch.Generator().manual_seed(bits))
    own = quantize_weight(weight, IntegerFormat(bits, symmetric), transposed=transposed, **fields)
    assert torch.equal(IntegerWeight(own)(weight), own.dequantize())


def test_a_rewritten_model_has_the_same_weights_and_the_given_one_is_not_changed() -> None:
    workload = Bare(layers())
    variant = compress(workload, recipe(quantization(4, granularity="group", group_size=3)))
    before = {name: value.clone() for name, value in variant.model.state_dict().items()}
    made, ways = rewritten(variant.model, variant.quantized)
    assert all(torch.equal(value, before[name]) for name, value in variant.model.state_dict().items())
    for name, layer in variant.model.named_modules():
        if isinstance(getattr(layer, "weight", None), nn.Parameter):
            assert torch.equal(made.get_submodule(name).weight, layer.weight), name
    # a linear layer of 7 inputs has a shorter last group; convolutions widen their weights
    assert ways == {"int4 weights": 1, "float (weights stored in 4 bits)": 5}


def test_a_weight_that_something_was_added_to_is_no_integers() -> None:
    variant = compress(Bare(layers()), recipe(quantization(8)))
    with torch.no_grad():
        variant.model.get_parameter("linear.weight").add_(0.001)
    _, ways = rewritten(variant.model, variant.quantized)
    assert ways["float"] == 1


@pytest.mark.parametrize(
    ("ways", "stored", "words"),
    [
        ({"float": 3}, {"f32": 9}, "float × 3"),
        (
            {"float": 1, "int4 weights (from 3 bits)": 2},
            {"i4": 9},
            "int4 weights (from 3 bits) × 2, float × 1; what integer weights meet is rounded to 8 bits at run time",
        ),
        (
            {"int4 weights": 2},
            {"i8": 9},
            "int4 weights × 2; the file holds no 4-bit weights; what integer weights meet is rounded to 8 bits at run "
            "time",
        ),
        (
            {"int8 weights": 1, "float (weights stored in 8 bits)": 2, "int8 (from 4 bits)": 4},
            {"i8": 9},
            "float (weights stored in 8 bits) × 3, int8 (from 4 bits) × 4",
        ),
    ],
)
def test_what_ran_is_read_from_the_graph_and_the_file(ways: dict[str, int], stored: dict[str, int], words: str) -> None:
    assert ran_as(ways, stored) == words
