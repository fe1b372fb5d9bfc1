"""GPTQ: round one column of weights after the other, and move what was lost to the columns that follow.

Source: Frantar 2022 (arXiv:2210.17323), algorithm 1. With H = XᵀX / n of the inputs, U the upper Cholesky
factor of its damped inverse, and q the rounded column i: the columns after it lose (w - q) / U_ii · U_i.
"""

from dataclasses import replace

import torch
from torch import Tensor

from gencomp_core.compression.quantizers import QuantizedWeight, find_steps, nearest_codes
from gencomp_core.compression.sparsegpt import inverse_factor
from gencomp_core.recipes.formats import IntegerFormat

BLOCK = 128


def round_by_gptq(
    rows: Tensor,
    gram: Tensor,
    nearest: QuantizedWeight,
    *,
    clip_mse: bool = False,
    ternary: bool = False,
    act_order: bool = False,
    damping: float = 0.01,
) -> QuantizedWeight:
    """Codes whose layer output is nearer to that of the weights than after rounding to nearest.

    Weights that are exactly zero stay so. Scales per tensor and per channel are those of rounding to
    nearest; those of groups are found when their first column comes up, from the weights as they have
    become, but for `act_order`, in which the columns of a group don't follow each other.

    Args:
        rows: weights (out, columns) float32.
        gram: second moments of the inputs (columns, columns) float32.
        nearest: the same weights rounded to nearest, for its format and scales.
        clip_mse, ternary: how scales of groups are found, as in `quantize_weight`.
        act_order: columns with the largest inputs first; otherwise from first to last.
        damping: added to the diagonal of H, as a fraction of its mean.
    """
    integers, size, n_columns = nearest.format, nearest.group_size, rows.shape[1]
    assert isinstance(integers, IntegerFormat)
    order = gram.diagonal().argsort(descending=True, stable=True) if act_order else torch.arange(n_columns)
    order = order.to(rows.device)
    factor = inverse_factor(gram[order][:, order], damping=damping)
    weights, fixed = rows.double()[:, order], (rows == 0)[:, order]
    scales, points = nearest.scale.clone(), _zero_points(nearest)
    on_the_fly = size < n_columns and not act_order
    block = max(1, BLOCK // size) * size if on_the_fly else BLOCK  # a group is never split
    codes = torch.zeros_like(weights)
    errors = torch.zeros_like(weights)
    for first in range(0, n_columns, block):
        stop = min(first + block, n_columns)
        for i in range(first, stop):
            group = int(order[i]) // size if scales.shape[1] > 1 else 0
            if on_the_fly and i % size == 0:
                current = weights[:, i : i + size].masked_fill(fixed[:, i : i + size], 0.0)
                found = find_steps(current[:, None].float(), integers, clip_mse=clip_mse, ternary=ternary)
                scales[:, [group]], points[:, [group]] = found
            scale, point = scales[:, group].double(), points[:, group]
            code = torch.where(fixed[:, i], point, nearest_codes(weights[:, i], scale, point, integers))
            errors[:, i] = (weights[:, i] - (code - point) * scale) / factor[i, i]
            weights[:, i:stop] -= errors[:, i, None] * factor[i, i:stop]
            codes[:, i] = code
        weights[:, stop:] -= errors[:, first:stop] @ factor[first:stop, stop:]
    unordered = torch.empty_like(codes)
    unordered[:, order] = codes
    zero_point = None if nearest.zero_point is None else points
    return replace(nearest, codes=unordered.to(torch.int16), scale=scales, zero_point=zero_point)


def _zero_points(nearest: QuantizedWeight) -> Tensor:
    if nearest.zero_point is None:
        return torch.zeros_like(nearest.scale, dtype=torch.int16)
    return nearest.zero_point.clone()


def layer_error(difference: Tensor, gram: Tensor) -> Tensor:
    """Mean squared change of each output: D (out, columns), G (columns, columns) -> diag(D G Dᵀ), (out,)."""
    return ((difference @ gram) * difference).sum(1)
