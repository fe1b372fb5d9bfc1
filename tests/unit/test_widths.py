"""Widths of the bundled networks and of any other: what shrinks together, and what stays with a reason."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.compression.layers import weight_layers
from gencomp_core.compression.slicing import ChannelChange, change_of
from gencomp_core.compression.structure import Width, families
from gencomp_core.compression.traced import traced, without_norms, zero_
from gencomp_core.compression.untouchable import untouchable
from gencomp_core.errors import RecipeError
from gencomp_core.evaluate.cost import count_params
from gencomp_core.variant import compress
from gencomp_core.workloads.calibration import CalibrationBatch
from tests.structures import (
    DeepGAN,
    WideDiffusion,
    channels,
    every_other,
    first_batch,
    of_workload,
    output,
    reloaded,
    widths_of,
)
from tests.tiny import Made, TinyDiffusion, TinyGAN, TinyVAE, noise, on_noise, recipe


@of_workload
def test_a_sliced_width_computes_what_the_zeroed_one_does(workload: Any) -> None:
    """Norms over several channels count them, and are bypassed on both sides; batch norms are not."""
    dense = output(workload, without_norms(copy.deepcopy(workload.model)))
    for width in widths_of(workload):
        if width.name == "decoder.1.cross_attention":
            continue  # the pointer takes the mean over its heads: see test_channel_pruning.py
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
    workload: Any = on_noise(network, 3, 8, 8)
    variant = compress(workload, recipe(channels(0.5, importance="taylor")))
    sizes = {name: tuple(layer.weight.shape) for name, layer in weight_layers(variant.model).items()}
    assert sizes == {"0": (8, 3, 3, 3), "3": (8, 6, 2, 2), "7": (5, 6 * 256)}
    assert torch.equal(output(workload, reloaded(workload, variant)), output(workload, variant.model))


def test_what_torch_pruning_takes_for_element_wise_is_found_out() -> None:
    workload: Any = on_noise(Split(), 5, 8)
    reasons = untouchable(workload, workload.model)["channel-pruning"]
    assert set(reasons) == {"q", "k", "out"}
    assert "torch-pruning traced it" in reasons["q"]
    with pytest.raises(RecipeError, match=r"channel-pruning: made has no channels or heads to remove .* Leave the"):
        compress(workload, recipe(channels(0.5)))


def test_what_fits_but_computes_something_else_is_found_out() -> None:
    class Flipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.into(x).flip(-1))

    workload: Any = on_noise(Flipped(), 8)
    reasons = untouchable(workload, workload.model)["channel-pruning"]
    assert reasons["into"] == "does not compute the same when it is sliced as torch-pruning traced it"


def test_a_group_norm_over_channels_that_stay_keeps_the_others() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.norm, self.out = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(torch.cat([self.into(x), x], dim=1)))

    workload: Any = on_noise(Beside(), 4, 5, 5)
    reasons = untouchable(workload, workload.model)["channel-pruning"]
    assert reasons["into"] == "shares a GroupNorm with channels that can't shrink"


def test_grouped_convolutions_and_shared_weights_stay_with_a_reason() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1))
    workload: Any = on_noise(network, 3, 8, 8)
    reasons = untouchable(workload, workload.model)["channel-pruning"]
    assert "is a convolution in 4 groups" in reasons["1"]
    assert set(reasons) == {"0", "1"}
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    shared: Any = on_noise(tied, 4)
    assert "shares its weight" in untouchable(shared, shared.model)["channel-pruning"]["0"]


def test_a_network_that_can_not_be_run_is_refused_in_one_line() -> None:
    class Silent(Made):
        def forward_batches(self, n: int, *, seed: int) -> list[CalibrationBatch]:
            def run(model: nn.Module) -> Tensor:
                with torch.inference_mode():
                    return model(self.x)

            return [CalibrationBatch("all", {"all": 4}, run)]

    workload: Any = Silent(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)), noise(4, 3, 8, 8))
    with pytest.raises(RecipeError, match=r"could not be traced \(the pass records no gradients") as caught:
        compress(workload, recipe(channels(0.5)))
    assert "\n" not in str(caught.value)
