"""Which weights stay: masks from importance scores."""

import math

import numpy as np
import torch
from torch import Tensor


def keep_largest(importance: Tensor, sparsity: float) -> Tensor:
    """Mask that drops exactly round(sparsity · n) of the lowest scores.

    Equal scores are dropped in the order in which they stand, so that a higher sparsity always
    drops a superset.

    Args:
        importance: any shape, float; higher = keep.
        sparsity: in [0, 1).

    Returns:
        bool, the shape of `importance`; True = keep.
    """
    return drop_smallest(importance, round(sparsity * importance.numel()))


def drop_smallest(importance: Tensor, n_dropped: int) -> Tensor:
    """Like `keep_largest`, for a number of weights in place of a fraction."""
    flat = importance.flatten()
    keep = torch.ones_like(flat, dtype=torch.bool)
    if n_dropped == 0:
        return keep.view(importance.shape)
    # numpy selects seven times as fast as kthvalue on a CPU; a NaN sorts last in both
    threshold = float(np.partition(flat.detach().cpu().numpy(), n_dropped - 1)[n_dropped - 1])
    below = flat < threshold
    tied = torch.nonzero(flat == threshold)[: n_dropped - int(below.sum()), 0]
    keep[below] = False
    keep[tied] = False
    return keep.view(importance.shape)


def keep_largest_overall(importance: dict[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Like `keep_largest`, with one ranking over all layers: masks by layer name."""
    return drop_smallest_overall(importance, round(sparsity * sum(scores.numel() for scores in importance.values())))


def drop_smallest_overall(importance: dict[str, Tensor], n_dropped: int) -> dict[str, Tensor]:
    """Like `drop_smallest`, with one ranking over all layers: masks by layer name."""
    joined = drop_smallest(torch.cat([scores.flatten() for scores in importance.values()]), n_dropped)
    parts = torch.split(joined, [scores.numel() for scores in importance.values()])
    return {name: part.view(importance[name].shape) for name, part in zip(importance, parts, strict=True)}


def keep_largest_of_rows(rows: Tensor, sparsity: float) -> Tensor:
    """Like `keep_largest` within each row of scores: (out, columns) -> bool, the same shape."""
    return _drop_of_rows(rows, round(sparsity * rows.shape[1]))


def keep_n_of_m(rows: Tensor, n: int, m: int) -> Tensor:
    """Mask that keeps the n largest of every m consecutive columns of a row.

    The last group of a row may be shorter: of t columns it keeps the ⌈t · n / m⌉ largest. Of equal
    scores the first are dropped.

    Args:
        rows: scores (out, columns); higher = keep.

    Returns:
        (out, columns) bool.

    Source: Mishra 2021 (arXiv:2104.08378), 2:4; Zhou 2021 (arXiv:2102.04010), N:M.
    """
    n_rest = rows.shape[1] % m
    full, rest = rows[:, : rows.shape[1] - n_rest], rows[:, rows.shape[1] - n_rest :]
    keep = _drop_of_rows(full.reshape(-1, m), m - n).view(full.shape)
    return torch.cat([keep, _drop_of_rows(rest, n_rest - math.ceil(n_rest * n / m))], dim=1)


def _drop_of_rows(rows: Tensor, n_dropped: int) -> Tensor:
    order = rows.argsort(dim=1, stable=True)
    return torch.ones_like(rows, dtype=torch.bool).scatter_(1, order[:, :n_dropped], False)
