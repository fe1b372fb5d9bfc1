"""What long benchmarks promise: they go on where they stopped, and tell a difference only where there is one."""

from pathlib import Path

import pytest

from benchmarks import recovery
from benchmarks.kept import kept
from benchmarks.order import PAIRS, verdict
from benchmarks.toolbox import configurations
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.recovery import TuningStage
from gencomp_core.recipes.stages import STAGES


def test_a_result_is_made_once_for_each_key(tmp_path: Path) -> None:
    made: list[str] = []

    def result_of(name: str) -> dict[str, object]:
        made.append(name)
        return {"name": name, "value": 0.5}

    for name in ("a", "b", "a"):
        assert kept(tmp_path / "cache", name, lambda name=name: result_of(name)) == {"name": name, "value": 0.5}  # type: ignore[misc]
    assert made == ["a", "b"]


def test_what_was_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> dict[str, object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path, "a", interrupted)
    assert kept(tmp_path, "a", lambda: {"value": 1}) == {"value": 1}


def test_without_a_folder_nothing_is_kept() -> None:
    assert [kept(None, "a", lambda n=n: {"n": n})["n"] for n in (1, 2)] == [1, 2]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("low", "high", "better", "told"),
    [
        (-0.1, 0.2, "lower", "tie"),
        (0.1, 0.3, "lower", "remove first"),
        (0.1, 0.3, "higher", "round first"),
        (-0.3, -0.1, "lower", "round first"),
        (-0.3, -0.1, "higher", "remove first"),
    ],
)
def test_an_order_wins_only_where_the_interval_leaves_out_zero(low: float, high: float, better: str, told: str) -> None:
    assert verdict({"value": (low + high) / 2, "low": low, "high": high}, better) == told


def test_the_toolbox_and_the_orders_are_valid_recipes_that_differ() -> None:
    for workload in ("verses-transformer", "fashion-vae"):
        recipes = [Recipe.from_dict({"stages": stages}) for stages in configurations(workload)]
        assert len({recipe.signature for recipe in recipes}) == len(recipes)
    for first, second in PAIRS:
        assert Recipe.from_dict({"stages": first + second}) != Recipe.from_dict({"stages": second + first})


def test_the_toolbox_measures_every_stage_that_does_not_train() -> None:
    plain = {kind for kind, stage in STAGES.items() if not issubclass(stage, TuningStage)}
    assert plain == {stage["kind"] for stages in configurations("verses-transformer") for stage in stages}


@pytest.mark.parametrize("workload", recovery.WORKLOADS)
def test_ways_to_recover_begin_with_what_they_recover_from(workload: str) -> None:
    for damage, ways in recovery.configurations(workload, 10):
        for stages in ways:
            assert stages[: len(damage)] == damage or "sparsity" in stages[0]
            assert STAGES[stages[-1]["kind"]].model_validate(stages[-1])
