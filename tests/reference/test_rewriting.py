"""The rewritten model computes what the model computes: group norm against torch, weights bit for bit."""

import pytest
import torch
from torch import nn

from gencomp_core.compression.activations import quantizer_of
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtimes.rewriting import ChannelNorm, rewritten
from gencomp_core.variant import compress
from tests.tiny import TinyDiffusion, TinyGAN, activations, quantization, recipe


@pytest.mark.parametrize(("groups", "channels"), [(1, 6), (3, 6), (8, 64)])
@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_channel_norm_equals_group_norm(groups: int, channels: int, mean: float) -> None:
    norm = nn.GroupNorm(groups, channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, channels, 7, 5, generator=torch.Generator().manual_seed(0)) * 2 + mean
    torch.testing.assert_close(ChannelNorm(norm)(x), norm(x), rtol=1e-4, atol=1e-4)
    flat = x.flatten(2)
    torch.testing.assert_close(ChannelNorm(norm)(flat), norm(flat), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("workload", [TinyDiffusion(), TinyGAN()], ids=lambda w: w.name)
def test_integers_of_any_width_keep_their_values_and_are_stored_in_4_or_8_bits(bits: int, workload: object) -> None:
    variant = compress(workload, recipe(quantization(bits)))  # type: ignore[arg-type]
    made, ways = rewritten(variant.model, variant.quantized)
    for name, layer in weight_layers(variant.model).items():
        torch.testing.assert_close(made.get_submodule(name).weight, weight_of(layer), rtol=1e-6, atol=0)
    assert sum(ways.values()) == len(weight_layers(variant.model))
    width = 8 if bits == 8 else 4
    integers = f"int{width} weights" + ("" if bits == width else f" (from {bits} bits)")
    assert set(ways) == {integers, f"float (weights stored in {width} bits)"}  # convolutions widen theirs


def test_group_scales_stay_unless_inputs_are_integers() -> None:
    workload = TinyDiffusion()
    groups = quantization(4, group_size=8)
    alone = compress(workload, recipe(groups))
    made, ways = rewritten(alone.model, alone.quantized)
    assert ways["int4 weights"]
    for name, layer in weight_layers(alone.model).items():
        torch.testing.assert_close(made.get_submodule(name).weight, weight_of(layer), rtol=1e-6, atol=0)
    both = compress(workload, recipe(groups, activations()))
    made, ways = rewritten(both.model, both.quantized)
    n_rounded = sum(quantizer_of(layer) is not None for layer in both.model.modules())
    assert ways["int8 (weights rounded once more)"] == n_rounded
    assert not any(quantizer_of(layer) for layer in made.modules())


def test_the_model_itself_is_left_alone() -> None:
    workload = TinyDiffusion()
    before = {name: value.clone() for name, value in workload.model.state_dict().items()}
    made, ways = rewritten(workload.model, {})
    assert set(ways) == {"float"}
    assert not any(type(module) is nn.GroupNorm for module in made.modules())
    assert any(type(module) is nn.GroupNorm for module in workload.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in workload.model.state_dict().items())
    assert Recipe().is_dense
