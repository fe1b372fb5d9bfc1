"""Whole blocks removed: which go, and that the others keep their names."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from gencomp_core.compression.blocks import BlockChange, blocks_of, output_changes
from gencomp_core.compression.layers import weight_layers
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import compress
from tests.structures import DeepVerses, blocks, of_workload, output
from tests.tiny import TinyVAE, TinyVerses, on_noise, quantization, recipe


@of_workload
def test_a_block_without_effect_is_the_first_to_go(workload: Any) -> None:
    idle = copy.copy(workload)
    idle.__dict__["model"] = copy.deepcopy(workload.model)
    offered = blocks_of(idle, idle.model)
    chosen = offered[len(offered) // 2]
    last = {"proj", "conv2", "conv", "outer"}
    with torch.no_grad():
        for name, layer in weight_layers(idle.model).items():
            if chosen.holds(name) and name.rsplit(".", 1)[-1] in last:
                layer.weight.zero_()
                layer.bias.zero_()
    variant = compress(idle, recipe(blocks(1)))
    assert variant.changes == (BlockChange(chosen.remedies),)
    torch.testing.assert_close(output(idle, variant.model), output(idle, idle.model), atol=1e-6, rtol=1e-5)


def test_blocks_are_judged_by_the_change_of_the_output() -> None:
    network = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4)) for _ in range(2)))
    workload: Any = on_noise(network, 4)
    found = blocks_of(workload, network)
    assert [block.name for block in found] == ["0", "1"]
    changes = output_changes(network, network, found, workload.forward_batches(4, seed=0))
    dense = network(workload.x)
    expected = (network[1](workload.x) - dense).square().sum() / dense.square().sum()
    assert changes["0"] == pytest.approx(float(expected), rel=1e-5)


def test_blocks_can_be_named_and_the_others_keep_their_names() -> None:
    workload = DeepVerses()
    variant = compress(workload, recipe(blocks(blocks=["encoder.0", "decoder.1"])))
    assert list(dict(variant.model.encoder.named_children())) == ["1"]
    assert list(dict(variant.model.decoder.named_children())) == ["0"]
    assert "encoder.1.feed.inner" in weight_layers(variant.model)
    follow = recipe(blocks(blocks=["encoder.0"]), quantization(4, layers={"encoder.1.feed.inner": {"bits": 8}}))
    assert compress(workload, follow).quantized["encoder.1.feed.inner"].format.bits == 8


def test_a_decoder_layer_stays_for_the_pointer() -> None:
    with pytest.raises(
        RecipeError, match=r"n_blocks must be at most 1 for tiny-verses, got 2. Blocks .*: encoder\.0\."
    ):
        compress(TinyVerses(), recipe(blocks(2)))
    with pytest.raises(RecipeError, match=r"got 'decoder.0'"):
        compress(DeepVerses(), recipe(blocks(blocks=["decoder.1", "decoder.0"])))


def test_a_block_that_is_none_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(RecipeError, match=r"got 'decoder.0.1'. Did you mean 'decoder.0.0'\?"):
        compress(TinyVAE(), recipe(blocks(blocks=["decoder.0.1"])))


def test_a_block_with_a_skipped_layer_stays() -> None:
    for name in (block.name for block in blocks_of(TinyVAE(), TinyVAE().model)):
        variant = compress(TinyVAE(), recipe(blocks(1, layers={f"{name}.conv1": {"skip": True}})))
        assert name not in variant.changes[0].remedies


@pytest.mark.parametrize("fields", [{}, {"n_blocks": 1, "blocks": ["a"]}, {"blocks": ["a", "a"]}, {"n_blocks": 0}])
def test_a_removal_says_how_many_or_which(fields: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        Recipe.from_dict({"stages": [{"kind": "block-removal", **fields}]})
