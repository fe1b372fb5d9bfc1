"""SparseGPT: zero weights one column after the other, and move what they did to the columns that follow.

Plain functions of the weight as a matrix, W (out, columns), and of the second moments of its inputs,
H = XᵀX / n (columns, columns).

Source: Frantar & Alistarh 2023 (arXiv:2301.00774), algorithm 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gencomp_core.compression.masks import drop_smallest, keep_n_of_m

NEVER = -1.0
"""Score below every other: drop first."""


def inverse_factor(gram: Tensor, *, damping: float) -> Tensor:
    """Upper triangular U with UᵀU = (H + damping · mean(diag H) · I)⁻¹: (columns, columns) float64.

    Row i of U holds the inverse of H without the rows and columns before i, up to a factor: what
    removing weight i does to the later ones is -w_i / U_ii · U_i.
    """
    hessian = gram.double().clone()
    diagonal = hessian.diagonal()
    mean = float(diagonal.mean()) or 1.0  # a layer whose input is always zero
    diagonal.add_(damping * mean)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def prune_rows(
    rows: Tensor,
    gram: Tensor,
    *,
    sparsity: float = 0.0,
    n_of_m: tuple[int, int] | None = None,
    block_size: int = 32,
    damping: float = 0.01,
) -> Tensor:
    """Zero weights of a layer and update the others, so that its outputs change least.

    Weights that are exactly zero stay so and count among the zeros: round(sparsity · n) in all, or more
    where there were more. The mask of a block of columns is chosen from the weights as updated so far,
    by w² / U_ii²; with a pattern, that of each group of M columns.

    Args:
        rows: weights (out, columns) float32.
        gram: second moments of the inputs (columns, columns) float32.
        sparsity: fraction of zeros, the same in each block of columns; a pattern overrides it.
        n_of_m: keep N of every M columns.
        block_size: columns in a block; with a pattern, groups are never split.

    Returns:
        (out, columns) float32.
    """
    own = _Rows.of(rows, gram, damping=damping)
    if n_of_m is not None:
        block_size = max(1, block_size // n_of_m[1]) * n_of_m[1]
    share = _share_of_the_rest(own.fixed, sparsity)
    n_seen = n_dropped = 0
    for first in range(0, rows.shape[1], block_size):
        block = slice(first, min(first + block_size, rows.shape[1]))
        if n_of_m is not None:
            own.zero_in_groups_(block, *n_of_m)
            continue
        n_fixed = int(own.fixed[:, block].sum())
        n_seen += own.fixed[:, block].numel() - n_fixed
        n_now = round(share * n_seen) - n_dropped
        n_dropped += n_now
        own.zero_(block, drop_smallest(own.scores(block), n_now + n_fixed), until=block.stop)
        own.update_after_(block)
    return own.weights.masked_fill(own.dropped, 0.0).float()


@dataclass
class _Rows:
    """Weights on their way.

    Attributes:
        weights: (out, columns) float64, as updated so far.
        factor: from `inverse_factor`.
        scale: (columns,) diagonal of the factor; infinite where the input is always zero: such weights go first.
        fixed: (out, columns) bool, zero from the start.
        dropped: (out, columns) bool, zero now.
        errors: (out, columns) w / U_ii of what was zeroed.
    """

    weights: Tensor
    factor: Tensor
    scale: Tensor
    fixed: Tensor
    dropped: Tensor
    errors: Tensor

    @classmethod
    def of(cls, rows: Tensor, gram: Tensor, *, damping: float) -> "_Rows":
        factor, fixed, weights = inverse_factor(gram, damping=damping), rows == 0, rows.double().clone()
        scale = factor.diagonal().masked_fill(gram.diagonal() <= 0, torch.inf)
        return cls(weights, factor, scale, fixed, fixed.clone(), torch.zeros_like(weights))

    def scores(self, columns: slice) -> Tensor:
        """Loss of removing each weight: w² / U_ii²; what is zero already goes before all others."""
        loss = (self.weights[:, columns] / self.scale[columns]).square()
        return loss.masked_fill(self.fixed[:, columns], NEVER)

    def zero_(self, columns: slice, keep: Tensor, *, until: int) -> None:
        """Zero weights of these columns, first to last; update those up to column `until`."""
        self.dropped[:, columns] = ~keep
        for i in range(columns.start, columns.stop):
            error = torch.where(self.dropped[:, i], self.weights[:, i], 0.0) / self.factor[i, i]
            self.weights[:, i:until] -= error[:, None] * self.factor[i, i:until]
            self.errors[:, i] = error

    def zero_in_groups_(self, block: slice, n: int, m: int) -> None:
        """Zero all but the n best of every m columns; each group is chosen after the updates from those before."""
        for first in range(block.start, block.stop, m):
            group = slice(first, min(first + m, block.stop))
            keep = keep_n_of_m(self.scores(group), n, m) & ~self.fixed[:, group]
            self.zero_(group, keep, until=block.stop)
        self.update_after_(block)

    def update_after_(self, block: slice) -> None:
        """Update the columns after a block at once."""
        self.weights[:, block.stop :] -= self.errors[:, block] @ self.factor[block, block.stop :]


def _share_of_the_rest(fixed: Tensor, sparsity: float) -> float:
    """Fraction of the weights that are not zero yet to drop, so that the sparsity is met in all."""
    n, n_fixed = fixed.numel(), int(fixed.sum())
    return max(0.0, round(sparsity * n) - n_fixed) / max(1, n - n_fixed)
