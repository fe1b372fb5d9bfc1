"""What is put beside or into layers to make up for rounding: branches, biases, scales between layers."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.compression.calibration import input_statistics
from gencomp_core.compression.corrections import AddedBiases, output_shifts
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.gptq import layer_error, round_by_gptq
from gencomp_core.compression.layers import is_transposed, to_rows, weight_layers
from gencomp_core.compression.low_rank import IN, OUT, LowRankBranches
from gencomp_core.compression.quantizers import quantize_weight
from gencomp_core.compression.scaling import equalization_scales, equalize_, equalize_pair_, homogeneous_pairs
from gencomp_core.compression.smoothing import BUFFER
from gencomp_core.errors import RecipeError
from gencomp_core.models.seq2seq import FeedForward
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.recipes.quantization import CrossLayerEqualization
from gencomp_core.variant import APPLY, Variant, compress
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches
from tests.tiny import (
    Bare,
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

LOW_RANK = {"kind": "low-rank-correction", "rank": 3, "weighting": "none"}
BIAS = {"kind": "bias-correction", "calibration_samples": 10}
EQUALIZE = {"kind": "cross-layer-equalization"}
SMOOTH = {"kind": "smooth-quant", "calibration_samples": 10}
WORKLOADS = [TinyDiffusion(), TinyGAN(), TinyVAE(), TinyVerses()]
of_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Net(nn.Module):
    """One layer of each kind that can have a branch, and none with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 14, bias=False)
        self.conv = nn.Conv2d(4, 6, 3, padding=1, stride=2, bias=False)
        self.conv1d = nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular", bias=False)
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.grouped = nn.Conv2d(4, 6, 3, groups=2, bias=False)
        self.tokens = nn.Embedding(5, 4)

    def forward(self, n: int, seed: int) -> list[Tensor]:
        shapes = {"linear": (12,), "conv": (4, 7, 7), "conv1d": (4, 9), "up": (4, 5, 5), "grouped": (4, 5, 5)}
        return [getattr(self, name)(noise(n, *shape, seed=seed) + 0.5) for name, shape in shapes.items()]


class OfNet(Bare):
    """`Net` as a workload with calibration."""

    def __init__(self) -> None:
        super().__init__(randomise_(Net(), 0), "net")

    def empty_network(self) -> nn.Module:
        return Net()

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        yield CalibrationBatch("all", {"all": n}, lambda model: torch.cat([y.flatten() for y in model(n, seed)]))

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        raise NotImplementedError


def shipped(variant: Variant) -> nn.Module:
    """The network as it is unpacked from its weights file."""
    network = variant.workload.empty_network()
    unpack_into(pack(variant.model, variant.quantized, variant.changes).content, network)
    return network.eval()


def rows(layer: nn.Module) -> Tensor:
    return to_rows(layer.weight.detach(), transposed=is_transposed(layer))


# Low-rank branches


@pytest.mark.parametrize("name", ["linear", "conv", "conv1d", "up"])
def test_a_layer_with_its_branch_is_a_layer_with_the_summed_weight(name: str) -> None:
    workload = OfNet()
    layer = compress(workload, recipe(quantization(2), LOW_RANK)).model.get_submodule(name)
    thin, wide = getattr(layer, IN).float(), getattr(layer, OUT).float()
    summed = copy.deepcopy(layer)
    summed._forward_hooks.clear()
    branch = torch.tensordot(wide, thin, dims=([1], [1 if is_transposed(layer) else 0]))
    summed.weight += branch.transpose(0, 1) if is_transposed(layer) else branch
    x = noise(3, *{"linear": (12,), "conv": (4, 7, 7), "conv1d": (4, 9), "up": (4, 5, 5)}[name])
    torch.testing.assert_close(layer(x), summed(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["linear", "conv", "conv1d", "up"])
def test_what_it_leaves_are_the_other_singular_values_of_the_rounding_error(name: str) -> None:
    """Eckart & Young 1936, up to the float16 of the factors."""
    workload = OfNet()
    layer = compress(workload, recipe(quantization(2), LOW_RANK)).model.get_submodule(name)
    difference = rows(workload.model.get_submodule(name)) - rows(layer)
    branch = getattr(layer, OUT).float() @ to_rows(getattr(layer, IN).float(), transposed=is_transposed(layer))
    tail = torch.linalg.svdvals(difference)[3:].square().sum()
    torch.testing.assert_close((difference - branch).square().sum(), tail, atol=1e-5, rtol=1e-3)


def test_weighting_by_inputs_leaves_a_smaller_error_of_outputs() -> None:
    workload = TinyVerses()
    stages = {weighting: {**LOW_RANK, "weighting": weighting} for weighting in ("none", "inputs")}
    found = {w: compress(workload, recipe(quantization(2), stage)).model for w, stage in stages.items()}
    name = "encoder.0.feed.outer"
    seen: list[Tensor] = []
    dense = workload.model.get_submodule(name)
    handle = dense.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].reshape(-1, inputs[0].shape[-1])))
    for batch in forward_batches(workload, 64, seed=0):
        batch.run(workload.model)
    handle.remove()
    x = torch.cat(seen)
    errors = {w: (model.get_submodule(name)(x) - dense(x)).square().sum() for w, model in found.items()}
    assert errors["inputs"] < 0.95 * errors["none"]


@of_workload
def test_branches_lower_the_error_of_the_whole_network_and_ship_exactly(workload: Any) -> None:
    batches = list(forward_batches(workload, 10, seed=1))
    dense = [batch.run(workload.model) for batch in batches]
    plain, corrected = (compress(workload, recipe(quantization(3), *more)) for more in ([], [{**LOW_RANK, "rank": 8}]))
    errors = [
        sum(float((batch.run(v.model) - y).square().sum()) for batch, y in zip(batches, dense, strict=True))
        for v in (plain, corrected)
    ]
    assert errors[1] < errors[0]
    arrived = shipped(corrected)
    assert all(torch.equal(batch.run(arrived), batch.run(corrected.model)) for batch in batches)


def test_bytes_of_branches_are_counted() -> None:
    packed = [
        pack(v.model, v.quantized, v.changes)
        for v in (compress(OfNet(), recipe(quantization(2), *more)) for more in ([], [LOW_RANK]))
    ]
    expected = 2 * 3 * ((12 + 14) + (36 + 6) + (12 + 6) + (36 + 6))  # float16, rank 3, linear conv conv1d up
    assert sum(t.n_bytes for t in packed[1].tensors) - sum(t.n_bytes for t in packed[0].tensors) == expected
    assert packed[1].size_bytes - packed[0].size_bytes > expected  # and their names


def test_embeddings_and_layers_with_groups_have_none_and_a_rank_is_at_most_the_width() -> None:
    variant = compress(OfNet(), recipe(quantization(2), {**LOW_RANK, "rank": 100}))
    change = variant.changes[0]
    assert isinstance(change, LowRankBranches)
    assert change.ranks == {"linear": 12, "conv": 6, "conv1d": 6, "up": 6}


def test_a_second_correction_replaces_the_first() -> None:
    variant = compress(OfNet(), recipe(quantization(2), {**LOW_RANK, "rank": 5}, LOW_RANK))
    once = compress(OfNet(), recipe(quantization(2), LOW_RANK))
    layer = variant.model.get_submodule("conv")
    assert len(layer._forward_hooks) == 1
    assert same_bits(getattr(layer, IN), getattr(once.model.get_submodule("conv"), IN))
    assert all(
        same_bits(value, shipped(variant).state_dict()[key]) for key, value in variant.model.state_dict().items()
    )


@pytest.mark.parametrize("stages", [[], [pruning(0.5)], [SMOOTH]])
def test_a_network_without_rounding_has_nothing_to_correct(stages: list[dict]) -> None:
    with pytest.raises(RecipeError, match="must come after a stage that rounds weights .* Put a weight-quantization"):
        compress(OfNet(), recipe(*stages, LOW_RANK))


def test_branches_and_smoothing_commute_up_to_rounding() -> None:
    """The branch takes the layer's input, whether a stage divides it before or after."""
    workload = OfNet()
    plain = compress(workload, recipe(quantization(2), LOW_RANK))
    after = compress(workload, recipe(quantization(2), LOW_RANK, SMOOTH))
    for name in ("linear", "conv", "up"):
        one, other = plain.model.get_submodule(name), after.model.get_submodule(name)
        assert bool((getattr(other, BUFFER) != 1).any())
        other.weight.zero_()
        one.weight.zero_()
        x = noise(2, *{"linear": (12,), "conv": (4, 7, 7), "up": (4, 5, 5)}[name])
        torch.testing.assert_close(one(x), other(x), atol=1e-5, rtol=1e-4)
    before = compress(workload, recipe(SMOOTH, quantization(2), LOW_RANK))
    for name in ("linear", "conv"):
        layer = before.model.get_submodule(name)
        x = noise(50, *{"linear": (12,), "conv": (4, 7, 7)}[name])
        with_branch = layer(x)
        layer._forward_hooks.clear()
        dense = workload.model.get_submodule(name)(x)
        assert (with_branch - dense).square().sum() < 0.8 * (layer(x) - dense).square().sum()


def test_masks_set_after_a_branch_stay_and_so_do_zeros_before() -> None:
    variant = compress(OfNet(), recipe(pruning(0.3), quantization(3), LOW_RANK, pruning(0.6)))
    for layer in weight_layers(variant.model).values():
        assert float((layer.weight == 0).float().mean()) >= 0.59


# Bias correction


@of_workload
@pytest.mark.parametrize(
    "stages", [[quantization(2)], [pruning(0.6)], [quantization(3, awq=True)], [SMOOTH, quantization(2), LOW_RANK]]
)
def test_mean_outputs_match_the_dense_ones_afterwards(workload: Any, stages: list[dict]) -> None:
    batches = list(forward_batches(workload, 10, seed=0))

    def shifts(more: list[dict]) -> dict[str, Tensor]:
        draft = Draft.of(workload)
        for stage in recipe(*stages, *more).stages:
            APPLY[type(stage)](draft, stage)
        layers = {name: own for name, own in draft.layers.items() if not isinstance(own, nn.Embedding)}
        return output_shifts(draft.reference, layers, batches)

    before, after = shifts([]), shifts([BIAS])
    assert before.keys() == after.keys()
    assert sum(float(shift.abs().max()) for shift in before.values()) > 0.01
    assert all(float(shift.abs().max()) < 1e-5 for shift in after.values())


def test_the_shift_is_the_weight_error_times_the_mean_input() -> None:
    workload = OfNet()
    variant = compress(workload, recipe(quantization(2), BIAS))
    inputs = noise(10, 12, seed=1_000_000) + 0.5
    error = workload.model.get_submodule("linear").weight - variant.model.get_submodule("linear").weight
    expected = error @ inputs.mean(0)
    torch.testing.assert_close(variant.model.get_submodule("linear").bias, expected, atol=1e-5, rtol=1e-4)


def test_layers_without_a_bias_get_one_that_ships() -> None:
    variant = compress(OfNet(), recipe(quantization(2), BIAS))
    assert variant.changes == (AddedBiases(("linear", "conv", "conv1d", "up", "grouped")),)
    arrived = shipped(variant)
    for name in ("linear", "up", "grouped"):
        assert same_bits(arrived.get_submodule(name).bias, variant.model.get_submodule(name).bias)


def test_there_must_be_something_to_correct() -> None:
    with pytest.raises(RecipeError, match=r"must come after a stage that changes weights, got tiny-vae .* Put it last"):
        compress(TinyVAE(), recipe(BIAS))


def test_layers_that_lost_channels_are_refused() -> None:
    stages = [{"kind": "channel-pruning", "pruning_ratio": 0.5, "refit": False}, BIAS]
    with pytest.raises(
        RecipeError, match=r"bias-correction compares layers of the dense model's shape, got .* in place of"
    ):
        compress(TinyVerses(), recipe(*stages))


# Cross-layer equalization


def test_valid_pairs_of_the_bundled_networks() -> None:
    verses = homogeneous_pairs(TinyVerses().model)
    assert ("encoder.0.feed.inner", "encoder.0.feed.outer") in verses
    assert ("decoder.0.cross_attention.v", "decoder.0.cross_attention.proj") in verses
    assert len(verses) == 2 + 3
    diffusion = homogeneous_pairs(TinyDiffusion().model)
    assert diffusion
    assert all(first.endswith("attention.v") for first, _ in diffusion)
    assert homogeneous_pairs(TinyVAE().model) == homogeneous_pairs(TinyGAN().model) == []


SEQUENCES = {
    "relu": (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), [("0", "2")]),
    "nothing": (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), [("0", "1")]),
    "leaky relu and dropout": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(), nn.Dropout(), nn.ConvTranspose2d(4, 2, 3)), [("0", "3")]
    ),
    "chain": (
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.Identity(), nn.Linear(5, 2)),
        [("0", "2"), ("2", "4")],
    ),
    "silu": (nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 2)), []),
    "norm": (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)), []),
    "groups": (nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2)), []),
    "flattened": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2)), []),
    "embedding": (nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)), []),
}  # fmt: skip


@pytest.mark.parametrize(("sequence", "pairs"), SEQUENCES.values(), ids=SEQUENCES)
def test_only_what_is_positively_homogeneous_may_lie_between(sequence: nn.Module, pairs: list[tuple[str, str]]) -> None:
    assert homogeneous_pairs(sequence) == pairs


def test_a_shared_weight_is_in_no_pair_and_a_network_may_declare_its_own() -> None:
    shared = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    shared[2].weight = shared[0].weight
    assert homogeneous_pairs(shared) == []
    beside = nn.ModuleDict({"s": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "t": nn.Linear(4, 4)})
    assert homogeneous_pairs(beside) == [("s.0", "s.1")]
    beside["t"].weight = beside["s"][1].weight
    assert homogeneous_pairs(beside) == []

    class Declared(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(width, 3)

        def homogeneous_pairs(self) -> list[tuple[str, str]]:
            return [("a", "b")]

    assert homogeneous_pairs(nn.ModuleDict({"inside": Declared(4)})) == [("inside.a", "inside.b")]
    assert homogeneous_pairs(Declared(8)) == []  # channels that don't correspond


@pytest.mark.parametrize("workload", [TinyDiffusion(), TinyVerses()], ids=lambda w: w.name)
def test_the_function_stays_the_same(workload: Any) -> None:
    variant = compress(workload, recipe(EQUALIZE))
    for first, second in homogeneous_pairs(workload.model):
        for name in (first, second):
            assert not torch.equal(variant.model.get_submodule(name).weight, workload.model.get_submodule(name).weight)
    for batch in forward_batches(workload, 10, seed=1):
        torch.testing.assert_close(batch.run(variant.model), batch.run(workload.model), atol=2e-5, rtol=1e-4)


def test_ranges_are_equal_afterwards_and_zeros_stay() -> None:
    """Nagel 2019, equation 11: the largest weights that make and that read a channel are equal."""
    model = randomise_(FeedForward(6, 9), 0)
    model.inner.weight[2] = 0.0
    model.outer.weight[:, 4] = 0.0
    model.inner.weight[0] *= 100
    before = model(noise(5, 6))
    pair = ("inner", "outer")
    scales = equalization_scales(weight_layers(model), [pair], rounds=1)
    assert scales[pair][2] == scales[pair][4] == 1
    equalize_pair_(model, pair, scales[pair])
    ahead, behind = model.inner.weight.abs().amax(1), model.outer.weight.abs().amax(0)
    free = [i for i in range(9) if i not in (2, 4)]
    torch.testing.assert_close(ahead[free], behind[free])
    torch.testing.assert_close(model(noise(5, 6)), before, atol=1e-5, rtol=1e-4)
    assert (model.inner.weight[2] == 0).all()


def test_a_chain_is_equal_in_all_its_pairs() -> None:
    model = randomise_(
        nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.ConvTranspose2d(5, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1)), 0
    )
    model[2].weight[0] *= 30
    x, pairs = noise(2, 2, 6, 6), homogeneous_pairs(model)
    before = model(x)
    for pair, scale in equalization_scales(weight_layers(model), pairs, rounds=100).items():
        equalize_pair_(model, pair, scale)
    torch.testing.assert_close(model(x), before, atol=1e-4, rtol=1e-3)
    largest = [model[0].weight.abs().amax((1, 2, 3)), model[2].weight.abs().amax((1, 2, 3))]
    torch.testing.assert_close(*largest, rtol=0.01, atol=0)
    largest = [model[2].weight.abs().amax((0, 2, 3)), model[4].weight.abs().amax((0, 2, 3))]
    torch.testing.assert_close(*largest, rtol=0.01, atol=0)


def test_it_makes_a_scale_per_tensor_fit_better() -> None:
    workload = TinyVerses()
    inner = workload.model.get_submodule("encoder.0.feed.inner")
    inner.weight[0] *= 50
    inner.bias[0] *= 50
    workload.model.get_submodule("encoder.0.feed.outer").weight[:, 0] /= 50
    per_tensor = quantization(4, granularity="tensor")
    x, dense = noise(40, 32), workload.model.get_submodule("encoder.0.feed")
    errors = [
        (compress(workload, recipe(*stages)).model.get_submodule("encoder.0.feed")(x) - dense(x)).square().sum()
        for stages in ([per_tensor], [EQUALIZE, per_tensor])
    ]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("workload", [TinyVAE(), TinyGAN()], ids=lambda w: w.name)
def test_a_network_without_pairs_is_refused(workload: Any) -> None:
    with pytest.raises(RecipeError, match=f"{workload.name} has none: norms or other activations lie between"):
        compress(workload, recipe(EQUALIZE))


def test_it_refuses_to_follow_what_fits_the_old_ranges() -> None:
    for stage in ({"kind": "activation-quantization", "calibration_samples": 2}, {**LOW_RANK, "rank": 2}):
        with pytest.raises(RecipeError, match="must come before activation-quantization and low-rank-correction"):
            compress(TinyVerses(), recipe(quantization(4), stage, EQUALIZE))


def test_quantized_weights_are_rounded_again_in_their_format() -> None:
    variant = compress(TinyVerses(), recipe(quantization(4), EQUALIZE))
    for name, own in variant.quantized.items():
        assert own.format.bits == 4
        assert same_bits(variant.model.get_submodule(name).weight, own.dequantize())


def test_biases_and_branches_are_compared_with_the_equalized_network() -> None:
    """The dense model's weights would be no reference for layers whose channels were scaled."""
    workload = TinyVerses()
    workload.model.get_submodule("encoder.0.feed.inner").weight[0] *= 50
    x, dense = noise(400, 32), workload.model.get_submodule("encoder.0.feed")
    stages = [EQUALIZE, quantization(6), {**LOW_RANK, "rank": 8}, BIAS]
    feed = compress(workload, recipe(*stages)).model.get_submodule("encoder.0.feed")
    assert (feed(x) - dense(x)).square().mean() < 0.01 * dense(x).square().mean()


def test_the_reference_follows_every_equalization() -> None:
    draft = Draft.of(TinyVerses())
    dense = {name: value.clone() for name, value in draft.workload.model.state_dict().items()}
    equalize_(draft, CrossLayerEqualization())
    for name in ("encoder.0.feed.inner", "decoder.0.feed.outer"):
        draft.mask_(name, noise(*draft.layers[name].weight.shape) > 0.5)
    equalize_(draft, CrossLayerEqualization())
    for pair in homogeneous_pairs(draft.model):
        for name in pair:
            weight, expected = (m.get_submodule(name).weight for m in (draft.model, draft.reference))
            torch.testing.assert_close(weight, torch.where(weight == 0, 0.0, expected))
    assert all(same_bits(value, dense[name]) for name, value in draft.workload.model.state_dict().items())


# AWQ in a network


def test_awq_divides_the_input_by_what_it_multiplies_the_weight_with() -> None:
    workload = OfNet()
    workload.model.get_submodule("linear").weight[:, 3] *= 5
    variant = compress(workload, recipe(quantization(8, awq=True, group_size=4)))
    for name in ("linear", "conv", "up"):
        layer, dense = variant.model.get_submodule(name), workload.model.get_submodule(name)
        x = noise(3, *{"linear": (12,), "conv": (4, 7, 7), "up": (4, 5, 5)}[name])
        torch.testing.assert_close(layer(x), dense(x), atol=0.05, rtol=0.05)
    arrived = shipped(variant)
    assert all(torch.equal(one, other) for one, other in zip(arrived(4, 1), variant.model(4, 1), strict=True))


def test_awq_on_unequal_inputs_has_a_lower_error_and_pays_for_its_scales() -> None:
    class Unequal(OfNet):
        def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
            x = noise(n, 12, seed=seed) * torch.tensor([30.0, 1, 1]).repeat(4)
            yield CalibrationBatch("all", {"all": n}, lambda model: model.linear(x))

    workload = Unequal()
    x = noise(300, 12) * torch.tensor([30.0, 1, 1]).repeat(4)
    plain, scaled = (compress(workload, recipe(quantization(3, awq=awq))) for awq in (False, True))
    dense = workload.model.get_submodule("linear")(x)
    errors = [(v.model.get_submodule("linear")(x) - dense).square().sum() for v in (plain, scaled)]
    assert errors[1] < 0.7 * errors[0]
    costs = {t.name: t.n_bytes for t in pack(scaled.model, scaled.quantized, scaled.changes).tensors}
    assert costs[f"linear.{BUFFER}"] == 4 * 12
    assert f"conv.{BUFFER}" not in costs  # never met: rounded to nearest


def test_gptq_after_awq_sees_the_divided_inputs() -> None:
    x = noise(64, 12, seed=3) * torch.tensor([30.0, 1, 1]).repeat(4) @ (torch.eye(12) + 0.3 * noise(12, 12, seed=4))

    class Unequal(OfNet):
        def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
            yield CalibrationBatch("all", {"all": n}, lambda model: model.linear(x))

    workload = Unequal()
    layer = compress(workload, recipe(quantization(3, awq=True, rounding="gptq"))).model.get_submodule("linear")
    scale = getattr(layer, BUFFER)
    weight, divided = workload.model.get_submodule("linear").weight * scale, x / scale
    nearest = quantize_weight(weight, IntegerFormat(3, symmetric=True))
    expected = round_by_gptq(weight, divided.T @ divided / 64, nearest)
    assert not torch.equal(expected.codes, nearest.codes)
    assert torch.equal(layer.weight, expected.dequantize())


def test_awq_leaves_a_shared_weight_alone() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.free = (nn.Linear(12, 12, bias=False) for _ in range(3))
            self.two.weight = self.one.weight

        def forward(self, n: int, seed: int) -> list[Tensor]:
            x = noise(n, 12, seed=seed) * torch.tensor([30.0, 1, 1]).repeat(4)
            return [self.one(x), self.two(x / 30), self.free(x)]

    class OfTied(OfNet):
        def __init__(self) -> None:
            Bare.__init__(self, randomise_(Tied(), 0), "tied")

    model = compress(OfTied(), recipe(quantization(3, awq=True))).model
    assert [hasattr(model.get_submodule(name), BUFFER) for name in ("one", "two", "free")] == [False, False, True]


def test_rounding_by_inputs_falls_back_where_there_are_none() -> None:
    nearest = compress(OfNet(), recipe(quantization(3))).quantized
    moved = set()
    for stage in (quantization(3, rounding="gptq"), quantization(3, rounding="adaround"), quantization(3, awq=True)):
        variant = compress(OfNet(), recipe(stage))
        moved |= {name for name, own in variant.quantized.items() if not torch.equal(own.codes, nearest[name].codes)}
    assert moved == {"linear", "conv", "conv1d", "up"}  # not: grouped, tokens


@pytest.mark.parametrize("rounding", ["gptq", "adaround"])
def test_rounding_lowers_the_layer_errors_of_a_workload(rounding: str) -> None:
    workload = TinyGAN()
    found = {r: compress(workload, recipe(quantization(3, rounding=r))) for r in ("nearest", rounding)}
    grams = input_statistics(workload.model, weight_layers(workload.model), forward_batches(workload, 64, seed=0))

    def errors(variant: Variant) -> Tensor:
        pairs = [(variant.model.get_submodule(name), workload.model.get_submodule(name)) for name in grams]
        moments = [own.gram for own in grams.values()]
        found = [layer_error(rows(a) - rows(b), gram).sum() for (a, b), gram in zip(pairs, moments, strict=True)]
        return torch.stack(found)

    ratios = errors(found[rounding]) / errors(found["nearest"])
    assert ratios.max() < 1
    assert ratios.mean() < 0.5


def test_inputs_that_are_not_finite_are_refused() -> None:
    class Broken(OfNet):
        def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
            yield CalibrationBatch("all", {"all": n}, lambda model: model.linear(torch.full((2, 12), torch.inf)))

    with pytest.raises(RecipeError, match="inputs of linear must be finite to quantize by"):
        compress(Broken(), recipe(quantization(3, rounding="gptq")))


def test_a_draft_remembers_what_was_rounded_and_forgets_what_it_cannot_know() -> None:
    draft = Draft.of(OfNet())
    variant = compress(OfNet(), recipe(quantization(4)))
    own, weight = variant.quantized["linear"], draft.layers["linear"].weight.clone()
    draft.quantize_("linear", own, of=weight)
    draft.mask_("linear", weight > 0)
    assert torch.equal(draft.rounded_from["linear"], weight)
    draft.quantize_("linear", own)
    assert torch.equal(draft.rounded_from["linear"], own.dequantize())
