"""Which weights stay: masks from importance scores."""

import math
from collections.abc import Mapping

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


def keep_largest_overall(importance: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Like `keep_largest`, with one ranking over all layers: masks by layer name."""
    return drop_smallest_overall(importance, round(sparsity * sum(scores.numel() for scores in importance.values())))


def drop_smallest_overall(importance: Mapping[str, Tensor], n_dropped: int) -> dict[str, Tensor]:
    """Like `drop_smallest`, with one ranking over all layers: masks by layer name.

    Scores are not held together longer than needed, so that a mapping may compute them when it is asked.
    """
    if n_dropped == 0:
        return {name: torch.ones_like(scores, dtype=torch.bool) for name, scores in importance.items()}
    sizes = {name: scores.numel() for name, scores in importance.items()}
    joined = np.empty(sum(sizes.values()), next(iter(importance.values())).cpu().numpy().dtype)
    ends = np.cumsum(list(sizes.values()))
    for name, end in zip(sizes, ends, strict=True):
        joined[end - sizes[name] : end] = importance[name].detach().flatten().cpu().numpy()
    joined.partition(n_dropped - 1)
    threshold = float(joined[n_dropped - 1])
    n_tied = n_dropped - int((joined < threshold).sum())  # of those at the threshold, the first ones go
    del joined
    masks = {}
    for name in sizes:
        scores = importance[name]
        tied = scores.flatten() == threshold
        dropped = scores.flatten() < threshold
        dropped[torch.nonzero(tied)[:n_tied, 0]] = True
        n_tied -= min(n_tied, int(tied.sum()))
        masks[name] = ~dropped.view(scores.shape)
    return masks


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
