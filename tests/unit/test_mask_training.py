"""Masks that change while the weights are trained."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.errors import RecipeError
from gencomp_core.recovery import tuning
from gencomp_core.recovery.mask_programs import cubic_sparsity, exchanged, rounds_of
from gencomp_core.variant import Variant, compress, compression_steps
from gencomp_core.workloads.calibration import CalibrationBatch
from tests.made_training import Drawn, all_same, held_out, reloaded, tuned
from tests.tiny import Bare, noise, pruning, quantization, recipe


def trained(kind: str, steps: int = 20, **fields: object) -> dict[str, Any]:
    """Plain form of a stage that prunes while it trains."""
    sparsity = {} if kind == "regrowth" else {"sparsity": 0.6}
    return {**tuned(steps), "kind": kind, **sparsity, **fields}


def sparsities(variant: Variant) -> dict[str, float]:
    """Fraction of zeros of each layer."""
    return {name: float((weight_of(own) == 0).double().mean()) for name, own in weight_layers(variant.model).items()}


def sizes(variant: Variant) -> dict[str, int]:
    return {name: weight_of(own).numel() for name, own in weight_layers(variant.model).items()}


KINDS = {
    "iterative": trained("iterative-pruning", rounds=4),
    "one-shot": trained("iterative-pruning", rounds=1, ramp=0),
    "rate rewound": trained("iterative-pruning", rounds=4, rewind="rate"),
    "weights rewound": trained("iterative-pruning", rounds=4, rewind="weights"),
    "movement": trained("movement-pruning", rounds=4),
    "hard concrete": trained("hard-concrete-pruning"),
    "l1": trained("regularized-pruning", penalty="l1"),
    "group lasso": trained("regularized-pruning", penalty="group-lasso"),
    "growing": trained("regularized-pruning", penalty="growing"),
}
of_kind = pytest.mark.parametrize("stage", KINDS.values(), ids=KINDS)


@given(t=st.floats(0, 1), first=st.floats(0, 0.9), rise=st.floats(0, 0.09))
def test_sparsity_rises_from_first_to_last(t: float, first: float, rise: float) -> None:
    last = first + rise
    value = cubic_sparsity(t, first=first, last=last)
    assert first - 1e-12 <= value <= last + 1e-12
    assert cubic_sparsity(0, first=first, last=last) == pytest.approx(first)
    assert cubic_sparsity(1, first=first, last=last) == last
    assert value <= cubic_sparsity(min(1, t + 0.1), first=first, last=last) + 1e-12


def test_it_rises_as_in_the_papers_figure() -> None:
    assert cubic_sparsity(0.5, first=0.0, last=0.8) == pytest.approx(0.7)  # 0.8 · (1 - 1/8)


@given(steps=st.integers(1, 200), ramp=st.floats(0, 0.999), rounds=st.integers(1, 50))
def test_the_last_round_is_whole_and_leaves_a_step(steps: int, ramp: float, rounds: int) -> None:
    schedule = rounds_of(steps, ramp, rounds)
    assert max(schedule) < steps
    assert schedule[max(schedule)] == 1.0
    assert list(schedule.values()) == sorted(schedule.values())


@of_kind
def test_every_layer_has_the_sparsity_that_was_asked_for(stage: dict[str, Any]) -> None:
    variant = compress(Drawn(), recipe({**stage, "layers": {"wide": {"sparsity": 0.25}}}))
    found, n = sparsities(variant), sizes(variant)
    assert found == {name: round((0.25 if name == "wide" else 0.6) * n[name]) / n[name] for name in n}
    assert all_same(reloaded(variant), variant.model)
    assert variant.curves[0][-1].figures["sparsity"] == pytest.approx(
        sum(found[name] * n[name] for name in n) / sum(n.values())
    )


@of_kind
def test_one_ranking_over_all_layers(stage: dict[str, Any]) -> None:
    variant = compress(Drawn(), recipe({**stage, "scope": "global"}))
    found, n = sparsities(variant), sizes(variant)
    assert sum(round(found[name] * n[name]) for name in n) == round(0.6 * sum(n.values()))
    assert len(set(found.values())) > 2


@of_kind
def test_zeros_from_before_stay_and_count(stage: dict[str, Any]) -> None:
    for before in ([pruning(0.4)], [pruning(0.4), quantization(4)], [quantization(4), pruning(0.4)]):
        start, variant = (compress(Drawn(), recipe(*before, *more)) for more in ([], [stage]))
        layers = weight_layers(start.model)
        only_pruned = weight_layers(compress(Drawn(), recipe(pruning(0.4))).model)
        for name, own in weight_layers(variant.model).items():
            zero = weight_of(own) == 0
            if before[-1]["kind"] == "magnitude-pruning" and len(before) == 1:
                assert bool(zero[weight_of(layers[name]) == 0].all()), name
            if before[0]["kind"] == "magnitude-pruning":
                assert bool(zero[weight_of(only_pruned[name]) == 0].all()), name
            if len(before) == 1:
                assert float(zero.float().mean()) == pytest.approx(0.6, abs=0.5 / zero.numel() + 1e-6)
        assert all_same(reloaded(variant), variant.model)


@of_kind
def test_it_goes_on_where_it_was_stopped(stage: dict[str, Any], monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    stages = recipe(pruning(0.2), quantization(4), stage)
    whole = compress(Drawn(), stages)
    monkeypatch.setenv("GENCOMP_HOME", str(home / "killed"))
    monkeypatch.setattr(tuning, "SAVE_EVERY_S", 0.0)
    steps = compression_steps(Drawn(), stages)
    for _ in itertools.islice(steps, 9):
        pass
    steps.close()
    again = compress(Drawn(), stages)
    assert all_same(again.model, whole.model)
    assert held_out(again) == held_out(whole)


def test_regrowth_goes_on_where_it_was_stopped_and_keeps_the_number_of_zeros(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    before = [pruning(0.6)]
    start = compress(Drawn(), recipe(*before))
    stages = recipe(*before, trained("regrowth", rounds=4, distillation=0))
    whole = compress(Drawn(), stages)
    assert sparsities(whole) == sparsities(start)
    moved = 0
    for name, own in weight_layers(whole.model).items():
        moved += int(((weight_of(own) == 0) != (weight_of(weight_layers(start.model)[name]) == 0)).sum())
    assert moved > 0
    monkeypatch.setenv("GENCOMP_HOME", str(home / "killed"))
    monkeypatch.setattr(tuning, "SAVE_EVERY_S", 0.0)
    steps = compression_steps(Drawn(), stages)
    for _ in itertools.islice(steps, 7):
        pass
    steps.close()
    assert all_same(compress(Drawn(), stages).model, whole.model)


def test_the_smallest_go_and_those_with_the_largest_gradient_come() -> None:
    mask = torch.tensor([True, True, True, False, False, False])
    magnitude = torch.tensor([3.0, 1.0, 2.0, 0.0, 0.0, 0.0])
    gradient = torch.tensor([9.0, 9.0, 9.0, 1.0, 3.0, 2.0])
    assert exchanged(mask, magnitude, gradient, 1).tolist() == [True, False, True, False, True, False]
    assert exchanged(mask, magnitude, gradient, 2).tolist() == [True, False, False, False, True, True]
    assert mask.tolist() == [True, True, True, False, False, False]


def test_regrowth_needs_zeros() -> None:
    with pytest.raises(RecipeError, match="regrowth must come after a stage that prunes single weights"):
        compress(Drawn(), recipe(trained("regrowth")))


def test_one_round_at_the_start_is_magnitude_pruning_and_tuning() -> None:
    one = compress(Drawn(), recipe(trained("iterative-pruning", rounds=1, ramp=0)))
    two = compress(Drawn(), recipe(pruning(0.6), tuned(20)))
    assert held_out(one)[-1] == pytest.approx(held_out(two)[-1], rel=1e-6)
    for name, own in weight_layers(one.model).items():
        assert torch.equal(weight_of(own) == 0, weight_of(weight_layers(two.model)[name]) == 0)


def test_tuning_ends_when_the_gain_fades() -> None:
    fields: dict[str, object] = {"rounds": 2, "ramp": 0.1, "checks": 20}
    patient = compress(Drawn(), recipe(trained("iterative-pruning", 60, **fields)))
    hasty = compress(Drawn(), recipe(trained("iterative-pruning", 60, min_gain=0.9, **fields)))
    assert patient.curves[0][-1].step == 60
    assert hasty.curves[0][-1].step < 20
    assert sparsities(hasty) == sparsities(patient)


def test_rewound_weights_begin_again_under_the_new_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, dict[str, torch.Tensor]] = {}
    step = tuning._Run._step_

    def watched(run: Any, number: int) -> None:
        run.program.before_step_(run.trainee, number)  # what the step does first, and does again
        seen[number] = {name: own.base.detach().clone() for name, own in run.trainee.weights.items()}
        step(run, number)

    monkeypatch.setattr(tuning._Run, "_step_", watched)
    compress(Drawn(), recipe(trained("iterative-pruning", rounds=2, ramp=0.5, rewind="weights")))
    dense = weight_layers(Drawn().model)
    assert all(torch.equal(seen[10][name], weight_of(own)) for name, own in dense.items())
    assert not any(torch.equal(seen[9][name], weight_of(own)) for name, own in dense.items())


class Regression(Bare):
    """A linear layer whose large weights should be zero, and whose small ones should be large."""

    def __init__(self) -> None:
        model = nn.Sequential(nn.Linear(8, 1, bias=False))
        model[0].weight = nn.Parameter(torch.tensor([[0.5] * 4 + [0.1] * 4]))
        super().__init__(model.eval().requires_grad_(False), "regression")
        self.wanted = torch.tensor([[0.0] * 4 + [1.0] * 4])

    def empty_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 1, bias=False))

    def forward_batches(self, n: int, *, seed: int) -> list[CalibrationBatch]:
        x = noise(n, 8, seed=seed)
        return [CalibrationBatch("all", {"all": n}, lambda model: model(x))]

    def loss_batches(self, n: int, *, seed: int) -> list[CalibrationBatch]:
        x = noise(n, 8, seed=seed)
        return [CalibrationBatch("all", {"all": n}, lambda model: (model(x) - x @ self.wanted.T).square().mean())]


def test_movement_keeps_what_training_wants_where_magnitude_keeps_what_was_large() -> None:
    fields: dict[str, object] = {
        "sparsity": 0.5, "distillation": 0, "batch_size": 64, "precision": "fp32", "learning_rate": 1e-3, "ramp": 0.5,
    }  # fmt: skip
    kept = {}
    for kind in ("movement-pruning", "iterative-pruning"):
        variant = compress(Regression(), recipe(trained(kind, 20, rounds=2, **fields)))
        kept[kind] = (variant.model[0].weight != 0)[0].tolist()  # type: ignore[index]
    assert kept["movement-pruning"] == [False] * 4 + [True] * 4
    assert kept["iterative-pruning"] == [True] * 4 + [False] * 4


def test_a_growing_penalty_shrinks_what_will_go_before_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    from gencomp_core.recovery.mask_programs import RisingSparsity

    seen: dict[str, float] = {}
    prune = RisingSparsity.prune_

    def watched(program: Any, trainee: Any, t: float) -> None:
        total = sum(float(own.base.detach().abs().sum()) for own in trainee.weights.values())
        prune(program, trainee, t)
        left = sum(float((own.base.detach() * own.mask).abs().sum()) for own in trainee.weights.values())
        seen[program.kind] = 1 - left / total

    monkeypatch.setattr(RisingSparsity, "prune_", watched)
    for penalty, strength in (("growing", 100.0), ("l1", 1e-6)):
        stage = trained("regularized-pruning", 60, penalty=penalty, strength=strength, learning_rate=1e-2)
        compress(Drawn(), recipe(stage))
    assert seen["growing"] < 0.7 * seen["l1"]
