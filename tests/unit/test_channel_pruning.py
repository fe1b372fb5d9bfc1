"""Channels and heads removed: which go, what is left of the network, and of its integers and zeros."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from gencomp_core.artifact.packing import pack
from gencomp_core.compression.blocks import BlockChange
from gencomp_core.compression.layers import weight_layers
from gencomp_core.compression.slicing import ChannelChange
from gencomp_core.compression.structure import families, side_size
from gencomp_core.compression.traced import structure_of
from gencomp_core.compression.untouchable import untouchable
from gencomp_core.errors import RecipeError
from gencomp_core.evaluate.cost import count_macs, count_params, inspect_layers
from gencomp_core.variant import compress
from gencomp_core.workloads.base import complete_settings
from tests.structures import (
    DeepGAN,
    DeepVerses,
    WideDiffusion,
    blocks,
    channels,
    heads,
    of_workload,
    output,
    reloaded,
    widths_of,
)
from tests.tiny import TinyDiffusion, TinyVAE, on_noise, pruning, quantization, recipe, same_bits


@pytest.mark.parametrize(
    "stages",
    [
        [channels(0.3)],
        [channels(0.3, scope="global", importance="taylor")],
        [channels(0.3, importance="random", refit=False)],
        [blocks(1), channels(0.3)],
        [channels(0.3), blocks(1)],
        [pruning(0.5), channels(0.3), quantization(4)],
        [quantization(4, symmetric=False), channels(0.3), pruning(0.5)],
    ],
    ids=lambda stages: "+".join(str(stage["kind"]) for stage in stages),
)
@of_workload
def test_it_is_smaller_and_runs_as_it_is_packed(workload: Any, stages: list[dict[str, object]]) -> None:
    before = {name: value.clone() for name, value in workload.model.state_dict().items()}
    variant = compress(workload, recipe(*stages))
    network = reloaded(workload, variant)
    state = variant.model.state_dict()
    assert network.state_dict().keys() == state.keys()
    assert all(same_bits(value, state[name]) for name, value in network.state_dict().items())
    cheap = complete_settings(workload, {"steps": 2} if workload.name == "wide-diffusion" else None)
    first, again = (workload.generate(model, 0, 2, seed=0, settings=cheap) for model in (variant.model, network))
    assert first == again if isinstance(first, list) else torch.equal(first, again)
    assert count_params(network)[0] < count_params(workload.model)[0]
    assert all(same_bits(value, before[name]) for name, value in workload.model.state_dict().items())


@of_workload
def test_sizes_that_layers_remember_are_those_of_their_weights(workload: Any) -> None:
    model = compress(workload, recipe(channels(0.3, refit=False))).model
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.shape == (layer.out_features, layer.in_features), name
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.shape[:2] == (layer.out_channels, layer.in_channels), name
        if isinstance(layer, nn.ConvTranspose2d):
            assert layer.weight.shape[:2] == (layer.in_channels, layer.out_channels), name
        if isinstance(layer, nn.Embedding):
            assert layer.weight.shape[1] == layer.embedding_dim, name
        if isinstance(layer, nn.GroupNorm):
            assert layer.weight.shape == (layer.num_channels,), name
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean.shape == layer.running_var.shape == (layer.num_features,), name


@of_workload
def test_multiply_accumulates_fall(workload: Any) -> None:
    cheap = complete_settings(workload, {"steps": 1} if workload.name == "wide-diffusion" else None)
    # An encoder block is no part of sampling a VAE.
    named = blocks(blocks=["decoder.0.0"]) if workload.name == "tiny-vae" else blocks(1)
    shorter = compress(workload, recipe(named)).model
    dense, fewer, fewest = (
        count_macs(workload, model, cheap)
        for model in (workload.model, shorter, compress(workload, recipe(named, channels(0.5, refit=False))).model)
    )
    assert fewest < fewer < dense


def test_shapes_follow_the_ratio() -> None:
    model = compress(TinyVAE(), recipe(channels(0.5, refit=False))).model
    assert tuple(model.encoder[2].weight.shape) == (8, 8, 3, 3)
    assert tuple(model.posterior.weight.shape) == (16, 8 * 49 + 16)
    assert tuple(model.latent_in.weight.shape) == (8 * 49, 8 + 16)
    assert tuple(model.decoder[1].weight.shape) == (8, 8, 4, 4)


@of_workload
def test_a_ratio_of_zero_changes_nothing(workload: Any) -> None:
    for stage in (channels(0), channels(0, scope="global"), channels(0.5, layers={"*": {"skip": True}})):
        variant = compress(workload, recipe(stage))
        assert variant.changes == ()
        assert pack(variant.model, {}).content == pack(workload.model, {}).content


def test_a_ratio_that_removes_nothing_is_refused_with_one_that_does() -> None:
    with pytest.raises(
        RecipeError, match=r"must be large enough to remove something of tiny-vae, got 0.01. Write at"
    ) as e:
        compress(TinyVAE(), recipe(channels(0.01)))
    least = float(str(e.value).split("at least ")[1].rstrip("."))
    assert compress(TinyVAE(), recipe(channels(least, refit=False))).changes


@of_workload
def test_making_the_change_again_changes_nothing(workload: Any) -> None:
    variant = compress(workload, recipe(channels(0.3, refit=False)))
    once = {name: value.clone() for name, value in variant.model.state_dict().items()}
    ChannelChange.restore(variant.changes[0].fields()).apply_(variant.model)
    assert all(same_bits(value, once[name]) for name, value in variant.model.state_dict().items())


@of_workload
def test_the_same_seed_removes_the_same(workload: Any) -> None:
    stage = recipe(channels(0.3, importance="random", refit=False))
    first, again, other = (compress(workload, stage, seed=seed).changes[0].kept for seed in (1, 1, 2))
    assert first == again != other


def test_the_refit_brings_the_output_closer_to_dense() -> None:
    workload = DeepGAN()
    plain, solved = (
        compress(workload, recipe(channels(0.3, refit=refit, calibration_samples=64))).model for refit in (False, True)
    )
    dense = output(workload, workload.model)
    plain_error, error = (float((output(workload, model) - dense).square().mean()) for model in (plain, solved))
    assert error < 0.8 * plain_error


def test_a_global_ranking_takes_its_share_of_all_channels() -> None:
    workload = WideDiffusion()
    (change,) = compress(workload, recipe(channels(0.4, scope="global", refit=False))).changes
    found, _ = families(workload.model, widths_of(workload))
    total, left = 0, 0
    for width in (width for family in found for width in family.widths):
        slot = width.slots[0]
        size = slot.index.shape[1] if width.kind == "channels" else 1
        n = side_size(workload.model.get_submodule(slot.layer), "out")
        total += n // size
        left += len(change.kept.get(slot.layer, {}).get("out", range(n))) // size
    assert left / total == pytest.approx(0.6, abs=0.05)


def two_layers() -> Any:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    return on_noise(network, 4)


def test_the_smallest_channel_goes_by_magnitude() -> None:
    workload = two_layers()
    with torch.no_grad():
        workload.model[0].weight[3] *= 0.01
        workload.model[2].weight[:, 3] *= 0.01
    (change,) = compress(workload, recipe(channels(0.17, refit=False))).changes
    assert change.kept == {"0": {"out": (0, 1, 2, 4, 5)}, "2": {"in": (0, 1, 2, 4, 5)}}


def test_the_channel_that_the_loss_does_not_feel_goes_by_taylor() -> None:
    workload = two_layers()
    with torch.no_grad():
        workload.model[0].weight[2] *= 3
        workload.model[0].bias[2] = -100  # never on, however large
    (change,) = compress(workload, recipe(channels(0.17, refit=False, importance="taylor"))).changes
    assert change.kept["0"]["out"] == (0, 1, 3, 4, 5)


def test_taylor_is_the_square_of_the_summed_product() -> None:
    from gencomp_core.compression.channels import _taylor

    workload = two_layers()
    (width,) = structure_of(workload, workload.model).widths
    layers = weight_layers(workload.model)
    gradients = {name: torch.randn(layer.weight.shape) for name, layer in layers.items()}
    rows = (gradients["0"] * layers["0"].weight).sum(1)
    columns = (gradients["2"] * layers["2"].weight).sum(0)
    torch.testing.assert_close(_taylor(width, layers, gradients), (rows**2 + columns**2) / 2)


def test_a_skipped_layer_keeps_its_shape_and_what_shares_its_channels() -> None:
    workload = TinyVAE()
    model = compress(workload, recipe(channels(0.5, refit=False, layers={"decoder.1": {"skip": True}}))).model
    assert model.decoder[1].weight.shape == workload.model.decoder[1].weight.shape
    assert model.latent_in.weight.shape[0] == 16 * 49
    assert model.decoder[0][0].conv1.weight.shape == (8, 16, 3, 3)
    assert model.encoder[0].weight.shape[0] == 8


def test_a_width_follows_the_smallest_ratio_of_the_layers_that_make_it() -> None:
    stage = channels(0.5, refit=False, layers={"encoder.0": {"pruning_ratio": 0}})
    model = compress(TinyVAE(), recipe(stage)).model
    assert model.encoder[0].weight.shape[0] == model.encoder[1][0].conv2.weight.shape[0] == 16
    assert model.encoder[1][0].conv1.weight.shape == (8, 16, 3, 3)


def test_a_ratio_for_a_layer_that_keeps_its_channels_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"layers\.copy_gate must have channels or heads that can be removed .* why"):
        compress(DeepVerses(), recipe(channels(0.5, layers={"copy_gate": {"pruning_ratio": 0.2}})))


@pytest.mark.parametrize("workload", [WideDiffusion(), DeepVerses()], ids=lambda workload: workload.name)
def test_whole_heads_go_and_one_stays(workload: Any) -> None:
    variant = compress(workload, recipe(heads(0.99, refit=False)))
    (change,) = variant.changes
    assert set(change.heads.values()) == {1}
    for name, n_heads in change.heads.items():
        dense, own = (model.get_submodule(name) for model in (workload.model, variant.model))
        size = dense.q.out_features // dense.n_heads
        assert own.n_heads == n_heads
        assert own.q.weight.shape == own.v.weight.shape == (size, dense.q.in_features)
        assert own.proj.weight.shape == (dense.proj.out_features, size)
        first = change.kept[f"{name}.q"]["out"]
        assert first == tuple(range(first[0], first[0] + size))
        assert first[0] % size == 0
    assert output(workload, reloaded(workload, variant)).equal(output(workload, variant.model))


def test_a_head_of_the_last_cross_attention_leaves_the_pointers_mean_too() -> None:
    workload = DeepVerses()
    only = {"*": {"skip": True}, "decoder.1.cross_attention.*": {"pruning_ratio": 0.5}}
    variant = compress(workload, recipe(heads(0.5, refit=False, layers=only)))
    (change,) = variant.changes
    assert change.heads == {"decoder.1.cross_attention": 2}
    kept = sorted({channel // 8 for channel in change.kept["decoder.1.cross_attention.q"]["out"]})
    dense, own = (model.decoder[1].cross_attention for model in (workload.model, variant.model))
    x, memory = torch.randn(1, 3, 32), torch.randn(1, 5, 32)
    with torch.no_grad():
        _, before = dense(x, *dense.keys_and_values(memory), None)
        _, after = own(x, *own.keys_and_values(memory), None)
    torch.testing.assert_close(after, before[:, kept])


def test_a_model_without_attention_has_no_heads_to_remove() -> None:
    with pytest.raises(RecipeError, match=r"head-pruning: tiny-vae has no heads to remove \(it has none\)"):
        compress(TinyVAE(), recipe(heads(0.5)))
    with pytest.raises(RecipeError, match=r"has no heads to remove \(has one of its heads left\)"):
        compress(TinyDiffusion(), recipe(heads(0.5)))


def test_integers_are_sliced_with_their_scales() -> None:
    workload = TinyVAE()
    for stage in (quantization(4), quantization(3, symmetric=False), quantization(5, granularity="tensor")):
        whole = compress(workload, recipe(stage))
        both = compress(workload, recipe(stage, channels(0.5)))
        assert both.quantized.keys() == whole.quantized.keys()
        (change,) = both.changes
        for name, own in both.quantized.items():
            layer = both.model.get_submodule(name)
            assert same_bits(own.dequantize(), layer.weight.detach())
            expected = copy.deepcopy(whole.model)
            change.apply_(expected)
            assert same_bits(expected.get_submodule(name).weight.detach(), own.dequantize()), name


def test_groups_of_integers_are_not_torn_apart() -> None:
    with pytest.raises(RecipeError, match=r"integers in groups of 16 that share a scale.*before the quantization"):
        compress(TinyVAE(), recipe(quantization(4, group_size=16), channels(0.5)))
    assert compress(TinyVAE(), recipe(channels(0.5), quantization(4, group_size=16))).quantized


def test_zeros_stay_zeros() -> None:
    workload = TinyVAE()
    sparse = compress(workload, recipe(pruning(0.6)))
    both = compress(workload, recipe(pruning(0.6), channels(0.5)))
    (change,) = both.changes
    change.apply_(sparse.model)
    for name, layer in weight_layers(both.model).items():
        zeros = weight_layers(sparse.model)[name].weight == 0
        assert (layer.weight[zeros] == 0).all(), name


def test_a_layer_whose_inputs_another_stage_changes_is_refused() -> None:
    workload = TinyVAE()
    draft = {"kind": "activation-quantization", "bits": 8}
    with pytest.raises(RecipeError, match=r"has inputs that another stage changes .* Move this stage before"):
        compress(workload, recipe(draft, channels(0.5)))


def test_damaged_changes_are_refused() -> None:
    model = TinyVAE().empty_network()
    for kept in ({"out": {"in": 99}}, {"out": {"in": 0}}):
        with pytest.raises(ValueError, match="has 16 channels in"):
            ChannelChange.restore({"kept": kept, "heads": {}}).apply_(model)
    with pytest.raises(ValueError, match="no sides"):
        ChannelChange.restore({"kept": {"out": {"up": 3}}, "heads": {}})
    with pytest.raises(ValueError, match="pass, zero or delete"):
        BlockChange.restore({"removed": {"out": "burn"}})


@of_workload
def test_every_layer_can_be_touched_or_has_a_reason(workload: Any) -> None:
    facts = inspect_layers(workload)
    for fact in facts:
        for kind in ("channel-pruning", "head-pruning", "block-removal"):
            assert (kind in fact.can) != bool(fact.cannot.get(kind)), (fact.name, kind)
    changed = compress(workload, recipe(channels(0.5, refit=False))).changes[0].kept
    assert {fact.name for fact in facts if "channel-pruning" in fact.can} <= set(changed)


def test_the_residual_width_of_the_transformer_stays_with_a_reason() -> None:
    reasons = untouchable(DeepVerses(), DeepVerses().model)
    assert set(reasons["channel-pruning"]) == {"embedding", "copy_gate"}
    assert "residual stream" in reasons["channel-pruning"]["embedding"]
    assert reasons["head-pruning"]["encoder.0.feed.inner"] == "belongs to no attention"


def test_ratios_of_single_layers_need_rankings_of_their_own() -> None:
    with pytest.raises(RecipeError, match="may only skip layers when scope is 'global'"):
        recipe(channels(0.5, scope="global", layers={"out": {"pruning_ratio": 0.2}}))
