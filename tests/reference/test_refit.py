"""The refit against closed forms: numpy's least squares, and inputs of which the removed are sums of the kept."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gencomp_core.compression import refit
from gencomp_core.compression.slicing import ChannelChange
from gencomp_core.workloads.calibration import CalibrationBatch


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def batches(x: Tensor) -> list[CalibrationBatch]:
    return [CalibrationBatch("all", {"all": len(x)}, lambda model: model(x))]


def test_without_damping_it_is_least_squares() -> None:
    x, rows = noise(50, 6) @ noise(6, 6, seed=1), noise(3, 6, seed=2)
    kept = torch.tensor([True, False, True, True, False, True])
    found = refit.least_squares(rows, x.T @ x / 50, kept, damping=0.0)
    expected, *_ = np.linalg.lstsq(x[:, kept].double().numpy(), (x @ rows.T).double().numpy(), rcond=None)
    np.testing.assert_allclose(found.numpy().T, expected, atol=1e-5)


def test_damping_is_ridge_regression_towards_the_weights_before() -> None:
    x, rows = noise(50, 5), noise(2, 5, seed=2)
    kept = torch.tensor([True, True, False, True, False])
    found = refit.least_squares(rows, x.T @ x / 50, kept, damping=0.3)
    near, target = x[:, kept].double(), (x @ rows.T).double()
    level = 0.3 * float(near.square().mean())
    # The same problem as plain least squares, with rows √(λ n) · (W' − W_k) = 0 below the data.
    stacked = torch.cat([near, (level * 50) ** 0.5 * torch.eye(3, dtype=torch.float64)])
    wanted = torch.cat([target, (level * 50) ** 0.5 * rows[:, kept].double().T])
    expected, *_ = np.linalg.lstsq(stacked.numpy(), wanted.numpy(), rcond=None)
    np.testing.assert_allclose(found.numpy().T, expected, atol=1e-5)


def test_uncorrelated_inputs_leave_the_weights_as_they_are() -> None:
    rows = noise(3, 4)
    kept = torch.tensor([True, False, True, False])
    assert torch.equal(refit.least_squares(rows, torch.eye(4), kept), rows[:, kept])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 4), (200, 6)),
        (nn.Linear(6, 4, bias=False), (200, 6)),
        (nn.Conv2d(6, 4, 3, padding=0), (12, 6, 8, 8)),
        (nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1), (30, 6, 7, 7)),
        (nn.Conv1d(6, 4, 3, padding=1), (60, 6, 9)),
        (nn.Conv3d(6, 4, (1, 2, 3)), (12, 6, 3, 5, 6)),
        (nn.ConvTranspose1d(6, 4, 3, stride=2), (60, 6, 9)),
    ],
    ids=["Linear", "without-bias", "Conv2d", "ConvTranspose2d", "Conv1d", "Conv3d", "ConvTranspose1d"],
)
def test_channels_that_the_others_predict_cost_nothing(layer: nn.Module, shape: tuple[int, ...]) -> None:
    model = nn.Sequential(layer).requires_grad_(False)
    x = noise(*shape)
    x[:, 1] = x[:, 0] - 2 * x[:, 3]
    with torch.no_grad():
        before = model(x)
    change = ChannelChange({"0": {"in": (0, 2, 3, 4, 5)}})
    solved = refit.solve(model, {"0": layer}, change.kept, batches(x))
    narrow = x[:, [0, 2, 3, 4, 5]]
    change.apply_(model)
    sliced = model(narrow)
    refit.write_(layer, solved["0"])
    error, plain = (float((out - before).square().mean()) for out in (model(narrow), sliced))
    assert error < 0.01 * plain


def test_the_bias_takes_the_mean_of_what_is_gone() -> None:
    layer = nn.Linear(3, 2).requires_grad_(False)
    model = nn.Sequential(layer)
    x = noise(400, 3) * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.0, 0.0, 5.0])
    before, lost = model(x), 5 * layer.weight[:, 2].clone()
    solved = refit.solve(model, {"0": layer}, {"0": {"in": (0, 1)}}, batches(x))
    torch.testing.assert_close(solved["0"].bias, layer.bias + lost, atol=1e-3, rtol=1e-3)
    ChannelChange({"0": {"in": (0, 1)}}).apply_(model)
    refit.write_(layer, solved["0"])
    torch.testing.assert_close(model(x[:, :2]), before, atol=1e-3, rtol=1e-3)


def test_outputs_that_go_as_well_leave_the_rows_of_the_others() -> None:
    layer = nn.Linear(4, 3).requires_grad_(False)
    model, x = nn.Sequential(layer), noise(100, 4)
    whole = refit.solve(model, {"0": layer}, {"0": {"in": (0, 2)}}, batches(x))["0"]
    part = refit.solve(model, {"0": layer}, {"0": {"in": (0, 2), "out": (2,)}}, batches(x))["0"]
    torch.testing.assert_close(part.weight, whole.weight[2:])
    torch.testing.assert_close(part.bias, whole.bias[2:])


def test_a_layer_with_exact_zeros_is_not_solved() -> None:
    layer = nn.Linear(4, 3).requires_grad_(False)
    layer.weight[0, 0] = 0
    assert refit.solve(nn.Sequential(layer), {"0": layer}, {"0": {"in": (0, 2)}}, batches(noise(9, 4))) == {}
