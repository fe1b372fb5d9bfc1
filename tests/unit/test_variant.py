import pytest
import torch

from gencomp_core.compression.layers import is_transposed, weight_layers
from gencomp_core.errors import RecipeError
from gencomp_core.evaluate.cost import count_params
from gencomp_core.recipes.stages import STAGES
from gencomp_core.variant import APPLY, Variant, compress
from tests.tiny import Bare, TinyDiffusion, TinyVAE, layers, pruning, quantization, recipe, same_bits


def weights(variant: Variant) -> dict[str, torch.Tensor]:
    return {name: layer.weight for name, layer in weight_layers(variant.model).items()}


def sparsity_of(weight: torch.Tensor) -> float:
    return float((weight == 0).float().mean())


@pytest.mark.parametrize("workload", [TinyDiffusion(), TinyVAE(), Bare()], ids=lambda w: w.name)
def test_compressing_leaves_the_dense_model_alone(workload: Bare) -> None:
    before = {name: value.clone() for name, value in workload.model.state_dict().items()}
    compress(workload, recipe(pruning(0.5), quantization(3, symmetric=False), pruning(0.9, scope="global")))
    assert all(same_bits(value, before[name]) for name, value in workload.model.state_dict().items())


def test_the_empty_recipe_is_the_dense_model() -> None:
    workload = TinyDiffusion()
    variant = compress(workload, recipe())
    assert variant.quantized == {}
    assert variant.model is not workload.model
    dense = workload.model.state_dict()
    assert all(same_bits(value, dense[name]) for name, value in variant.model.state_dict().items())
    assert not variant.model.training


def test_a_variant_remembers_what_it_was_made_from() -> None:
    workload, of = TinyDiffusion(), recipe(pruning(0.5))
    variant = compress(workload, of, seed=7)
    assert (variant.workload, variant.recipe, variant.seed) == (workload, of, 7)


@pytest.mark.parametrize("of", [recipe(pruning(0.5)), recipe(quantization(4)), recipe(pruning(0.5), quantization(4))])
def test_the_same_recipe_and_seed_give_the_same_weights(of) -> None:
    first, second = (compress(TinyDiffusion(), of, seed=3).model.state_dict() for _ in range(2))
    assert all(same_bits(value, second[name]) for name, value in first.items())


def test_every_stage_can_be_applied() -> None:
    assert set(APPLY) == set(STAGES.values())


# --- layers


def test_a_shared_weight_is_compressed_once_under_its_first_name() -> None:
    names = list(weight_layers(layers()))
    assert names == ["tokens", "linear", "conv1d", "conv2d", "transposed", "grouped"]
    variant = compress(Bare(), recipe(quantization(2)))
    assert variant.model.head.weight is variant.model.tokens.weight


def test_only_ungrouped_transposed_convolutions_have_their_channels_second() -> None:
    found = {name: is_transposed(layer) for name, layer in weight_layers(layers()).items()}
    assert [name for name, transposed in found.items() if transposed] == ["transposed"]


def test_biases_and_norms_stay_dense() -> None:
    variant, dense = compress(Bare(), recipe(pruning(0.9), quantization(2))), layers().state_dict()
    kept = [name for name in dense if name.endswith("bias") or name.startswith("norm")]
    assert len(kept) > 6
    assert all(same_bits(variant.model.state_dict()[name], dense[name]) for name in kept)


def test_a_name_that_is_no_layer_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        compress(TinyDiffusion(), recipe(quantization(4, layers={"time_inn": {"bits": 8}})))
    line = str(caught.value)
    assert "weight-quantization: layers.time_inn must name a layer of tiny-diffusion, got 'time_inn'." in line
    assert "Did you mean 'time_in'?" in line
    assert "gencomp inspect tiny-diffusion" in line
    assert "\n" not in line


@pytest.mark.parametrize("stage", [pruning, quantization])
def test_both_stages_refuse_a_name_that_is_no_layer(stage) -> None:
    with pytest.raises(RecipeError, match="must name a layer of tiny-layers, got 'zzz'"):
        compress(Bare(), recipe(stage(0.5 if stage is pruning else 4, layers={"zzz": {"skip": True}})))


def test_a_shared_weight_can_only_be_named_by_its_first_name() -> None:
    with pytest.raises(RecipeError, match=r"layers\.head must name a layer"):
        compress(Bare(), recipe(pruning(0.5, layers={"head": {"skip": True}})))


def test_a_glob_that_fits_nothing_is_fine() -> None:
    plain = compress(Bare(), recipe(quantization(4)))
    globbed = compress(Bare(), recipe(quantization(4, layers={"attention*": {"skip": True}})))
    assert all(same_bits(weight, weights(globbed)[name]) for name, weight in weights(plain).items())


def test_overrides_hold_for_their_layer_alone() -> None:
    variant = compress(
        Bare(),
        recipe(pruning(0.5, layers={"conv*": {"sparsity": 0.2}, "conv2d": {"skip": True}, "linear": {"sparsity": 0}})),
    )
    found = {name: int((weight == 0).sum()) for name, weight in weights(variant).items()}
    sizes = {name: weight.numel() for name, weight in weights(variant).items()}
    expected = {"conv1d": 0.2, "conv2d": 0, "linear": 0}
    assert found == {name: round(expected.get(name, 0.5) * n) for name, n in sizes.items()}


def test_a_skipped_layer_keeps_its_floats() -> None:
    variant = compress(Bare(), recipe(quantization(4, layers={"conv*": {"skip": True}})))
    assert sorted(variant.quantized) == ["grouped", "linear", "tokens", "transposed"]
    assert same_bits(weights(variant)["conv1d"], layers().conv1d.weight)


def test_global_pruning_ranks_only_the_layers_it_does_not_skip() -> None:
    variant = compress(Bare(), recipe(pruning(0.5, scope="global", layers={"tokens": {"skip": True}})))
    others = [weight for name, weight in weights(variant).items() if name != "tokens"]
    assert sparsity_of(weights(variant)["tokens"]) == 0
    assert sum(int((w == 0).sum()) for w in others) == round(0.5 * sum(w.numel() for w in others))
    assert len({sparsity_of(weight) for weight in others}) > 1


def test_skipping_all_layers_does_nothing() -> None:
    for scope in ("layer", "global"):
        variant = compress(Bare(), recipe(pruning(0.5, scope=scope, layers={"*": {"skip": True}})))
        assert all(sparsity_of(weight) == 0 for weight in weights(variant).values())


# --- order


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("clipping", ["none", "mse"])
def test_quantizing_keeps_pruned_weights_at_zero(symmetric: bool, clipping: str) -> None:
    pruned = weights(compress(TinyDiffusion(), recipe(pruning(0.6))))
    both = compress(TinyDiffusion(), recipe(pruning(0.6), quantization(4, symmetric=symmetric, clipping=clipping)))
    for name, weight in weights(both).items():
        assert (weight[pruned[name] == 0] == 0).all()
        assert both.quantized[name].zero_codes.sum() >= (pruned[name] == 0).sum()


@pytest.mark.parametrize("symmetric", [True, False])
def test_pruning_quantized_weights_keeps_the_other_codes(symmetric: bool) -> None:
    stage = quantization(4, symmetric=symmetric, group_size=5)
    plain, pruned = compress(Bare(), recipe(stage)), compress(Bare(), recipe(stage, pruning(0.5)))
    for name, quantized in pruned.quantized.items():
        stays = ~quantized.zero_codes
        assert torch.equal(quantized.codes[stays], plain.quantized[name].codes[stays])
        assert torch.equal(quantized.scale, plain.quantized[name].scale)
        assert int((~stays).sum()) >= round(0.5 * stays.numel())
        assert same_bits(weights(pruned)[name], quantized.dequantize())


def test_the_order_of_stages_matters() -> None:
    first = compress(Bare(), recipe(pruning(0.5), quantization(3, clipping="mse")))
    second = compress(Bare(), recipe(quantization(3, clipping="mse"), pruning(0.5)))
    assert any(not torch.equal(weight, weights(second)[name]) for name, weight in weights(first).items())


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("then", [[], [quantization(4)], [quantization(3, symmetric=False)]])
def test_more_sparsity_never_means_more_non_zeros(scope: str, then: list[dict]) -> None:
    counts = [
        count_params(compress(TinyDiffusion(), recipe(pruning(s, scope=scope), *then)).model)[1]
        for s in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 3


def test_pruning_again_to_the_same_sparsity_changes_nothing() -> None:
    once, twice = compress(Bare(), recipe(pruning(0.4))), compress(Bare(), recipe(pruning(0.4), pruning(0.4)))
    assert all(same_bits(weight, weights(twice)[name]) for name, weight in weights(once).items())


def test_samples_change_with_the_weights_and_not_without() -> None:
    workload = TinyDiffusion()
    settings = {"steps": 2, "solver": "euler", "guidance": 1.0}
    dense, same, pruned = (
        workload.generate(compress(workload, of).model, 0, 2, seed=0, settings=settings)
        for of in (recipe(), recipe(pruning(0)), recipe(pruning(0.5)))
    )
    assert torch.equal(dense, same)
    assert not torch.equal(dense, pruned)
