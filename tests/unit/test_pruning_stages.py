"""Pruning stages on whole models: patterns, calibration, composition, adaptive thresholds."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencomp_core.compression.adaptive_pruning import STEPS, furthest, outputs, relative_change
from gencomp_core.compression.allocation import erk_counts
from gencomp_core.compression.importance import lamp
from gencomp_core.compression.layers import is_transposed, to_rows, weight_layers
from gencomp_core.compression.masks import keep_largest, keep_largest_overall
from gencomp_core.compression.pruning import informative_batches
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches
from tests.tiny import (
    Bare,
    TinyDiffusion,
    TinyGAN,
    TinyVAE,
    TinyVerses,
    layers,
    pruning,
    quantization,
    randomise_,
    recipe,
    same_bits,
)

WORKLOADS = [TinyDiffusion(), TinyGAN(), TinyVAE(), TinyVerses()]


def wanda(sparsity: float = 0.5, **fields: Any) -> dict[str, Any]:
    return {"kind": "wanda-pruning", "sparsity": sparsity, "calibration_samples": 4, **fields}


def sparsegpt(sparsity: float = 0.5, **fields: Any) -> dict[str, Any]:
    return {"kind": "sparsegpt-pruning", "sparsity": sparsity, "calibration_samples": 4, **fields}


def gradient(sparsity: float = 0.5, **fields: Any) -> dict[str, Any]:
    return {"kind": "gradient-pruning", "sparsity": sparsity, "calibration_samples": 4, **fields}


def adaptive(change: float, **fields: Any) -> dict[str, Any]:
    return {"kind": "adaptive-pruning", "max_output_change": change, "calibration_samples": 2, **fields}


def patterned(kind: str, pattern: str = "2:4", **fields: Any) -> dict[str, Any]:
    calibration = {} if kind == "magnitude-pruning" else {"calibration_samples": 4}
    return {"kind": kind, "pattern": pattern, **calibration, **fields}


def network() -> nn.Sequential:
    """Two linear layers with an embedding and a convolution with groups between."""
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
    model.add_module("codes", nn.Embedding(5, 8))
    model.add_module("grouped", nn.Conv2d(4, 4, 3, groups=2))
    randomise_(model, 0)
    return model


@dataclass
class Small(Bare):
    """A network that is shown noise whose first column is large, and whose last one is always zero."""

    model: nn.Module = field(default_factory=network)
    name: str = "small"
    broken: bool = False

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        x = torch.randn(n * 16, 6, generator=torch.Generator().manual_seed(seed))
        x = x * torch.tensor([30.0, 1, 1, 1, 1, 0]) * (math.nan if self.broken else 1.0)

        def run(model: nn.Module) -> Tensor:
            return model[2](model[1](model[0](x)))  # type: ignore[index, operator, no-any-return]

        yield CalibrationBatch("all", {"all": n}, run)

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        for batch in self.forward_batches(n, seed=seed):
            yield CalibrationBatch("all", {"all": n}, lambda model, run=batch.run: run(model).square().mean())


def weights(variant: Variant) -> dict[str, Tensor]:
    return {name: layer.weight.detach() for name, layer in weight_layers(variant.model).items()}


def rows(variant: Variant) -> dict[str, Tensor]:
    found = weight_layers(variant.model)
    return {n: to_rows(layer.weight.detach(), transposed=is_transposed(layer)) for n, layer in found.items()}


def n_zeros(variant: Variant) -> int:
    return sum(int((weight == 0).sum()) for weight in weights(variant).values())


def message(stage: dict[str, Any]) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe(stage)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- every workload


@pytest.mark.parametrize(
    "stage", [wanda(), sparsegpt(), gradient(scope="layer"), patterned("sparsegpt-pruning")], ids=str
)
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_half_of_every_layer_is_zeroed(workload: Workload, stage: dict[str, Any]) -> None:
    variant = compress(workload, recipe(stage))
    for name, own in rows(variant).items():
        share = float((own == 0).float().mean())
        assert share == pytest.approx(0.5, abs=0.5 / min(own.shape[1], 4)), name


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_the_seed_draws_the_calibration_and_the_data_is_kept(workload: Workload) -> None:
    first, other = (compress(workload, recipe(sparsegpt()), seed=seed) for seed in (0, 1))
    assert any(not torch.equal(weight, weights(other)[name]) for name, weight in weights(first).items())
    assert sum(first.calibration[next(iter(first.calibration))].values()) == 4


# --- scopes that share one sparsity


@pytest.mark.parametrize("scope", ["global", "lamp", "erk"])
def test_the_network_as_a_whole_has_exactly_the_sparsity(scope: str) -> None:
    variant = compress(TinyVAE(), recipe(pruning(0.7, scope=scope)))
    assert n_zeros(variant) == round(0.7 * sum(weight.numel() for weight in weights(variant).values()))
    shares = {float((weight == 0).float().mean()) for weight in weights(variant).values()}
    assert max(shares) - min(shares) > 0.05


def test_lamp_and_erk_are_what_their_scores_and_counts_say() -> None:
    dense = weights(compress(TinyVAE(), recipe()))
    by_lamp, by_erk = (weights(compress(TinyVAE(), recipe(pruning(0.7, scope=scope)))) for scope in ("lamp", "erk"))
    keep = keep_largest_overall({name: lamp(weight) for name, weight in dense.items()}, 0.7)
    counts = erk_counts({name: weight.shape for name, weight in dense.items()}, 0.3)
    for name, weight in dense.items():
        assert torch.equal(by_lamp[name] != 0, keep[name])
        assert int(by_erk[name].count_nonzero()) == counts[name]
        assert torch.equal(by_erk[name] != 0, keep_largest(weight.abs(), 1 - counts[name] / weight.numel()))


@pytest.mark.parametrize("stage", [pruning(0.5, scope="lamp"), pruning(0.5, scope="erk"), gradient(scope="global")])
def test_layers_may_only_be_skipped_where_they_share_one_sparsity(stage: dict[str, Any]) -> None:
    line = message({**stage, "layers": {"*": {"sparsity": 0.1}}})
    assert f"layers may only skip layers when scope is '{stage['scope']}'" in line
    assert recipe({**stage, "layers": {"out": {"skip": True}}}).stages[0].for_layer("out") is None


# --- patterns


@pytest.mark.parametrize("kind", ["magnitude-pruning", "wanda-pruning", "sparsegpt-pruning"])
@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:3"])
def test_a_pattern_holds_in_every_full_group(kind: str, pattern: str) -> None:
    n, m = map(int, pattern.split(":"))
    for own in rows(compress(TinyVAE(), recipe(patterned(kind, pattern)))).values():
        full = own[:, : own.shape[1] // m * m].reshape(-1, m)
        assert ((full != 0).sum(1) == n).all()
        rest = own[:, own.shape[1] // m * m :]
        assert ((rest != 0).sum(1) == math.ceil(rest.shape[1] * n / m)).all()


def test_a_pattern_implies_the_sparsity() -> None:
    implied = recipe(patterned("magnitude-pruning"))
    assert implied.stages[0].sparsity == 0.5
    assert implied == recipe(pruning(0.5, pattern="2:4"))
    assert recipe(pruning(0.667, pattern="1:3")) == recipe(patterned("magnitude-pruning", "1:3"))
    assert implied.signature != recipe(pruning(0.5)).signature
    assert Recipe.from_text(implied.to_yaml()) == implied
    assert implied.title() == "2:4 magnitude"


def test_what_is_no_pattern_is_refused() -> None:
    for wrong in ("4:2", "2:2", "0:4", "2", "two:four", "2:4:8", "1:129", "1:1000", ""):
        line = message(patterned("wanda-pruning", wrong))
        assert f"stages[0].pattern must be N:M with 0 < N < M <= 128, got {wrong!r}. Write 2:4" in line
    assert "pattern must fit the sparsity, got '2:4', which is 0.5, and 0.6. Leave out" in message(
        pruning(0.6, pattern="2:4")
    )
    assert "scope must be 'layer' with a pattern" in message(patterned("magnitude-pruning", scope="global"))
    assert "group must be 'row' with a pattern" in message(patterned("wanda-pruning", group="layer"))


def test_an_override_of_pattern_or_sparsity_replaces_both() -> None:
    stage = recipe(
        patterned("magnitude-pruning", layers={"a": {"pattern": "1:4"}, "b": {"sparsity": 0.3}, "c": {"skip": True}})
    ).stages[0]
    assert [(own.sparsity, own.pattern) for own in map(stage.for_layer, "ab")] == [(0.75, "1:4"), (0.3, None)]
    assert stage.for_layer("c") is None
    assert stage.for_layer("other").pattern == "2:4"
    assert recipe(pruning(0.6, layers={"a": {"pattern": "2:4"}})).stages[0].for_layer("a").sparsity == 0.5


# --- Wanda and SparseGPT


@pytest.mark.parametrize("stage", [wanda(), sparsegpt()])
def test_what_the_input_makes_large_is_kept_and_what_it_never_uses_goes(stage: dict[str, Any]) -> None:
    own = weights(compress(Small(), recipe(stage)))["0"]
    assert (own[:, 0] != 0).all()
    assert (own[:, 5] == 0).all()


def test_a_layer_whose_input_is_always_zero_is_pruned_too() -> None:
    silent = network()
    silent[0].weight.zero_()  # type: ignore[operator]
    silent[0].bias.zero_()  # type: ignore[operator]
    variant = compress(Small(model=silent), recipe(sparsegpt()))
    assert int((weights(variant)["2"] == 0).sum()) == 64


@pytest.mark.parametrize("stage", [wanda(), sparsegpt()])
def test_layers_without_an_input_matrix_are_pruned_by_magnitude(stage: dict[str, Any]) -> None:
    found, simple = weights(compress(Small(), recipe(stage))), weights(compress(Small(), recipe(pruning(0.5))))
    assert same_bits(found["codes"], simple["codes"])
    assert same_bits(found["grouped"], simple["grouped"])
    assert not torch.equal(found["2"] == 0, simple["2"] == 0)


def test_wanda_compares_within_rows_or_over_the_layer() -> None:
    by_row, by_layer = (compress(TinyVAE(), recipe(wanda(0.5, group=group))) for group in ("row", "layer"))
    for name in rows(by_row).keys() - {"class_embedding", "out"}:  # `out` has one row
        assert (rows(by_row)[name] == 0).sum(1).unique().numel() == 1
        assert (rows(by_layer)[name] == 0).sum(1).unique().numel() > 1
        assert int((rows(by_layer)[name] == 0).sum()) == round(0.5 * rows(by_layer)[name].numel())


def test_wanda_only_masks_and_sparsegpt_updates() -> None:
    dense = weights(compress(TinyVAE(), recipe()))
    masked, updated = (weights(compress(TinyVAE(), recipe(stage))) for stage in (wanda(), sparsegpt()))
    for name, weight in dense.items():
        assert torch.equal(masked[name][masked[name] != 0], weight[masked[name] != 0])
    changed = [name for name, own in updated.items() if not torch.equal(own[own != 0], dense[name][own != 0])]
    assert set(changed) == dense.keys() - {"class_embedding"}


def test_sparsegpt_keeps_the_output_closer_than_wanda_and_magnitude() -> None:
    workload = TinyVAE()
    batches = list(forward_batches(workload, 64, seed=1))
    with torch.no_grad():
        dense = outputs(workload.model, batches)
        change = [
            relative_change(outputs(compress(workload, recipe(stage)).model, batches), dense)
            for stage in (sparsegpt(0.5, calibration_samples=128), wanda(0.5, calibration_samples=128), pruning(0.5))
        ]
    assert change == sorted(change)


@pytest.mark.parametrize("stage", [sparsegpt(0.6), patterned("sparsegpt-pruning"), wanda(0.6), gradient(0.6)], ids=str)
def test_masked_weights_stay_zero_and_count(stage: dict[str, Any]) -> None:
    before = weights(compress(TinyVAE(), recipe(pruning(0.4))))
    after = compress(TinyVAE(), recipe(pruning(0.4), stage))
    for name, weight in weights(after).items():
        assert (weight[before[name] == 0] == 0).all()
    if stage == sparsegpt(0.6):
        assert n_zeros(after) == sum(round(0.6 * weight.numel()) for weight in before.values())


def test_more_zeros_than_are_asked_for_stay() -> None:
    before = compress(TinyVAE(), recipe(pruning(0.8)))
    after = compress(TinyVAE(), recipe(pruning(0.8), sparsegpt(0.5)))
    assert n_zeros(after) == n_zeros(before)


@pytest.mark.parametrize("stage", [sparsegpt(), wanda(), gradient(), adaptive(9.0)], ids=str)
def test_quantized_layers_keep_their_integers(stage: dict[str, Any]) -> None:
    plain = compress(TinyVAE(), recipe(quantization(4, symmetric=False)))
    after = compress(TinyVAE(), recipe(quantization(4, symmetric=False), stage))
    for name, own in after.quantized.items():
        kept = ~own.zero_codes
        assert torch.equal(own.codes[kept], plain.quantized[name].codes[kept])
        assert same_bits(weights(after)[name], own.dequantize())
    assert n_zeros(after) > n_zeros(plain)


@pytest.mark.parametrize("stage", [sparsegpt(), patterned("wanda-pruning"), gradient(), adaptive(9.0)], ids=str)
def test_zeros_survive_quantization(stage: dict[str, Any]) -> None:
    pruned = weights(compress(TinyGAN(), recipe(stage)))
    both = compress(TinyGAN(), recipe(stage, quantization(4)))
    assert all((weights(both)[name][weight == 0] == 0).all() for name, weight in pruned.items())
    assert not any(torch.signbit(weight[weight == 0]).any() for weight in pruned.values())


@pytest.mark.parametrize("stage", [wanda(), sparsegpt()])
def test_inputs_that_are_not_finite_are_refused(stage: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"inputs of 0 must be finite .* Compress less before"):
        compress(Small(broken=True), recipe(stage))


# --- gradients


def losses(*values: tuple[str, float]) -> list[CalibrationBatch]:
    return [CalibrationBatch(stage, {}, lambda _, value=value: torch.tensor(value)) for stage, value in values]


def test_time_steps_with_little_loss_are_left_out() -> None:
    batches = losses(("t=0.9", 1.0), ("t=0.5", 0.06), ("t=0.1", 0.04), ("t=0.1", 0.05))
    model = nn.Identity()
    assert [batch.stage for batch in informative_batches(model, batches, 0.05)] == ["t=0.9", "t=0.5"]
    assert len(informative_batches(model, batches, 0.0)) == 4
    assert [batch.stage for batch in informative_batches(model, batches, 1.0)] == ["t=0.9"]


def test_losses_below_zero_are_no_errors_to_compare() -> None:
    batches = losses(("real", 1.0), ("fake", -3.0))
    assert informative_batches(nn.Identity(), batches, 0.9) == batches


def test_with_one_stage_no_pass_is_spent_on_comparing() -> None:
    def fail(model: nn.Module) -> Tensor:
        raise AssertionError

    batches = [CalibrationBatch("all", {}, fail)] * 2
    assert informative_batches(nn.Identity(), batches, 1.0) == batches


def test_uninformative_time_steps_change_the_mask_of_a_diffusion_model() -> None:
    every, some = (compress(TinyDiffusion(), recipe(gradient(min_relative_loss=m))) for m in (0.0, 1.0))
    assert len(every.calibration) == 10
    assert len(some.calibration) == 1
    assert any(not torch.equal(weight, weights(some)[name]) for name, weight in weights(every).items())


@pytest.mark.parametrize("workload", WORKLOADS[1:], ids=lambda workload: workload.name)
def test_global_gradient_pruning_has_exactly_the_sparsity(workload: Workload) -> None:
    variant = compress(workload, recipe(gradient(0.8, criterion="fisher")))
    assert n_zeros(variant) >= round(0.8 * sum(weight.numel() for weight in weights(variant).values()))


def test_a_workload_without_a_loss_is_told_so() -> None:
    with pytest.raises(RecipeError, match="tiny-layers has no training loss"):
        compress(Bare(model=layers()), recipe(gradient()))


# --- adaptive thresholds


def measured_change(workload: Workload, variant: Variant) -> float:
    batches = list(forward_batches(workload, 2, seed=0))
    with torch.no_grad():
        return relative_change(outputs(variant.model, batches), outputs(workload.model, batches))


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_the_output_changes_by_no_more_than_is_allowed(workload: Workload) -> None:
    variant = compress(workload, recipe(adaptive(0.05)))
    assert 0.005 < measured_change(workload, variant) <= 0.05
    assert n_zeros(variant) > 100


def test_a_larger_change_never_leaves_more_weights() -> None:
    before, zeros = set[tuple[str, int]](), []
    for change in (1e-6, 0.01, 0.03, 0.1, 0.3, 1.0, 100.0):
        variant = compress(TinyVAE(), recipe(adaptive(change)))
        gone = {(n, i) for n, w in weights(variant).items() for i in (w.flatten() == 0).nonzero()[:, 0].tolist()}
        assert before <= gone
        before = gone
        zeros.append(len(gone))
    assert zeros[0] < zeros[2] < zeros[4]


def test_layers_get_thresholds_of_their_own_and_never_more_than_the_most() -> None:
    stage = adaptive(0.1, max_sparsity=0.8, layers={"posterior": {"max_sparsity": 0.1}, "out": {"skip": True}})
    shares = {n: float((w == 0).float().mean()) for n, w in weights(compress(TinyVAE(), recipe(stage))).items()}
    assert shares["out"] == 0
    assert shares["posterior"] <= 0.1
    assert all(share <= 0.8 for share in shares.values())
    assert len(set(shares.values())) > 5
    everything = compress(TinyVAE(), recipe(adaptive(100.0, max_sparsity=0.8)))
    assert all(float((w == 0).float().mean()) == pytest.approx(0.8, abs=0.01) for w in weights(everything).values())


def test_what_the_output_hardly_shows_is_pruned_first() -> None:
    class Branches(nn.Module):
        """Two layers with the same weights, of which one is hardly heard."""

        def __init__(self) -> None:
            super().__init__()
            self.loud, self.quiet = nn.Linear(6, 8), nn.Linear(6, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.loud(x), self.quiet(x) / 100])

    model = Branches()
    randomise_(model, 0)
    model.quiet.load_state_dict(model.loud.state_dict())
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))

    class Heard(Small):
        def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
            yield CalibrationBatch("all", {"all": n}, lambda model: model(x))

    found = weights(compress(Heard(model=model), recipe(adaptive(0.01))))
    assert int((found["quiet"] == 0).sum()) == int(0.95 * 48)
    assert 0 < int((found["loud"] == 0).sum()) < 20


def test_it_takes_one_pass_a_layer_and_nine_more() -> None:
    class Counted(Small):
        passes = 0

        def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
            for batch in super().forward_batches(n, seed=seed):
                yield CalibrationBatch(batch.stage, batch.strata, self.counting(batch.run))

        def counting(self, run: Callable[[nn.Module], Tensor]) -> Callable[[nn.Module], Tensor]:
            def counted(model: nn.Module) -> Tensor:
                self.passes += 1
                return run(model)

            return counted

    workload = Counted()
    compress(workload, recipe(adaptive(0.1)))
    assert workload.passes == len(weight_layers(workload.model)) + 9


def test_what_earlier_stages_changed_counts() -> None:
    workload = TinyVAE()
    spent = measured_change(workload, compress(workload, recipe(pruning(0.5))))
    with pytest.raises(RecipeError, match="max_output_change must be at least what earlier stages changed.*Raise it"):
        compress(workload, recipe(pruning(0.5), adaptive(spent * 0.9)))
    more = compress(workload, recipe(pruning(0.5), adaptive(spent * 2)))
    assert measured_change(workload, more) <= spent * 2
    assert n_zeros(more) > sum(round(0.5 * weight.numel()) for weight in weights(more).values())


@pytest.mark.parametrize("last", [0, 1, 63, 126, 127])
def test_bisection_finds_the_last_step_that_is_allowed_in_seven_looks(last: int) -> None:
    looked: list[int] = []

    def allowed(step: int) -> bool:
        looked.append(step)
        return step <= last

    assert furthest(allowed, STEPS) == last
    assert len(looked) == 7


def test_allowing_more_never_stops_earlier_even_where_changes_go_up_and_down() -> None:
    changes = torch.rand(STEPS + 1, generator=torch.Generator().manual_seed(3)).tolist()
    found = [furthest(lambda step, most=most: changes[step] <= most, STEPS) for most in (0.1, 0.3, 0.5, 0.7, 0.9, 1)]
    assert found == sorted(found)
    assert found[-1] == STEPS
