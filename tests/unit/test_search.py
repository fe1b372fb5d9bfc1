"""The parts of the search: space, effects, promotion, proposals, and the loop over made-up figures."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.analysis.grid import Grid
from gencomp_core.analysis.pareto import hypervolume
from gencomp_core.analysis.search.effects import Outcome, expect, promising
from gencomp_core.analysis.search.loop import SearchPlan, search
from gencomp_core.analysis.search.promotion import Standing, beaten_by, possible_gains
from gencomp_core.analysis.search.proposals import Proposer, SamplerName
from gencomp_core.analysis.search.space import Space, default_grid
from gencomp_core.errors import EvaluationError, GridError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Estimate, Screening, Trial
from tests.tiny import pruning, quantization, recipe


def space_of(*stages: dict[str, object]) -> Space:
    return Space.of(Grid.from_dict({"stages": list(stages)}))


SPACE = space_of(
    {"kind": "magnitude-pruning", "sparsity": ["skip", 0.3, 0.5, 0.7], "scope": ["layer", "global"]},
    {"kind": "weight-quantization", "bits": ["skip", 8, 4, 3], "group_size": [None, 32]},
)


def exactly(value: float, *, off: float = 0.0) -> Estimate:
    return Estimate(value=value, low=value - off, high=value + off)


# Space


def test_a_space_holds_each_recipe_once_and_dense_where_every_stage_may_be_left_out() -> None:
    assert len(SPACE.recipes) == (1 + 3 * 2) * (1 + 3 * 2)
    assert Recipe().signature in SPACE.recipes
    assert recipe(pruning(0.5, scope="global"), quantization(4, group_size=32)).signature in SPACE.recipes


def test_a_point_of_the_space_stands_for_the_recipe_that_it_is_filed_under() -> None:
    for signature, point in SPACE.points.items():
        found = SPACE.canonical(point)
        assert found is not None
        assert found.signature == signature


def test_values_that_do_not_go_together_are_left_out() -> None:
    space = space_of({"kind": "weight-quantization", "bits": [1, 4], "clipping": ["none", "mse"]})
    assert {own.title() for own in space.recipes.values()} == {
        recipe(quantization(1)).title(),
        recipe(quantization(4)).title(),
        recipe(quantization(4, clipping="mse")).title(),
    }


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"stages": [quantization(4)]}, "grid: a search must have a choice, got none. Write a list: bits: [8, 4]."),
        (
            {"stages": [{"kind": "weight-quantization", "bits": [8, 4]}], "settings": {"steps": [4, 8]}},
            "grid: a search varies stages and nothing else, got settings. Remove it, or use 'gencomp sweep'.",
        ),
        ({"stages": [{"kind": "nonsense", "bits": [8, 4]}]}, "grid: stages[0].kind must be one of"),
    ],
)
def test_a_grid_that_cannot_be_searched_is_one_line(grid: dict[str, object], message: str) -> None:
    with pytest.raises(GridError) as refused:
        Space.of(Grid.from_dict(grid))
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("x", ["size_bytes", "macs", "latency_ms"])
def test_the_default_space_is_small_and_every_combination_is_a_recipe(x: str) -> None:
    space = Space.of(default_grid(x))
    assert 20 < len(space.recipes) <= 2000
    assert None not in [space.canonical(point) for point in space.points.values()]
    assert Recipe().signature in space.recipes


# Effects


def additive(own: Recipe) -> Outcome:
    """A world in which the model of effects is exact."""
    cost, damage = 1000.0, 0.0
    for stage in own.stages:
        fields = stage.model_dump()
        if stage.kind == "magnitude-pruning":
            cost *= 1.1 - fields["sparsity"]
            damage += 0.1 * 4 ** (5 * fields["sparsity"]) * (0.5 if fields["scope"] == "global" else 1.0)
        else:
            cost *= fields["bits"] / 32 * (1.2 if fields["group_size"] else 1.0)
            damage += 4.0 ** -fields["bits"] * (0.4 if fields["group_size"] else 1.0)
    return Outcome(cost, damage)


def test_effects_of_single_stages_tell_all_combinations_where_damages_add_up() -> None:
    alone = [own for own in SPACE.recipes.values() if len(own.stages) <= 1]
    expected = expect(SPACE.recipes.values(), {own: additive(own) for own in alone})
    for own in SPACE.recipes.values():
        assert expected[own] == pytest.approx(additive(own), rel=1e-9)


def test_a_value_that_was_tried_beside_others_tells_what_it_does_beside_more() -> None:
    alone = [recipe(), *(recipe(quantization(bits)) for bits in (8, 4, 3)), recipe(quantization(8, group_size=32))]
    untried = recipe(quantization(4, group_size=32))
    expected = expect([untried], {own: additive(own) for own in alone})[untried]
    assert np.log(expected) == pytest.approx(np.log(additive(untried)), abs=0.35)


def test_what_combinations_come_to_beyond_expectation_is_learned() -> None:
    alone = [own for own in SPACE.recipes.values() if len(own.stages) <= 1]
    both = [
        recipe(pruning(sparsity), quantization(bits)) for sparsity, bits in ((0.5, 8), (0.5, 4), (0.3, 4), (0.7, 8))
    ]

    def doubled(own: Recipe) -> Outcome:
        cost, damage = additive(own)
        return Outcome(cost * (2 if len(own.stages) == 2 else 1), damage)

    untried = recipe(pruning(0.7), quantization(3))
    expected = expect([untried], {own: doubled(own) for own in alone + both})[untried]
    assert expected.cost == pytest.approx(doubled(untried).cost, rel=0.1)
    assert expected.damage == pytest.approx(doubled(untried).damage, rel=0.1)


def test_a_stage_of_which_nothing_is_known_promises_nothing() -> None:
    tried = {recipe(): Outcome(1000, 0.0), recipe(quantization(4)): Outcome(125, 0.1)}
    assert expect([recipe(pruning(0.5))], tried).keys() == tried.keys()
    assert promising([recipe(pruning(0.5)), recipe(quantization(4))], tried) == []


# Promotion


def test_a_cheaper_one_dominates_when__is_below_the_optimistic_end() -> None:
    cheap, dear = Standing(1, exactly(5, off=1)), Standing(2, exactly(6.5, off=1))
    assert beaten_by([cheap, dear]) == [None, 0]
    assert beaten_by([cheap, Standing(2, exactly(5.9, off=1))]) == [None, None]  # its optimistic end reaches below
    assert beaten_by([Standing(3, exactly(0)), dear]) == [None, None]  # not cheaper


def test_the_metric_overrules_damage_only_where_it_is_sure() -> None:
    cheap = Standing(1, exactly(5), exactly(3, off=1))
    assert beaten_by([cheap, Standing(2, exactly(9), exactly(2.5, off=1))]) == [None, 0]  # says nothing for certain
    assert beaten_by([cheap, Standing(2, exactly(9), exactly(0.5, off=1))]) == [None, None]  # surely better after all
    assert beaten_by([cheap, Standing(2, exactly(1), exactly(5, off=1))]) == [
        None,
        0,
    ]  # surely worse, whatever the damage


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=9))
def test_what_beats_others_is_beaten_by_none_that_costs_less_or_there_is_a_survivor(
    rows: list[tuple[int, int, int]],
) -> None:
    standings = [Standing(cost, exactly(value, off=off)) for cost, value, off in rows]
    beaten = beaten_by(standings)
    assert None in beaten  # the one with the least damage at the least cost stays
    for own, by in zip(standings, beaten, strict=True):
        if by is not None:
            assert standings[by].cost <= own.cost
            assert standings[by].damage.value < own.damage.low


def test_equal_ones_do_not_beat_each_other() -> None:
    assert beaten_by([Standing(1, exactly(5)), Standing(1, exactly(5))]) == [None, None]


def test_a_possible_gain_is_the_area_at_the_loss_that_the_damage_lets_hope_for() -> None:
    measured = [(10.0, 0.0, exactly(0.0)), (4.0, 1.0, exactly(2.0, off=0.5))]
    gains, now = possible_gains([(7.0, 0.5), (2.0, 2.0)], measured, reference=(10.0, 10.0))
    assert now == (10 - 4) * (10 - 2)
    between = (10 - 7) * (2.0 - 1.75 / 2)  # half-way from 2 to the optimistic 1.5, at half of the damage
    beyond = (4 - 2) * (10 - 2 * 1.75)  # twice of that, below the cheapest
    assert gains == pytest.approx([between, beyond])


# Proposals


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_a_sampler_asks_for_what_was_not_tried_until_nothing_is_left(sampler: SamplerName) -> None:
    space = space_of({"kind": "weight-quantization", "bits": [8, 6, 4, 3], "group_size": [None, 32]})
    proposer, tried = Proposer(space, seed=0, sampler=sampler), set[str]()
    while (asked := proposer.ask(tried)) is not None:
        assert asked.signature not in tried
        tried.add(asked.signature)
        proposer.tell(asked, additive(asked))
    assert tried == set(space.recipes)


def test_equal_seeds_ask_for_equal_recipes() -> None:
    def asked(seed: int) -> list[str]:
        proposer, tried = Proposer(SPACE, seed=seed), list[str]()
        for _ in range(15):
            own = proposer.ask(set(tried))
            assert own is not None
            proposer.tell(own, additive(own))
            tried.append(own.signature)
        return tried

    assert asked(0) == asked(0)
    assert asked(0) != asked(1)


def test_a_recipe_from_outside_of_the_space_is_not_told() -> None:
    told, untold = Proposer(SPACE, seed=0), Proposer(SPACE, seed=0)
    told.tell(recipe(quantization(2)), Outcome(1, 1))
    assert told.ask(set()) == untold.ask(set())


# The loop


@dataclass
class World:
    """Figures of a formula, with the damage as loss; remembers what was asked."""

    outcome: Callable[[Recipe], Outcome] = additive
    noise: float = 0.02
    broken: frozenset[str] = frozenset()
    asked: list[tuple[int, str]] = field(default_factory=list)

    def screen(self, own: Recipe, n_samples: int) -> Screening:
        return self._found(own, n_samples)

    def measure(self, own: Recipe) -> Screening:
        return self._found(own, 100)

    def _found(self, own: Recipe, n: int) -> Screening:
        self.asked.append((n, own.signature))
        if own.signature in self.broken:
            raise EvaluationError("it can't be measured")
        cost, damage = self.outcome(own)
        return Screening(
            signature=own.signature,
            workload="made",
            title=own.title(),
            n_samples=n,
            costs={"size_bytes": cost},
            quality=exactly(50 - 10 * damage),
            change=exactly(-10 * damage, off=self.noise if n == 100 else 5.0) if damage else exactly(0),
            damage=exactly(damage, off=damage / 20),
            seconds=1.0,
        )


def plan(**changes: object) -> SearchPlan:
    return SearchPlan(**{"metric": "bleu", "x": "size_bytes", "rungs": (20, 100), "trials": 30, **changes})  # type: ignore[arg-type]


def area(recipes: Iterable[Recipe]) -> float:
    outcomes = [additive(own) for own in recipes]
    cost, loss = np.array([log2(own.cost) for own in outcomes]), np.array([10 * own.damage for own in outcomes])
    return hypervolume(cost, loss, reference=(log2(1000), 10.0))


def full(trials: list[Trial]) -> list[Recipe]:
    return [Recipe.from_dict(trial.recipe) for trial in trials if trial.verdict == "full"]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("n_trials", "share"), [(30, 0.96), (49, 0.99)])
def test_a_search_finds_most_of_the_area_with_a_fifth_of_the_measurements(
    n_trials: int, share: float, seed: int
) -> None:
    trials = list(search(SPACE, World(), plan(seed=seed, trials=n_trials)))
    assert area(full(trials)) >= share * area(SPACE.recipes.values())
    assert len(full(trials)) <= len(SPACE.recipes) / 5


def test_a_search_takes_the_same_steps_again() -> None:
    assert list(search(SPACE, World(), plan())) == list(search(SPACE, World(), plan()))
    assert list(search(SPACE, World(), plan())) != list(search(SPACE, World(), plan(seed=1)))


def test_dense_is_the_first_trial_and_every_configuration_ends_with_one_verdict() -> None:
    trials = list(search(SPACE, World(), plan()))
    assert [trial.verdict for trial in trials if trial.title == "dense"] == ["promoted", "full"]
    assert {trial.number for trial in trials[:2]} == {0}
    last = {trial.number: trial.verdict for trial in trials}
    assert len(last) == 30
    assert set(last.values()) == {"full", "dropped"}
    assert all(trial.reason for trial in trials if trial.verdict == "dropped")


def test_nothing_is_asked_twice_at_one_count() -> None:
    world = World()
    list(search(SPACE, world, plan()))
    assert len(world.asked) == len(set(world.asked))


def test_what_is_dropped_is_surely_beaten_or_too_small_a_gain() -> None:
    trials = list(search(SPACE, World(), plan()))
    standing = {trial.number: trial for trial in trials if trial.rung == 0 and trial.found}
    for trial in trials:
        if trial.verdict == "dropped" and "surely better" in str(trial.reason):
            by = standing[int(str(trial.reason).split()[1])]
            assert by.cost is not None and trial.cost is not None
            assert by.cost <= trial.cost
            assert by.found and by.found.damage and trial.found and trial.found.damage
            assert by.found.damage.value < trial.found.damage.low


def test_one_that_fails_is_told_and_the_search_goes_on() -> None:
    broken = recipe(pruning(0.5)).signature
    trials = list(search(SPACE, World(broken=frozenset({broken})), plan(trials=60)))
    (failed,) = [trial for trial in trials if trial.verdict == "failed"]
    assert failed.title == recipe(pruning(0.5)).title()
    assert (failed.reason, failed.cost, failed.found) == ("it can't be measured", None, None)
    assert len({trial.number for trial in trials}) == 49  # all there are


def test_a_dense_model_that_fails_ends_the_search() -> None:
    trials = list(search(SPACE, World(broken=frozenset({Recipe().signature})), plan()))
    assert [trial.verdict for trial in trials] == ["failed"]


def test_given_recipes_are_tried_first_even_from_outside_of_the_space() -> None:
    own = recipe(quantization(5))
    trials = list(search(SPACE, World(), plan(first=(own,))))
    assert next(trial for trial in trials if trial.number == 1).title == own.title()


def test_no_time_means_dense_alone() -> None:
    trials = list(search(SPACE, World(), plan(seconds=0.0)))
    assert {trial.title for trial in trials} == {"dense"}


def test_a_space_smaller_than_the_trials_is_tried_whole() -> None:
    small = space_of({"kind": "weight-quantization", "bits": [8, 4, 3]})
    assert {trial.title for trial in search(small, World(), plan())} == {
        "dense",
        *(own.title() for own in small.recipes.values()),
    }


def test_more_rungs_ask_more_samples_of_fewer_configurations() -> None:
    world = World(noise=0.5)
    list(search(SPACE, world, plan(rungs=(20, 50, 100))))
    counts = [len([n for n, _ in world.asked if n == rung]) for rung in (20, 50, 100)]
    assert counts == sorted(counts, reverse=True)
    assert 0 < counts[1] < counts[0]


def test_a_world_without_loss_is_measured_all_the_same() -> None:
    trials = list(search(SPACE, World(outcome=lambda own: Outcome(additive(own).cost, 0.0)), plan(trials=10)))
    assert {trial.verdict for trial in trials} <= {"full", "promoted", "dropped"}
    assert len(full(trials)) >= 2
