"""Pruning scores, allocations and updates against hand-computed examples and closed forms."""

import pytest
import torch
from torch import Tensor, nn

from gencomp_core.compression import importance
from gencomp_core.compression.allocation import erk_counts
from gencomp_core.compression.masks import keep_largest, keep_largest_of_rows, keep_largest_overall
from gencomp_core.compression.pruning import CRITERIA, mean_gradients
from gencomp_core.compression.sparsegpt import inverse_factor, prune_rows
from gencomp_core.workloads.calibration import CalibrationBatch


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated_inputs(n: int, columns: int, seed: int = 0) -> Tensor:
    """Few causes behind many columns of unequal size."""
    mixed = noise(n, columns // 3, seed=seed) @ noise(columns // 3, columns, seed=seed + 1)
    return (mixed + 0.3 * noise(n, columns, seed=seed + 2)) * noise(columns, seed=seed + 3).exp()


# --- LAMP


def test_lamp_divides_by_the_weights_that_are_not_smaller() -> None:
    scores = importance.lamp(torch.tensor([[-3.0, 1.0], [2.0, 0.0]]))
    expected = torch.tensor([[1.0, 1 / 14], [4 / 13, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(scores, expected)


def test_lamp_ranks_over_the_network_as_by_hand() -> None:
    first, second = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.2])  # 1/14, 4/13, 1 and 1/5, 1
    keep = keep_largest_overall({"a": importance.lamp(first), "b": importance.lamp(second)}, 0.4)
    assert keep["a"].tolist() == [False, True, True]
    assert keep["b"].tolist() == [False, True]


def test_lamp_takes_equal_weights_in_their_order_and_never_a_whole_layer() -> None:
    scores = importance.lamp(torch.full((4,), 0.5))
    torch.testing.assert_close(scores, torch.tensor([1 / 4, 1 / 3, 1 / 2, 1.0], dtype=torch.float64))
    keep = keep_largest_overall({"weak": importance.lamp(noise(9) * 1e-3), "strong": importance.lamp(noise(9))}, 0.88)
    assert [int(mask.sum()) for mask in keep.values()] == [1, 1]


def test_lamp_of_a_layer_of_zeros_is_zero() -> None:
    assert importance.lamp(torch.zeros(3)).tolist() == [0, 0, 0]


# --- ERK


def test_erk_is_as_by_hand() -> None:
    # 53 of 212 weights stay. ε = 53 / 34 would give `small` 6.2 of its 4 weights: it stays whole,
    # and ε = 49 / 30 shares the rest: 26.13 and 22.87, which round to 26 and 23.
    shapes = {"linear": (8, 8), "conv": (4, 4, 3, 3), "small": (2, 2)}
    assert erk_counts(shapes, 0.25) == {"linear": 26, "conv": 23, "small": 4}


@pytest.mark.parametrize("density", [0.01, 0.1, 0.37, 0.5, 0.9, 1.0])
def test_erk_keeps_the_total_exactly_and_no_layer_beyond_its_size(density: float) -> None:
    shapes = {"embedding": (4096, 192), "linear": (192, 768), "conv": (3, 64, 3, 3), "gate": (1, 192), "one": (1, 1)}
    counts = erk_counts(shapes, density)
    sizes = {"embedding": 786432, "linear": 147456, "conv": 1728, "gate": 192, "one": 1}
    assert sum(counts.values()) == round(density * sum(sizes.values()))
    assert all(0 <= counts[name] <= size for name, size in sizes.items())
    densities = [counts[name] / size for name, size in sizes.items()]
    assert densities[0] <= densities[1] + 1e-3


# --- Wanda


def test_wanda_weighs_by_the_norm_of_the_input_within_each_row() -> None:
    rows = torch.tensor([[4.0, 0.0, 1.0, 1.0], [3.0, -2.0, -1.0, -3.0], [-3.0, 1.0, 0.0, 2.0]])
    scores = importance.wanda(rows, torch.tensor([1.0, 2.0, 8.0, 3.0]))  # the example of the paper's figure 1
    assert scores.tolist() == [[4, 0, 8, 3], [3, 4, 8, 9], [3, 2, 0, 6]]
    kept = torch.where(keep_largest_of_rows(scores, 0.5), rows, 0.0)
    assert kept.tolist() == [[4, 0, 1, 0], [0, 0, -1, -3], [-3, 0, 0, 2]]


# --- SparseGPT


@pytest.mark.parametrize("p", [0, 2, 5])
def test_one_weight_removed_is_the_optimal_brain_surgeon_update(p: int) -> None:
    # With the columns before p frozen: δ = -w_p / [H⁻¹]_pp · H⁻¹[:, p], H of columns p and after (Hassibi 1993).
    gram = (x := correlated_inputs(200, 6)).T @ x / 200
    row = noise(1, 6, seed=9)
    row[0, p] = 1e-4
    found = prune_rows(row, gram, sparsity=1 / 6, damping=0.0)
    inverse = torch.linalg.inv(gram[p:, p:].double())
    update = -row[0, p] / inverse[0, 0] * inverse[:, 0]
    expected = row[0].double()
    expected[p:] += update
    expected[p] = 0
    assert found[0, p] == 0
    torch.testing.assert_close(found[0].double(), expected, atol=1e-6, rtol=1e-5)
    if p == 0:
        refit = torch.linalg.lstsq(x[:, 1:].double(), x.double() @ row[0].double()).solution
        torch.testing.assert_close(found[0, 1:].double(), refit, atol=1e-5, rtol=1e-4)


def test_the_factor_is_that_of_the_damped_inverse() -> None:
    x = correlated_inputs(50, 8)
    gram = x.T @ x / 50
    factor = inverse_factor(gram, damping=0.01)
    damped = gram.double() + 0.01 * gram.double().diagonal().mean() * torch.eye(8)
    torch.testing.assert_close(factor.T @ factor @ damped, torch.eye(8, dtype=torch.float64))
    assert torch.equal(factor, factor.triu())


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("block_size", [7, 128])
def test_sparsegpt_changes_the_output_less_than_wanda_and_wanda_less_than_magnitude(
    sparsity: float, block_size: int
) -> None:
    x, rows = correlated_inputs(400, 30), noise(12, 30, seed=7)
    gram = x.T @ x / len(x)

    def error(pruned: Tensor) -> float:
        return float((x @ (rows - pruned).T).square().sum())

    by_magnitude = rows * keep_largest(rows.abs(), sparsity)
    by_wanda = rows * keep_largest_of_rows(importance.wanda(rows, gram.diagonal().sqrt()), sparsity)
    updated = prune_rows(rows, gram, sparsity=sparsity, block_size=block_size)
    assert error(updated) < 0.7 * error(by_wanda) < 0.7 * error(by_magnitude)
    assert int((updated == 0).sum()) == round(sparsity * rows.numel())


@pytest.mark.parametrize("n_of_m", [(2, 4), (3, 5)])
def test_blocks_only_order_the_work_where_a_pattern_chooses_the_mask(n_of_m: tuple[int, int]) -> None:
    x, rows = correlated_inputs(400, 42), noise(4, 42, seed=7)
    gram = x.T @ x / len(x)
    small, whole = (prune_rows(rows, gram, n_of_m=n_of_m, block_size=size) for size in (5, 128))
    torch.testing.assert_close(small, whole, atol=1e-5, rtol=1e-4)


# --- gradients


class LinearLoss(nn.Module):
    """Weights of one layer, and nothing else."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.layer.weight = nn.Parameter(weight.clone(), requires_grad=False)


def scores_of(criterion: str, model: LinearLoss, batches: list[CalibrationBatch]) -> Tensor:
    moment, score = CRITERIA[criterion]
    means = mean_gradients(model, {"layer": model.layer}, batches, moment)
    return score(model.layer.weight, means["layer"])


def loss_without(model: LinearLoss, batches: list[CalibrationBatch]) -> Tensor:
    """Mean loss with each single weight zeroed: the shape of the weight."""
    found = torch.zeros_like(model.layer.weight)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in found.shape)).tolist():
        pruned = LinearLoss(model.layer.weight)
        pruned.layer.weight[tuple(index)] = 0
        found[tuple(index)] = sum(batch.run(pruned) for batch in batches) / len(batches)
    return found


@pytest.mark.parametrize("criterion", ["taylor", "snip"])
def test_first_order_scores_are_the_exact_change_of_a_linear_loss(criterion: str) -> None:
    model, slope = LinearLoss(noise(3, 4)), noise(3, 4, seed=1)
    batches = [CalibrationBatch("all", {}, lambda m: (m.layer.weight * slope).sum())] * 2
    change = loss_without(model, batches) - batches[0].run(model)
    torch.testing.assert_close(scores_of(criterion, model, batches), change.abs(), atol=1e-5, rtol=1e-4)


def test_taylor_averages_sizes_where_snip_lets_signs_cancel() -> None:
    model, slope = LinearLoss(noise(1, 3)), noise(1, 3, seed=1)
    batches = [CalibrationBatch("all", {}, lambda m, s=s: s * (m.layer.weight * slope).sum()) for s in (3.0, -3.0)]
    expected = 3 * (model.layer.weight * slope).abs()
    torch.testing.assert_close(scores_of("taylor", model, batches), expected)
    torch.testing.assert_close(scores_of("snip", model, batches), torch.zeros(1, 3))


def test_snip_is_the_derivative_by_a_connection() -> None:
    model, x = LinearLoss(noise(2, 3)), noise(5, 3, seed=1)
    connections = torch.ones(2, 3, requires_grad=True)
    (x @ (connections * model.layer.weight).T).square().mean().backward()
    batches = [CalibrationBatch("all", {}, lambda m: m.layer(x).square().mean())]
    assert connections.grad is not None
    torch.testing.assert_close(scores_of("snip", model, batches), connections.grad.abs())


def test_fisher_is_the_exact_change_of_a_quadratic_at_its_minimum() -> None:
    # Residuals of ±1 on the same inputs: the mean gradient is 0, squared gradients are x², the curvature.
    model, inputs = LinearLoss(noise(1, 4)), noise(6, 4, seed=1)
    optimum = model.layer.weight.clone()
    batches = [
        CalibrationBatch("all", {}, lambda m, x=x, r=r: (m.layer(x) - optimum @ x - r).square().sum() / 2)
        for x in inputs
        for r in (1.0, -1.0)
    ]
    change = loss_without(model, batches) - sum(batch.run(model) for batch in batches) / len(batches)
    torch.testing.assert_close(scores_of("fisher", model, batches), change, atol=1e-5, rtol=1e-4)
