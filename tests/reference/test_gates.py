"""Gates of the hard concrete distribution against draws from it and against a distribution of torch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import RelaxedBernoulli

from gencomp_core.recovery.gates import BETA, GAMMA, PACE, ZETA, Gate

N = 40_000


def gate_at(log_alpha: float, n: int = N) -> Gate:
    made = Gate(torch.ones(n))
    made.parameter = torch.full((n,), log_alpha / PACE)
    return made


@pytest.mark.parametrize("log_alpha", [-4.0, -1.0, 0.0, 2.0])
def test_the_chance_of_an_open_gate_is_how_often_it_is_drawn_open(log_alpha: float) -> None:
    torch.manual_seed(0)
    gate = gate_at(log_alpha)
    with torch.enable_grad():
        often = float((gate.draw() != 0).double().mean())
    assert often == pytest.approx(float(gate.chance()[0]), abs=4 * math.sqrt(0.25 / N))


@pytest.mark.parametrize("log_alpha", [-1.0, 0.5, 2.0])
def test_draws_follow_torchs_relaxed_bernoulli_stretched_and_cut(log_alpha: float) -> None:
    torch.manual_seed(0)
    other = RelaxedBernoulli(torch.tensor(BETA), logits=torch.tensor(log_alpha))
    theirs = (other.sample((N,)) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
    with torch.enable_grad():
        ours = gate_at(log_alpha).draw()
    parts = torch.tensor([0.2, 0.5, 0.8])
    assert torch.allclose(ours.quantile(parts), theirs.quantile(parts), atol=0.02)
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()), abs=0.01)


@given(st.floats(-6, 6))
def test_a_gate_stands_still_where_no_gradient_is_wanted(log_alpha: float) -> None:
    gate = gate_at(log_alpha, n=3)
    with torch.no_grad():
        first, second = gate.draw(), gate.draw()
    assert torch.equal(first, second)
    assert 0 <= float(first[0]) <= 1


def test_larger_weights_start_behind_wider_gates() -> None:
    chance = Gate(torch.tensor([0.01, 0.1, 1.0, 10.0])).chance()
    assert bool((chance.diff() >= 0).all())
