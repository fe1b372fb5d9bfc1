"""Least squares: the layers behind removed channels are solved anew, to give what they gave before.

With X the dense inputs, of which the columns k are kept and r removed, the new weights minimise
‖X_k W' − X W‖² + λ n ‖W' − W_k‖². So W' = W_k + (G_kk + λ)⁻¹ G_kr W_r, with G = XᵀX / n: what the removed
inputs gave is predicted from the kept ones. A constant input, never removed and not damped, solves the bias too.

Source: He 2017 (arXiv:1707.06168), section 3.1, reconstruction.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gencomp_core.compression.calibration import InputStatistics, visit_inputs
from gencomp_core.compression.layers import from_rows, is_transposed, to_rows, weight_of
from gencomp_core.compression.structure import Side, tensor_dims
from gencomp_core.workloads.calibration import CalibrationBatch

DAMPING = 0.01  # of the mean square of an input


@dataclass(frozen=True, eq=False)
class Solution:
    """New parameters of one layer.

    Attributes:
        weight: the shape of the sliced weight, float32.
        bias: (out,) float32, or None for a layer without.
    """

    weight: Tensor
    bias: Tensor | None


def least_squares(
    rows: Tensor, gram: Tensor, kept: Tensor, *, damping: float = DAMPING, undamped: Tensor | None = None
) -> Tensor:
    """Weights of the kept columns that give most nearly what all columns gave.

    Args:
        rows: (out, columns) float32.
        gram: (columns, columns) XᵀX / n of the inputs.
        kept: (columns,) bool.
        damping: λ, as a fraction of the mean of the kept diagonal.
        undamped: (columns,) bool, columns without λ.

    Returns:
        (out, kept columns) float32.
    """
    wide = gram.double()
    inner = wide[kept][:, kept]
    level = damping * inner.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
    ridge = level * torch.ones(len(inner), dtype=wide.dtype, device=wide.device)
    if undamped is not None:
        ridge[undamped[kept]] = level * 1e-6  # only so that a constant beside constant inputs can be solved
    removed = rows[:, ~kept].double()
    change = torch.linalg.solve(inner + ridge.diag(), wide[kept][:, ~kept] @ removed.T)
    solved: Tensor = rows[:, kept].double() + change.T
    return solved.float()


def solve(
    model: nn.Module,
    layers: dict[str, nn.Module],
    kept: Mapping[str, Mapping[Side, tuple[int, ...]]],
    batches: Iterable[CalibrationBatch],
    *,
    seed: int = 0,
) -> dict[str, Solution]:
    """New parameters of the layers that lose inputs, from their inputs before.

    Layers that calibration does not meet, and those with exact zeros (which a solution would fill), are
    missing: they are only sliced.
    """
    dense = {name: layer for name, layer in layers.items() if bool((weight_of(layer) != 0).all())}
    moments = _moments(model, dense, batches, seed=seed)
    return {name: _solved(dense[name], kept[name], found.gram) for name, found in moments.items()}


@torch.no_grad()
def write_(layer: nn.Module, solution: Solution) -> None:
    """Give a sliced layer its new parameters."""
    weight_of(layer).copy_(solution.weight)
    if solution.bias is not None:
        layer.bias.copy_(solution.bias)  # type: ignore[operator, union-attr]


def _moments(
    model: nn.Module, layers: dict[str, nn.Module], batches: Iterable[CalibrationBatch], *, seed: int
) -> dict[str, InputStatistics]:
    """Second moments of each layer's inputs with a constant 1 as the last column."""
    found: dict[str, InputStatistics] = {}

    def add(name: str, rows: Tensor) -> None:
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        if name not in found:
            found[name] = InputStatistics(rows.new_zeros(rows.shape[1], rows.shape[1]))
        found[name].add_(rows)

    if layers:
        visit_inputs(model, layers, batches, add, seed=seed)
    return found


def _solved(layer: nn.Module, sides: Mapping[Side, tuple[int, ...]], gram: Tensor) -> Solution:
    weight, transposed = weight_of(layer).float(), is_transposed(layer)
    bias = layer.bias
    mask = torch.zeros(weight.shape, dtype=torch.bool, device=weight.device)
    inputs = torch.tensor(sides["in"], device=weight.device)
    mask.index_fill_(tensor_dims(layer, "in")["weight"], inputs, True)
    kept = to_rows(mask, transposed=transposed)[0]
    rows = to_rows(weight, transposed=transposed)
    if isinstance(bias, Tensor):
        constant = torch.zeros(len(kept) + 1, dtype=torch.bool, device=weight.device)
        constant[-1] = True
        rows = torch.cat([rows, bias.detach().float()[:, None]], dim=1)
        kept = torch.cat([kept, kept.new_ones(1)])
        new = least_squares(rows, gram, kept, undamped=constant)
    else:
        new = least_squares(rows, gram[:-1, :-1], kept)
    if "out" in sides:
        new = new[torch.tensor(sides["out"], device=weight.device)]
    shape = list(weight.shape)
    shape[tensor_dims(layer, "in")["weight"]] = len(sides["in"])
    shape[tensor_dims(layer, "out")["weight"]] = len(new)
    columns = new[:, :-1] if isinstance(bias, Tensor) else new
    solved = from_rows(columns.contiguous(), torch.Size(shape), transposed=transposed)
    return Solution(solved, new[:, -1] if isinstance(bias, Tensor) else None)
