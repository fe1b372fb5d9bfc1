"""Damages against closed forms, where the Gauss–Newton matrix is known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gencomp_core.analysis.sensitivity.fisher import ALL, Change, fisher_damages
from gencomp_core.analysis.sensitivity.outputs import outputs_of
from gencomp_core.analysis.sensitivity.scan import scan_sensitivity
from gencomp_core.analysis.sensitivity.weights import weight_under
from gencomp_core.records import LayerOption
from gencomp_core.workloads.base import Workload
from tests.tiny import Made, noise, randomise_


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


class ImageMade(Made):
    modality = "image"
    weights_hash = "0" * 16


class TextMade(Made):
    modality = "text"
    weights_hash = "0" * 16


def linear(n_in: int = 6, n_out: int = 4) -> nn.Sequential:
    return nn.Sequential(randomise_(nn.Linear(n_in, n_out), 3))


def exact(workload: Workload, option: LayerOption, x: Tensor) -> float:
    """Half the squared output error over the variance of the output, by running the changed network."""
    layer = workload.model[0]
    dense = layer(x)
    changed = nn.functional.linear(x, weight_under(layer, option).weight, layer.bias)
    return float((changed - dense).square().sum() / 2 / (dense.var(correction=0) * dense.numel()))


@pytest.mark.parametrize("option", [LayerOption(sparsity=0.5), LayerOption(bits=3), LayerOption(sparsity=0.5, bits=4)])
def test_on_inputs_that_meet_one_weight_a_row_the_diagonal_is_the_whole_matrix(option: LayerOption) -> None:
    """x = c · I: every gradient is ± c, so that one probe gives the exact output error of a linear network."""
    x = torch.diag(torch.linspace(0.5, 2, 6))
    workload = ImageMade(linear(), x)
    squares = (weight_under(workload.model[0], option).weight - workload.model[0].weight).flatten().square()[None]
    found = finished(fisher_damages(workload, {"0": Change(squares)}, n_samples=6, n_probes=1, seed=0))
    assert found["0"][ALL].item() == pytest.approx(exact(workload, option, x), rel=1e-5)


def test_probes_converge_to_the_diagonal_of_the_gauss_newton_matrix() -> None:
    """y = W x: h of each weight of column j is Σ x_j²."""
    x = noise(40, 6, seed=1)
    workload = ImageMade(linear(), x)
    squares = torch.eye(24)  # every option changes one weight by 1
    found = finished(fisher_damages(workload, {"0": Change(squares)}, n_samples=40, n_probes=600, seed=0))
    dense = workload.model(x)
    expected = x.square().sum(0).repeat(4) / 2 / (dense.var(correction=0) * dense.numel())
    values = found["0"][ALL]
    error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    assert (np.abs(values.mean(1) - expected.numpy()) < 4.5 * error).all()


def test_first_order_effects_are_added_before_they_are_squared() -> None:
    """(Σ g Δ)² has the expectation of the whole quadratic form, which for a linear network is the output error."""
    x = noise(40, 6, seed=1)
    workload = ImageMade(linear(), x)
    option = LayerOption(sparsity=0.5)
    delta = weight_under(workload.model[0], option).weight - workload.model[0].weight
    change = Change(effects=[{"0": delta}])
    values = finished(fisher_damages(workload, {"0": change}, n_samples=40, n_probes=2000, seed=0))["0"][ALL][0]
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - exact(workload, option, x)) < 4.5 * error


def test_of_distributions_the_damage_is_that_of_the_fisher_information() -> None:
    """log softmax of free logits: changing logit i by Δ costs ½ p_i (1 - p_i) Δ² nats, to second order."""
    table = nn.Sequential(randomise_(nn.Embedding(1, 5), 0))
    workload = TextMade(table, torch.zeros(1, dtype=torch.int64))
    values = finished(fisher_damages(workload, {"0": Change(torch.eye(5))}, n_samples=1, n_probes=4000, seed=0))["0"][
        ALL
    ]
    p = table[0].weight[0].softmax(0)
    expected = (p * (1 - p) / 2).numpy()
    error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    assert (np.abs(values.mean(1) - expected) < 4.5 * error).all()


def test_the_divergence_of_two_distributions_is_that_of_torch() -> None:
    first, second = (noise(7, 11, seed=seed).log_softmax(1) for seed in (0, 1))
    outcome = outputs_of(TextMade(nn.Identity())).outcome(second, first)
    expected = nn.functional.kl_div(second, first, log_target=True, reduction="none").sum(1)
    assert torch.allclose(outcome.errors.float(), expected, atol=1e-6)


def test_the_proxy_of_a_linear_network_is_its_output_error() -> None:
    x = noise(9, 6, seed=1)
    workload = ImageMade(linear(), x)
    for score in scan_sensitivity(workload, method="proxy", axes=("sparsity", "bits", "joint")):
        assert score.damage.value == pytest.approx(exact(workload, score.option, x), rel=1e-4)
        assert score.damage.low <= score.damage.value <= score.damage.high
