"""Kernel inception distance: an unbiased distance between feature sets, so small n is not punished.

Source: Bińkowski 2018 (arXiv:1801.01401); the kernel is torchmetrics'. The interval comes from
disjoint blocks, which are independent (Zaremba 2013, arXiv:1307.1954, "B-tests"); random subsets
overlap and make it look narrower than it is.
"""

import torch
from scipy.stats import t as student_t
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.intervals import Interval

N_BLOCKS = 10


def kid(features: Tensor, real_features: Tensor, *, n_blocks: int = N_BLOCKS, seed: int = 0) -> Interval:
    """KID as the mean over disjoint blocks of both sets, with its 95 % interval (Student's t).

    Args:
        features: (n, d) float32. real_features: (m, d) float32.
        seed: of the order in which samples are dealt to blocks.
        n_blocks: at least 2; each block has min(n, m) // n_blocks samples of either side.

    Raises:
        EvaluationError: fewer than two samples a block.
    """
    size = min(len(features), len(real_features)) // n_blocks
    if size < 2 or n_blocks < 2:
        raise EvaluationError(
            f"KID needs at least {2 * max(n_blocks, 2)} samples on both sides for {n_blocks} blocks, "
            f"got {len(features)} and {len(real_features)}. Ask for more."
        )
    # Samples come with their classes in turn: a block of neighbours would be more balanced than chance
    # makes it, and the estimate would fall below zero.
    generator = torch.Generator().manual_seed(seed)
    ours, real = (x[torch.randperm(len(x), generator=generator)].double() for x in (features, real_features))
    blocks = [slice(start * size, (start + 1) * size) for start in range(n_blocks)]
    distances = torch.stack([poly_mmd(ours[block], real[block]) for block in blocks])
    mean = distances.mean().item()
    quantile = float(student_t.ppf(0.975, n_blocks - 1))
    half = quantile * distances.std().item() / n_blocks**0.5
    return Interval(mean, mean - half, mean + half)
