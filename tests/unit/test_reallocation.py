"""Bits that move between layers while they are trained."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.recovery import tuning
from gencomp_core.recovery.reallocation import cheapest
from gencomp_core.variant import Variant, compress, compression_steps
from tests.made_training import Drawn, all_same, held_out, reloaded, tuned
from tests.tiny import pruning, quantization, recipe

QAT = {**tuned(20), "kind": "quantization-aware-training", "reallocations": 3}


def total_bits(variant: Variant) -> int:
    return sum(own.codes.numel() * own.format.bits for own in variant.quantized.values())  # type: ignore[union-attr]


def widths(variant: Variant) -> dict[str, int]:
    return {name: own.format.bits for name, own in variant.quantized.items()}  # type: ignore[union-attr]


@pytest.mark.parametrize("fields", [{}, {"granularity": "group", "group_size": 4}, {"symmetric": False}])
def test_bits_move_and_never_become_more(fields: dict[str, object]) -> None:
    before = [pruning(0.3), quantization(4, **fields)]
    start, moved = compress(Drawn(), recipe(*before)), compress(Drawn(), recipe(*before, QAT))
    assert total_bits(moved) <= total_bits(start)
    assert widths(moved) != widths(start)
    assert all(2 <= bits <= 8 for bits in widths(moved).values())
    assert all_same(reloaded(moved), moved.model)
    assert held_out(moved)[-1] < held_out(moved)[0]
    figures = moved.curves[0][-1].figures
    assert figures["fewest_bits"] < figures["most_bits"]
    assert figures["bits"] <= 4


def test_it_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    stages = recipe(quantization(4), QAT)
    whole = compress(Drawn(), stages)
    monkeypatch.setenv("GENCOMP_HOME", str(home / "killed"))
    monkeypatch.setattr(tuning, "SAVE_EVERY_S", 0.0)
    steps = compression_steps(Drawn(), stages)
    for _ in itertools.islice(steps, 12):
        pass
    steps.close()
    again = compress(Drawn(), stages)
    assert all_same(again.model, whole.model)
    assert widths(again) == widths(whole)
    assert all_same(compress(Drawn(), stages).model, whole.model), "read back"


groups = st.lists(
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 9)), min_size=1, max_size=3), min_size=1, max_size=4
)


@given(groups=groups, slack=st.integers(0, 20))
def test_the_choice_is_the_best_of_all_that_fit(groups: list[list[tuple[float, int]]], slack: int) -> None:
    damages, costs = ([[option[i] for option in group] for group in groups] for i in (0, 1))
    limit = sum(min(group) for group in costs) + slack
    chosen = cheapest(damages, costs, limit)
    every = [
        pick
        for pick in itertools.product(*(range(len(group)) for group in groups))
        if sum(costs[g][i] for g, i in enumerate(pick)) <= limit
    ]
    assert sum(costs[g][i] for g, i in enumerate(chosen)) <= limit
    best = min(sum(damages[g][i] for g, i in enumerate(pick)) for pick in every)
    assert sum(damages[g][i] for g, i in enumerate(chosen)) == pytest.approx(best, abs=1e-5)
