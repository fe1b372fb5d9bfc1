"""Structural compression: widths, slices, heads, blocks, and what they leave of integers and zeros."""

import copy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.compression.blocks import BlockChange, blocks_of, output_changes
from gencomp_core.compression.declared import declared
from gencomp_core.compression.layers import weight_layers
from gencomp_core.compression.slicing import ChannelChange, change_of
from gencomp_core.compression.structure import Width, families, side_size
from gencomp_core.compression.traced import structure_of, traced, without_norms, zero_
from gencomp_core.compression.untouchable import untouchable
from gencomp_core.errors import RecipeError
from gencomp_core.evaluate.cost import count_macs, count_params, inspect_layers
from gencomp_core.models.diffusion import FlowUNet, UNetConfig
from gencomp_core.models.gan import GANConfig, Generator
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads.base import complete_settings
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches
from tests.tiny import (
    TinyDiffusion,
    TinyGAN,
    TinyVAE,
    TinyVerses,
    pruning,
    quantization,
    randomise_,
    recipe,
    same_bits,
)


class WideDiffusion(TinyDiffusion):
    """Two heads in each attention, and 2 to 8 channels in each group of a norm."""

    name = "wide-diffusion"

    def empty_network(self) -> nn.Module:
        return FlowUNet(UNetConfig(channels=(16, 64))).eval()


class DeepVerses(TinyVerses):
    """Two layers on each side."""

    name = "deep-verses"

    def empty_network(self) -> nn.Module:
        shape = Seq2SeqConfig(dim=32, n_heads=4, encoder_layers=2, decoder_layers=2, feed_forward=2)
        return Seq2Seq(shape).eval()


class DeepGAN(TinyGAN):
    """Refining blocks after the first."""

    name = "deep-gan"

    def empty_network(self) -> nn.Module:
        return Generator(GANConfig(channels=(16, 16, 16), latent_dim=8, depth=2)).eval()


WORKLOADS = [WideDiffusion(), DeepGAN(), TinyVAE(), DeepVerses()]
of_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)


def channels(ratio: float, **fields: object) -> dict[str, object]:
    return {"kind": "channel-pruning", "pruning_ratio": ratio, "calibration_samples": 4, **fields}


def heads(ratio: float, **fields: object) -> dict[str, object]:
    return {"kind": "head-pruning", "pruning_ratio": ratio, "calibration_samples": 4, **fields}


def blocks(n: int | None = None, **fields: object) -> dict[str, object]:
    return {"kind": "block-removal", "calibration_samples": 2, **({"n_blocks": n} if n else {}), **fields}


@cache
def first_batch(workload: Any) -> CalibrationBatch:
    return next(forward_batches(workload, 2, seed=0))


def output(workload: Any, model: nn.Module) -> Tensor:
    with torch.no_grad():
        return first_batch(workload).run(model)


def reloaded(workload: Any, variant: Variant) -> nn.Module:
    network = workload.empty_network()
    unpack_into(pack(variant.model, variant.quantized, variant.changes).content, network)
    return network.eval()


def widths_of(workload: Any) -> list[Width]:
    found = declared(workload.model)
    assert found is not None
    return found.widths


def every_other(width: Width) -> Tensor:
    gone = torch.zeros(width.n_units, dtype=torch.bool)
    gone[::2] = True
    return gone


# --- widths


@of_workload
def test_a_sliced_width_computes_what_the_zeroed_one_does(workload: Any) -> None:
    """Norms over several channels count them, and are bypassed on both sides; batch norms are not."""
    dense = output(workload, without_norms(copy.deepcopy(workload.model)))
    for width in widths_of(workload):
        if width.name == "decoder.1.cross_attention":
            continue  # the pointer takes the mean over its heads: see below
        masked, sliced = (without_norms(copy.deepcopy(workload.model)) for _ in range(2))
        zero_(masked, width, every_other(width))
        change_of(workload.model, {width: every_other(width)}).apply_(sliced)
        expected = output(workload, masked)
        assert not torch.allclose(expected, dense, rtol=0, atol=1e-5), width.name
        torch.testing.assert_close(output(workload, sliced), expected, atol=2e-5, rtol=1e-4, msg=width.name)


def test_a_generator_without_channels_is_the_one_with_zeros() -> None:
    workload = DeepGAN()
    variant = compress(workload, recipe(channels(0.3, refit=False)))
    (change,) = variant.changes
    assert isinstance(change, ChannelChange)
    masked = copy.deepcopy(workload.model)
    for width in widths_of(workload):
        kept = change.kept[width.name]["out"]
        size = width.slots[0].index.shape[1]
        gone = torch.ones(width.n_units, dtype=torch.bool)
        gone[[index // size for index in kept]] = False
        zero_(masked, width, gone)
    torch.testing.assert_close(output(workload, variant.model), output(workload, masked), atol=1e-5, rtol=1e-4)
    assert count_params(variant.model)[0] < 0.7 * count_params(workload.model)[0]


def test_a_block_with_group_norms_is_the_one_sliced_by_hand() -> None:
    workload = WideDiffusion()
    only = {"*": {"skip": True}, "down1.0.block.*": {"pruning_ratio": 0.25}}
    variant = compress(workload, recipe(channels(0.25, refit=False, layers=only)))
    (change,) = variant.changes
    assert set(change.kept) == {f"down1.0.block.{layer}" for layer in ("conv1", "norm2", "cond", "conv2")}
    kept = torch.tensor(change.kept["down1.0.block.conv1"]["out"])
    assert len(kept) == 48
    dense, block = workload.model.down1[0].block, variant.model.down1[0].block
    x, condition = torch.randn(2, 64, 7, 7), torch.randn(2, 128)
    with torch.no_grad():
        h = dense.conv1(F.silu(dense.norm1(x)))[:, kept]
        h = F.group_norm(h, 8, dense.norm2.weight[kept], dense.norm2.bias[kept])
        scale, shift = dense.cond(condition)[:, :, None, None].chunk(2, dim=1)
        h = F.conv2d(
            F.silu(h * (1 + scale[:, kept]) + shift[:, kept]), dense.conv2.weight[:, kept], dense.conv2.bias, padding=1
        )
        torch.testing.assert_close(block(x, condition), x + h)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("workload", [WideDiffusion(), TinyVAE()], ids=lambda workload: workload.name)
def test_group_norms_keep_their_groups(workload: Any, scope: str) -> None:
    variant = compress(workload, recipe(channels(0.4, scope=scope, refit=False)))
    (change,) = variant.changes
    checked = 0
    for name, norm in variant.model.named_modules():
        if isinstance(norm, nn.GroupNorm) and name in change.kept:
            kept = torch.tensor(change.kept[name]["out"])
            dense = workload.model.get_submodule(name)
            before = kept // (dense.num_channels // dense.num_groups)
            after = torch.arange(len(kept)) // (norm.num_channels // norm.num_groups)
            assert torch.equal(before, after), name
            assert norm.num_groups == 8
            checked += 1
    assert checked > 4


def test_concatenated_widths_shrink_together() -> None:
    workload = WideDiffusion()
    found, _ = families(workload.model, widths_of(workload))
    together = [{width.name for width in family.widths} for family in found]
    assert {"stem", "upsample", "up0.0.block.conv2"} in together
    assert {"downsample", "up1.0.block.conv2"} in together


@pytest.mark.parametrize("workload", [TinyDiffusion(), TinyGAN(), TinyVAE()], ids=lambda workload: workload.name)
def test_torch_prunings_graph_finds_the_declared_widths(workload: Any) -> None:
    """All but whole heads, and a flattened picture beside an embedding, which it maps to wrong columns."""

    def members(width: Width) -> set[tuple[str, str, tuple[int, ...]]]:
        sides: dict[tuple[str, str], set[int]] = {}
        for slot in width.slots:
            sides.setdefault((slot.layer, slot.side), set()).update(slot.index.flatten().tolist())
        return {(*side, tuple(sorted(channels))) for side, channels in sides.items()}

    found = [members(width) for width in traced(workload.model, first_batch(workload).run).widths]
    beyond = {"encoder.2", "class_embedding"} if workload.name == "tiny-vae" else set()
    for width in widths_of(workload):
        if width.kind == "channels" and width.name not in beyond:
            assert members(width) in found, width.name


# --- other networks


class Plain:
    """A workload around any network of images."""

    name = "plain"

    def __init__(self, network: nn.Module, shape: tuple[int, ...] = (3, 8, 8)) -> None:
        self.model = randomise_(network, 0)
        self.dense = copy.deepcopy(self.model)
        self.x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))

    def empty_network(self) -> nn.Module:
        return copy.deepcopy(self.dense)

    def forward_batches(self, n: int, *, seed: int) -> list[CalibrationBatch]:
        return [CalibrationBatch("all", {"all": 4}, lambda model: model(self.x))]

    def loss_batches(self, n: int, *, seed: int) -> list[CalibrationBatch]:
        return [CalibrationBatch("all", {"all": 4}, lambda model: model(self.x).square().mean())]


class Split(nn.Module):
    """Attention-like: channels become heads inside, where no slice may follow."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k = (layer(x).unflatten(-1, (-1, 2)).flip(-1).flatten(-2) for layer in (self.q, self.k))
        return self.out(q * k.flip(-1))


def test_any_network_is_traced_by_torch_pruning() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 12, 2, stride=2),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 16 * 16, 5),
    )
    workload: Any = Plain(network)
    variant = compress(workload, recipe(channels(0.5, importance="taylor")))
    sizes = {name: tuple(layer.weight.shape) for name, layer in weight_layers(variant.model).items()}
    assert sizes == {"0": (8, 3, 3, 3), "3": (8, 6, 2, 2), "7": (5, 6 * 256)}
    assert torch.equal(output(workload, reloaded(workload, variant)), output(workload, variant.model))


def test_what_torch_pruning_takes_for_element_wise_is_found_out() -> None:
    workload: Any = Plain(Split(), (5, 8))
    reasons = untouchable(workload, workload.model)["channel-pruning"]
    assert set(reasons) == {"q", "k", "out"}
    assert "torch-pruning traced it" in reasons["q"]
    with pytest.raises(RecipeError, match=r"channel-pruning: plain has no channels or heads to remove .* Leave the"):
        compress(workload, recipe(channels(0.5)))


def test_what_fits_but_computes_something_else_is_found_out() -> None:
    class Flipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.into(x).flip(-1))

    workload: Any = Plain(Flipped(), (8,))
    reasons = untouchable(workload, workload.model)["channel-pruning"]
    assert reasons["into"] == "does not compute the same when it is sliced as torch-pruning traced it"


def test_a_group_norm_over_channels_that_stay_keeps_the_others() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.norm, self.out = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(torch.cat([self.into(x), x], dim=1)))

    workload: Any = Plain(Beside(), (4, 5, 5))
    reasons = untouchable(workload, workload.model)["channel-pruning"]
    assert reasons["into"] == "shares a GroupNorm with channels that can't shrink"


def test_grouped_convolutions_and_shared_weights_stay_with_a_reason() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1))
    workload: Any = Plain(network)
    reasons = untouchable(workload, workload.model)["channel-pruning"]
    assert "is a convolution in 4 groups" in reasons["1"]
    assert set(reasons) == {"0", "1"}
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    shared: Any = Plain(tied, (4,))
    assert "shares its weight" in untouchable(shared, shared.model)["channel-pruning"]["0"]


def test_a_network_that_can_not_be_run_is_refused_in_one_line() -> None:
    class Silent(Plain):
        def forward_batches(self, n: int, *, seed: int) -> list[CalibrationBatch]:
            def run(model: nn.Module) -> Tensor:
                with torch.inference_mode():
                    return model(self.x)

            return [CalibrationBatch("all", {"all": 4}, run)]

    workload: Any = Silent(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)))
    with pytest.raises(RecipeError, match=r"could not be traced \(the pass records no gradients") as caught:
        compress(workload, recipe(channels(0.5)))
    assert "\n" not in str(caught.value)


# --- every workload


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


# --- which channels


def two_layers() -> Any:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    return Plain(network, (4,))


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


# --- heads


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


# --- blocks


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
    workload: Any = Plain(network, (4,))
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


# --- with the other stages


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


# --- what is said


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
