"""Damaged texts for denoising pretraining: spans masked or dropped, to be restored."""

import torch
from torch import Tensor

from gencomp_core.data.verses import MASK, PAD
from gencomp_core.training.batches import padded

MEAN_SPAN = 3  # pieces; the λ of BART
DROPPED = 0.2  # of the damaged spans; the others leave a mask


def mask_spans(tokens: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
    """Each text with about `ratio` of its pieces gone, in spans of 3 on average.

    A span becomes one MASK piece (text infilling, Lewis 2020, arXiv:1910.13461, section 2.2; Song 2019,
    arXiv:1905.02450) or, one time in five, vanishes (token deletion, same section).

    Args:
        tokens: (n, s) int64, padded at the end; without begin and end pieces.
        ratio: fraction of the pieces, in [0, 1); at least one piece of each text stays.

    Returns:
        (n, longest) int64, padded anew.
    """
    lengths = (tokens != PAD).sum(dim=1).tolist()
    return padded([_damaged(row[:n], ratio, generator) for row, n in zip(tokens.tolist(), lengths, strict=True)])


def _damaged(row: list[int], ratio: float, generator: torch.Generator) -> list[int]:
    n_gone = min(round(ratio * len(row)), len(row) - 1)
    if n_gone < 1:
        return row
    n_kept = len(row) - n_gone
    n_spans = min(max(1, round(n_gone / MEAN_SPAN)), n_kept + 1)
    gone = _composition(n_gone, n_spans, generator)
    # One kept piece at least between two spans; before the first and after the last there may be none.
    kept = _composition(n_kept + 2, n_spans + 1, generator)
    kept[0], kept[-1] = kept[0] - 1, kept[-1] - 1
    leaves_mask = (torch.rand(n_spans, generator=generator) >= DROPPED).tolist()
    damaged, position = row[: kept[0]], kept[0]
    for n_lost, n_next, masked in zip(gone, kept[1:], leaves_mask, strict=True):
        position += n_lost
        damaged += [MASK] * masked + row[position : position + n_next]
        position += n_next
    return damaged


def _composition(total: int, n_parts: int, generator: torch.Generator) -> list[int]:
    """A random way of writing `total` as a sum of `n_parts` whole numbers from 1 on, all equally likely.

    Source: Raffel 2020 (arXiv:1910.10683), span corruption as in its authors' code.
    """
    cuts = (torch.randperm(total - 1, generator=generator)[: n_parts - 1] + 1).sort().values.tolist()
    return [stop - start for start, stop in zip([0, *cuts], [*cuts, total], strict=True)]
