"""Recovery studies: what a recipe recovers from, its rung, its curves, and what is told from them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.analysis.recovery_curves import damage_of, damaged_by, held_out_gap, points_of, rung_of, trains
from gencomp_core.analysis.recovery_planning import Decay, fit, forecast, misses
from gencomp_core.errors import PlanError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Estimate, TrainingRecord
from gencomp_core.records.recovery import RecoveryPoint, RecoveryRun
from gencomp_core.services.recoveries import plan_recovery, recorded
from gencomp_core.store import Store
from tests.tiny import pruning, quantization, recipe

TUNED = {"kind": "fine-tune", "steps": 10}
QAT = {"kind": "quantization-aware-training", "steps": 10}


def made(decay: Decay, *, seconds: float = 60.0, seed: int = 0, rung: str = "everything") -> RecoveryRun:
    """A run whose curve follows a decay exactly: from 2.0 towards a dense model's 1.0."""
    times = [seconds * i / 8 for i in range(9)]
    points = [
        RecoveryPoint(step=10 * i, seconds=t, held_out=2 - decay.recovered(t)) for i, t in enumerate(times)
    ]  # fmt: skip
    nothing = Estimate(value=0.0, low=0.0, high=0.0)
    return RecoveryRun(
        workload="some", weights_hash="0", title="some", recipe={"rung": rung}, seed=seed, damage_title="half",
        damage={}, damaged_by="pruned", rung=rung, points=tuple(points), dense_held_out=1.0, damaged_held_out=2.0,
        metric="fid", dense_value=1.0, n_samples=10, damaged=nothing, recovered=nothing, quality=nothing,
        size_bytes=1, dense_size_bytes=2, signature="0", machine="here",
    )  # fmt: skip


def test_what_is_left_without_training_is_the_damage() -> None:
    masks = {"kind": "iterative-pruning", "sparsity": 0.6, "steps": 5, "layers": {"a": {"skip": True}}}
    assert damage_of(recipe(pruning(0.5), TUNED, quantization(4), QAT)) == recipe(pruning(0.5), quantization(4))
    assert damage_of(recipe(masks)) == recipe(pruning(0.6, scope="layer", layers={"a": {"skip": True}}))
    assert not trains(damage_of(recipe(masks, TUNED)))


@pytest.mark.parametrize(
    ("stages", "kind", "rung"),
    [
        ([pruning(0.5), TUNED], "pruned", "everything"),
        ([quantization(4), QAT], "quantized", "quantization-aware training"),
        (
            [pruning(0.5), TUNED, quantization(4), QAT],
            "pruned and quantized",
            "quantization-aware training after 1 more",
        ),
        ([{"kind": "channel-pruning", "pruning_ratio": 0.3}, TUNED], "restructured", "everything"),
        ([{**TUNED, "distillation": 0}], "none", "everything, no teacher"),
        ([{"kind": "movement-pruning", "sparsity": 0.5}], "pruned", "movement pruning"),
    ],
)  # fmt: skip
def test_damage_and_rung_have_names(stages: list[dict[str, object]], kind: str, rung: str) -> None:
    chosen = recipe(*stages)
    assert damaged_by(damage_of(chosen)) == kind
    assert rung_of(chosen) == rung


def test_two_tunings_make_one_curve_and_only_the_end_of_it_counts() -> None:
    def look(step: int, sparsity: float) -> TrainingRecord:
        return TrainingRecord(step, 10, step / 2, 1e-3, 1.0, {"held_out": 1.0, "sparsity": sparsity})

    first, second = [look(0, 0.5), look(10, 0.5)], [look(0, 0.5), look(5, 0.7), look(10, 0.8)]
    points = points_of([first, second])
    assert [point.step for point in points] == [0, 10, 10, 15, 20]
    assert [point.seconds for point in points] == [0, 5, 5, 7.5, 10]
    assert [point.counts for point in points] == [False, False, False, False, True]


def test_a_gap_is_of_the_best_state_so_far() -> None:
    run = made(Decay(10.0, 1.0))
    worse = run.points[-1].model_copy(update={"seconds": 70.0, "held_out": 9.0})
    gaps = held_out_gap(run.model_copy(update={"points": (*run.points, worse)}))
    assert gaps[0] == (0.0, 0.0)
    assert gaps[-1] == (70.0, gaps[-2][1])


@given(tau=st.floats(2.0, 60.0), beta=st.floats(0.2, 2.0))
def test_a_fit_finds_the_law_that_made_the_curve(tau: float, beta: float) -> None:
    law = Decay(tau, beta)
    found = fit(held_out_gap(made(law)))
    assert all(abs(found.recovered(t) - law.recovered(t)) < 0.02 for t in (5.0, 30.0, 60.0, 120.0))


def test_a_forecast_is_what_equal_runs_gave_and_longer_never_gives_less() -> None:
    runs = [made(Decay(10.0, 1.0), seed=seed) for seed in range(3)] + [made(Decay(100.0, 1.0), rung="low-rank")]
    best, second = forecast(runs, 60.0, damaged_by="pruned")
    assert (best.rung, best.n_curves, best.steps) == ("everything", 3, 80)
    assert best.gap.value == pytest.approx(6 / 7, abs=0.01)
    assert best.gap.low <= best.gap.value <= best.gap.high <= 1
    assert second.gap.value < best.gap.value
    longer = forecast(runs, 120.0, damaged_by="pruned")[0]
    assert longer.gap.value > best.gap.value
    assert forecast(runs, 600.0)[0].beyond
    assert not forecast(runs, 60.0, damaged_by="quantized")[0].same_damage


def test_an_interval_is_as_wide_as_runs_differ() -> None:
    alike = [made(Decay(10.0, 1.0), seed=seed) for seed in range(3)]
    apart = [made(Decay(10.0 * 3**seed, 1.0), seed=seed) for seed in range(3)]

    def width(runs: Sequence[RecoveryRun]) -> float:
        gap = forecast(runs, 60.0, damaged_by="pruned")[0].gap
        return gap.value - gap.low

    assert width(alike) < 0.05 < width(apart)
    assert width(alike[:1]) == 1.0  # one run tells nothing of how far off it is


def test_most_recorded_curves_end_inside_what_the_others_tell() -> None:
    """Each recorded curve is left out in turn, and told from the others of its workload."""
    names = {run.workload for run in recorded()}
    inside, total = 0, 0
    for name in names:
        runs = [run for run in recorded() if run.workload == name]
        for run in runs:
            rest = [own for own in runs if own.id != run.id]
            own = [row for row in forecast(rest, run.seconds, damaged_by=run.damaged_by) if row.rung == run.rung]
            if own and own[0].same_damage and held_out_gap(run) and misses(rest, same=True):
                end = held_out_gap(run)[-1][1]
                inside += own[0].gap.low <= end <= own[0].gap.high
                total += 1
    assert total >= 6
    assert inside / total >= 0.8


def test_a_workload_without_curves_is_told_how_to_make_one(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 's.db'}")
    with pytest.raises(PlanError, match=r"none of plugin:a:b\. Make one: 'gencomp recover plugin:a:b --recipe FILE'"):
        plan_recovery(store, "plugin:a:b", 5.0)
    with pytest.raises(PlanError, match=r"minutes must be in \(0, 10000\], got 0"):
        plan_recovery(store, "fashion-vae", 0, recipe=Recipe())
