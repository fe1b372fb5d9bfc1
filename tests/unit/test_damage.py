"""Damage of any option from scored ones, and what damage means for quality."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gencomp_core.analysis.planning.damage import Damages, LayerDamage, is_milder, monotone
from gencomp_core.analysis.planning.quality_map import LEAST_PAIRS, Pair, QualityMap
from gencomp_core.records import Estimate, LayerOption, LayerScore

GRID = [
    LayerOption(sparsity=s, **own)
    for s in (0.0, 0.3, 0.6)
    for own in ({}, {"bits": 8}, {"bits": 4}, {"bits": 4, "group_size": 16}, {"bits": 2, "symmetric": False})
]


def score(option: LayerOption, damage: float, *, layer: str = "a", **changes: object) -> LayerScore:
    fields = {
        "layer": layer, "option": option, "method": "fisher", "size_bytes": 1, "dense_size_bytes": 4,
        "damage": Estimate(value=damage, low=damage, high=damage),
    } | changes  # fmt: skip
    return LayerScore(**fields)


@given(st.lists(st.floats(-1, 1e3), min_size=len(GRID), max_size=len(GRID)))
def test_more_compression_of_a_layer_never_counts_as_better(found: list[float]) -> None:
    fitted = monotone(GRID, found)
    assert (fitted >= 0).all()
    for i, first in enumerate(GRID):
        for j, second in enumerate(GRID):
            if is_milder(first, second):
                assert fitted[i] <= fitted[j]


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=9))
def test_the_fit_is_the_nearest_monotone_one_in_its_largest_difference(found: list[float]) -> None:
    chain = [LayerOption(sparsity=(number + 1) / 10) for number in range(len(found))]
    worst_fall = max(found[i] - found[j] for i in range(len(found)) for j in range(i, len(found)))
    assert np.abs(monotone(chain, found) - found).max() == pytest.approx(max(0.0, worst_fall / 2), abs=1e-9)


def test_what_is_monotone_already_stays() -> None:
    damages = [0.0, 0.1, 0.5, 0.4, 2.0]
    assert monotone(GRID[:5], damages).tolist() == damages


def test_scores_of_other_methods_directions_and_positions_are_left_out() -> None:
    option = LayerOption(bits=4)
    scores = [
        score(option, 1.0), score(option, 9.0, position="t=0.5"), score(option, 9.0, method="proxy"),
        score(option, 9.0, direction="all-but-this"), score(LayerOption(bits=2), math.inf),
    ]  # fmt: skip
    known = Damages.of(scores)
    assert known.of_layer("a", option) == 1.0
    assert list(known.layers["a"].scored) == [option]
    assert known.of_layer("b", option) is None
    assert known.of_layer("b", LayerOption()) == 0.0


def test_pruning_and_rounding_that_were_not_scored_together_add_up() -> None:
    damage = LayerDamage({LayerOption(sparsity=0.5): 2.0, LayerOption(bits=4): 3.0})
    assert damage.of(LayerOption(sparsity=0.5, bits=4)) == 5.0
    assert LayerOption(sparsity=0.5, bits=4) in damage.options
    assert damage.of(LayerOption(sparsity=0.5, bits=4, symmetric=False)) is None
    assert LayerDamage({LayerOption(bits=4): 3.0}).of(LayerOption(sparsity=0.5, bits=4)) is None


def test_what_was_scored_together_is_taken_at_its_word() -> None:
    both = {LayerOption(sparsity=s, bits=4): d for s, d in ((0.2, 3.1), (0.6, 3.4))}
    damage = LayerDamage({LayerOption(sparsity=0.6): 2.0, LayerOption(bits=4): 3.0, **both})
    between = damage.of(LayerOption(sparsity=0.4, bits=4))
    assert between is not None
    assert 3.1 < between < 3.4


@settings(max_examples=60)
@given(sparsity=st.floats(0.01, 0.95))
def test_between_levels_damage_follows_the_law_that_made_them(sparsity: float) -> None:
    law = {LayerOption(sparsity=level / 10): (level / 10) ** 3 for level in range(1, 10)}
    assert LayerDamage(law).of(LayerOption(sparsity=sparsity)) == pytest.approx(sparsity**3, rel=0.25)


@pytest.mark.parametrize("bits", range(1, 9))
def test_between_and_beyond_widths_a_bit_is_worth_a_factor_of_four(bits: int) -> None:
    damage = LayerDamage({LayerOption(bits=width): 4.0**-width for width in (3, 4, 6)})
    assert damage.of(LayerOption(bits=bits)) == pytest.approx(4.0**-bits)


def pairs(n: int, *, noise: float, seed: int = 0) -> list[Pair]:
    """Losses that grow with damage by a power law."""
    rng = np.random.default_rng(seed)
    damages = 10 ** rng.uniform(-4, 1, n)
    return [Pair(d, 20 * d**0.7 * np.exp(noise * rng.normal()), 0.2) for d in damages]


def fitted(found: list[Pair], **changes: object) -> QualityMap:
    chosen = {"metric": "fid", "better": "lower", "dense": 4.0} | changes
    made = QualityMap.fit(found, **chosen)
    assert made is not None
    return made


def test_too_few_measurements_say_nothing() -> None:
    assert QualityMap.fit(pairs(LEAST_PAIRS - 1, noise=0), metric="fid", better="lower", dense=4.0) is None


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_more_damage_never_means_better_quality(seed: int) -> None:
    made = fitted(pairs(25, noise=0.5, seed=seed))
    losses = [made.loss(damage)[0] for damage in np.geomspace(1e-6, 1e3, 200)]
    assert all(first <= second + 1e-12 for first, second in pairwise(losses))
    assert losses[0] >= 0
    assert made.loss(0.0) == (0.0, 0.0, 0.0)


def test_intervals_hold_new_measurements_19_times_of_20() -> None:
    inside = []
    for seed in range(30):
        made = fitted(pairs(60, noise=0.3, seed=seed))
        for new in pairs(10, noise=0.3, seed=1000 + seed):
            _, low, high = made.loss(new.damage)
            inside.append(low <= new.loss <= high)
    assert 0.90 <= np.mean(inside) <= 0.99


def test_higher_is_better_is_told_the_right_way_round() -> None:
    found = fitted(pairs(30, noise=0.1), metric="bleu", better="higher", dense=55.0).quality(0.1)
    assert found.low < found.value < found.high < 55.0
    assert found.change == pytest.approx(found.value - 55.0)
    assert not found.beyond
    assert fitted(pairs(30, noise=0.1)).quality(1e4).beyond


@pytest.mark.parametrize("loss", [0.1, 1.0, 10.0])
def test_the_damage_at_an_allowed_loss_is_expected_to_lose_that_much(loss: float) -> None:
    made = fitted(pairs(40, noise=0.1))
    damage = made.damage_at(loss)
    assert made.loss(damage)[0] <= loss
    assert made.loss(damage * 1.01)[0] >= loss * 0.99
