"""Layers as two thin ones: the closed form, what gets smaller, and what later stages make of the factors."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.compression.calibration import input_matrix, rows_of
from gencomp_core.compression.factored import Factored, FactoredLayers
from gencomp_core.compression.factorization import balanced_factors, break_even, rank_for, whole_layers
from gencomp_core.errors import RecipeError
from gencomp_core.evaluate.cost import count_layer_macs, count_macs, count_params
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads.base import complete_settings
from gencomp_core.workloads.calibration import forward_batches
from tests.tiny import (
    Made,
    TinyDiffusion,
    TinyGAN,
    TinyVAE,
    TinyVerses,
    layers,
    noise,
    pruning,
    quantization,
    randomise_,
    recipe,
    same_bits,
)

KINDS = [
    (nn.Linear(12, 10), (5, 3, 12)),
    (nn.Linear(12, 10, bias=False), (5, 12)),
    (nn.Conv1d(8, 10, 3, padding=1, padding_mode="circular"), (2, 8, 7)),
    (nn.Conv2d(8, 10, 1), (2, 8, 5, 5)),
    (nn.Conv2d(8, 10, (3, 2), stride=2, padding=1, dilation=(1, 2)), (2, 8, 7, 6)),
    (nn.Conv3d(8, 10, (1, 3, 3), padding="same"), (2, 8, 3, 4, 5)),
    (nn.ConvTranspose1d(8, 10, 4, stride=2), (2, 8, 5)),
    (nn.ConvTranspose2d(8, 10, 4, stride=2, padding=1, output_padding=1), (2, 8, 5, 4)),
]
LAYERS = [(randomise_(layer, seed), shape) for seed, (layer, shape) in enumerate(KINDS)]
of_layer = pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
WORKLOADS = [TinyDiffusion(), TinyGAN(), TinyVAE(), TinyVerses()]
of_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)


def factoring(rank: int | None = None, **fields: object) -> dict[str, object]:
    given = {} if rank is None else {"rank": rank}
    return {"kind": "low-rank-factorization", "calibration_samples": 4, **given, **fields}


def made_of(layer: nn.Module, shape: tuple[int, ...]) -> Made:
    """A workload of one layer."""
    return Made(nn.Sequential(copy.deepcopy(layer)), noise(*shape, seed=1))


def output(workload: Any, model: nn.Module) -> Tensor:
    with torch.no_grad():
        return next(iter(forward_batches(workload, 2, seed=0))).run(model)


def factored(workload: Any, *stages: dict[str, object]) -> Variant:
    return compress(workload, recipe(*stages))


# The closed form


@of_layer
def test_two_thin_layers_are_the_layer_with_the_product_for_its_weight(
    layer: nn.Module, shape: tuple[int, ...]
) -> None:
    workload = made_of(layer, shape)
    made = factored(workload, factoring(3, weighting="none")).model[0]
    assert isinstance(made, Factored)
    summed = copy.deepcopy(layer)
    product = torch.tensordot(made.wide.weight.flatten(1), made.thin.weight, dims=([1], [_rank_dim(layer)]))
    summed.weight.copy_(product.transpose(0, 1) if _rank_dim(layer) else product)
    torch.testing.assert_close(made(workload.x), summed(workload.x), atol=1e-5, rtol=1e-4)


def _rank_dim(layer: nn.Module) -> int:
    return int("Transpose" in type(layer).__name__)


def _product(made: Factored) -> Tensor:
    return made.wide.weight.flatten(1) @ rows_of(made.thin)


@of_layer
@pytest.mark.parametrize("rank", [1, 3])
def test_what_is_lost_are_the_other_singular_values(layer: nn.Module, shape: tuple[int, ...], rank: int) -> None:
    """Eckart & Young 1936."""
    made = factored(made_of(layer, shape), factoring(rank, weighting="none")).model[0]
    rows = rows_of(layer)
    tail = torch.linalg.svdvals(rows)[rank:].square().sum()
    torch.testing.assert_close((rows - _product(made)).square().sum(), tail, atol=1e-5, rtol=1e-4)


@of_layer
def test_weighted_by_inputs_it_is_the_singular_values_of_the_output(layer: nn.Module, shape: tuple[int, ...]) -> None:
    workload = made_of(layer, shape)
    rows, x = rows_of(layer), input_matrix(layer, workload.x)
    assert x is not None
    tail = torch.linalg.svdvals(x @ rows.T)[3:].square().sum()
    lost = {}
    for weighting in ("inputs", "none"):
        made = factored(workload, factoring(3, weighting=weighting)).model[0]
        lost[weighting] = (x @ (rows - _product(made)).T).square().sum()
    torch.testing.assert_close(lost["inputs"], tail, atol=1e-3, rtol=1e-3)
    assert lost["inputs"] < lost["none"]


def test_the_rank_is_the_smallest_that_keeps_the_energy() -> None:
    energies = torch.tensor([1.0, 5.0, 3.0, 1.0])
    assert [rank_for(energies, share) for share in (0.3, 0.5, 0.51, 0.8, 0.85, 0.95)] == [1, 1, 2, 2, 3, 4]
    assert rank_for(torch.zeros(4), 0.9) == 1
    layer, shape = LAYERS[0]
    values = torch.linalg.svdvals(rows_of(layer)).square()
    made = factored(made_of(layer, shape), factoring(energy=0.6, weighting="none")).model[0]
    rank = made.thin.out_features
    assert float(values[: rank - 1].sum()) < 0.6 * float(values.sum()) <= float(values[:rank].sum())


def test_both_factors_have_channels_of_the_same_strength() -> None:
    wide, thin = balanced_factors(rows_of(LAYERS[0][0]), 4)
    torch.testing.assert_close(wide.norm(dim=0), thin.norm(dim=1))


# What gets smaller


@of_workload
def test_bytes_and_multiplications_fall_and_it_arrives_as_it_was(workload: Any) -> None:
    variant = factored(workload, factoring(energy=0.6))
    packed = pack(variant.model, variant.quantized, variant.changes)
    network = workload.empty_network()
    found = unpack_into(packed.content, network)
    assert found.changes == variant.changes
    state = network.state_dict()
    assert state.keys() == variant.model.state_dict().keys()
    assert all(same_bits(value, state[name]) for name, value in variant.model.state_dict().items())
    assert packed.size_bytes < 0.95 * pack(workload.model, {}).size_bytes
    assert count_params(variant.model)[0] < count_params(workload.model)[0]
    settings = complete_settings(workload)
    assert count_macs(workload, variant.model, settings) < count_macs(workload, workload.model, settings)
    assert torch.equal(output(workload, network.eval().requires_grad_(False)), output(workload, variant.model))


def test_multiplications_of_a_layer_are_those_of_its_factors() -> None:
    workload = TinyVAE()
    layer = workload.model.get_submodule("decoder.1")
    only = {"*": {"skip": True}, "decoder.1": {"rank": 4}}
    model = factored(workload, factoring(4, layers=only)).model
    settings = complete_settings(workload)
    macs = count_layer_macs(workload, model, settings)
    dense = count_layer_macs(workload, workload.model, settings)["decoder.1"]
    inner, outer = macs["decoder.1.thin"], macs["decoder.1.wide"]
    assert inner == dense * 4 // layer.out_channels
    assert outer == 14 * 14 * 4 * layer.out_channels


def test_a_layer_stays_whole_where_two_would_hold_more() -> None:
    layer = nn.Linear(12, 10)
    assert break_even(layer) == 5  # 5 · 22 = 110 < 120, 6 · 22 = 132
    network = nn.Sequential(layer, nn.Linear(10, 40))
    workload = Made(randomise_(network, 0), noise(3, 12))
    (change,) = factored(workload, factoring(7, weighting="none")).changes
    assert change == FactoredLayers({"1": 7})
    with pytest.raises(RecipeError, match=r"rank must be small enough to make a layer of made smaller, got 9. Write a"):
        factored(workload, factoring(9))
    with pytest.raises(RecipeError, match=r"energy must be small enough .*, got 0.9999"):
        factored(workload, factoring(energy=0.9999, weighting="none"))


def test_what_can_not_be_factored_has_a_reason() -> None:
    model = nn.ModuleDict({"layers": layers(), "thin": nn.Linear(50, 1), "whole": nn.Linear(50, 40)})
    offered, reasons = whole_layers(model)
    assert set(offered) == {"whole", *(f"layers.{name}" for name in ("linear", "conv1d", "conv2d", "transposed"))}
    assert "used outside" in reasons["layers.tokens"]
    assert "in 2 groups" in reasons["layers.grouped"]
    assert "so thin" in reasons["thin"]
    assert "is a Embedding" in whole_layers(nn.ModuleDict({"e": nn.Embedding(9, 9)}))[1]["e"]
    made = nn.ModuleDict({"whole": Factored(nn.Linear(50, 40), 12)})
    assert whole_layers(made) == ({}, dict.fromkeys(("whole.thin", "whole.wide"), "is a factor already"))


# With the other stages


@of_workload
def test_factors_are_rounded_pruned_and_driven_by_rounded_inputs_like_other_layers(workload: Any) -> None:
    activations = {"kind": "activation-quantization", "calibration_samples": 4, "keep_ends": False}
    variant = factored(workload, factoring(energy=0.6), pruning(0.3), quantization(8), activations)
    made = [name for name, module in variant.model.named_modules() if isinstance(module, Factored)]
    assert made
    assert {f"{name}.{part}" for name in made for part in ("thin", "wide")} <= variant.quantized.keys()
    network = workload.empty_network()
    unpack_into(pack(variant.model, variant.quantized, variant.changes).content, network)
    assert torch.equal(output(workload, network.eval().requires_grad_(False)), output(workload, variant.model))


def test_a_concatenated_input_keeps_its_two_ranges() -> None:
    workload = TinyDiffusion()
    activations = {"kind": "activation-quantization", "calibration_samples": 4}
    model = factored(workload, factoring(2), activations).model
    name = "up1.0.block.conv1"
    assert isinstance(model.get_submodule(name), Factored)
    assert len(model.get_submodule(f"{name}.thin").input_quantization) == 2


@pytest.mark.parametrize("workload", WORKLOADS[:3], ids=lambda workload: workload.name)
def test_channels_are_removed_through_factors(workload: Any) -> None:
    channels = {"kind": "channel-pruning", "pruning_ratio": 0.5, "refit": False}
    both = factored(workload, factoring(2, weighting="none"), channels)
    _, change = both.changes
    assert any(name.endswith((".thin", ".wide")) for name in change.kept)
    assert all("out" not in sides for name, sides in change.kept.items() if name.endswith(".thin"))
    network = workload.empty_network()
    unpack_into(pack(both.model, both.quantized, both.changes).content, network)
    assert torch.equal(output(workload, network.eval().requires_grad_(False)), output(workload, both.model))
    plain = {name.removesuffix(".wide").removesuffix(".thin") for name in change.kept}
    whole = compress(workload, recipe(channels)).changes[0]
    assert plain == set(whole.kept)


def test_heads_are_removed_through_factors() -> None:
    workload = TinyVerses()
    heads = {"kind": "head-pruning", "pruning_ratio": 0.5, "refit": False}
    _, change = factored(workload, factoring(4), heads).changes
    assert set(change.heads.values()) == {1}
    assert {len(change.kept[f"encoder.0.attention.{name}.wide"]["out"]) for name in "qkv"} == {16}
    assert len(change.kept["encoder.0.attention.proj.thin"]["in"]) == 16


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (quantization(4), "integers"),
        ({"kind": "smooth-quant", "calibration_samples": 2}, r"an input that another stage changes \(InputSmoother"),
    ],
)
def test_it_comes_before_what_is_fitted_to_the_whole_layer(before: dict[str, object], reason: str) -> None:
    with pytest.raises(RecipeError, match=rf"must come before stages that round .* with {reason}.*Move this stage up"):
        factored(TinyVAE(), before, factoring(2))


def test_bias_correction_after_it_says_which_layer_is_new() -> None:
    bias = {"kind": "bias-correction", "calibration_samples": 2}
    with pytest.raises(RecipeError, match=r"of the dense model, which has no .*\.thin\. Put this stage before"):
        factored(TinyVAE(), factoring(2), bias)


# The recipe and the file


def test_a_recipe_says_rank_or_energy() -> None:
    with pytest.raises(RecipeError, match=r"must say either rank or energy, got rank 3 and energy 0.5. Remove one"):
        recipe(factoring(3, energy=0.5))
    stage = Recipe.from_dict({"stages": [factoring(energy=0.5, layers={"out": {"rank": 2}})]}).stages[0]
    assert stage.for_layer("out").rank == 2  # type: ignore[union-attr]
    assert recipe(factoring(3)).title() == "factored (rank 3)"
    assert recipe(factoring(energy=0.5, weighting="none")).title() == "factored (0.5 of the energy, of weights)"


def test_damaged_changes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has no rank of 99"):
        FactoredLayers.restore({"ranks": {"out": 99}}).apply_(TinyVAE().empty_network())
    with pytest.raises(AttributeError):
        FactoredLayers.restore({"ranks": {"nothing": 1}}).apply_(TinyVAE().empty_network())


def test_making_the_change_draws_no_random_numbers() -> None:
    network = copy.deepcopy(TinyVAE().model)
    before = torch.get_rng_state()
    FactoredLayers({"out": 1}).apply_(network)
    assert torch.equal(torch.get_rng_state(), before)
