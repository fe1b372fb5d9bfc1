"""Batches of verse pairs of about equal length, each pair once an epoch; short pairs first, if asked."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gencomp_core.data.verses import BOS, EOS, PAD, VersePairs

if TYPE_CHECKING:
    from tokenizers import Tokenizer

POOL = 50  # batches whose pairs are sorted by length together: little padding, still random
FIRST_COMPETENCE = 0.1


@dataclass
class TextBatches:
    """Tokenized pairs; batch number `step` depends on seed and step alone.

    Attributes:
        source, target: ids of each pair; the target from the begin piece to the end piece.
        batch_size: pairs a batch.
    """

    source: list[list[int]]
    target: list[list[int]]
    batch_size: int
    seed: int
    _epoch: int = -1
    _order: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, pairs: VersePairs, tokenizer: "Tokenizer", batch_size: int, *, seed: int) -> "TextBatches":
        """Tokenize pairs."""
        source = [encoding.ids for encoding in tokenizer.encode_batch(list(pairs.archaic))]
        target = [[BOS, *encoding.ids, EOS] for encoding in tokenizer.encode_batch(list(pairs.modern))]
        return cls(source, target, batch_size, seed)

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Padded source (n, s) and target (n, t) of a step, int64; pairs that fill no batch wait for the next epoch."""
        epoch, number = divmod(step, max(1, len(self.source) // self.batch_size))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        return self._padded(self._order[number])

    def draw_easy(self, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random batch as `draw` gives it, of the pairs whose targets are the shortest `share` of all.

        Source: Platanios 2019 (arXiv:1903.09848), algorithm 1, difficulty = quantile of the length.
        """
        order, lengths = self._by_target_length
        hardest = min(max(math.ceil(share * len(order)), self.batch_size), len(order)) - 1
        n_admitted = int(torch.searchsorted(lengths, lengths[hardest], right=True))  # pairs as long as the hardest too
        n_batches = min(POOL, max(1, n_admitted // self.batch_size))
        pool = torch.randperm(n_admitted, generator=generator)[: n_batches * self.batch_size].sort().values
        number = int(torch.randint(n_batches, (), generator=generator))
        return self._padded(order[torch.split(pool, self.batch_size)[number]])

    @cached_property
    def _by_target_length(self) -> tuple[Tensor, Tensor]:
        """Pairs from the shortest target to the longest, and the lengths in that order."""
        lengths, order = torch.tensor([len(ids) for ids in self.target]).sort(stable=True)
        return order, lengths

    def in_order(self) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """All pairs once, shortest sources first: their positions, source and target."""
        by_length = torch.tensor([len(ids) for ids in self.source]).argsort(stable=True)
        for index in torch.split(by_length, self.batch_size):
            yield (index.tolist(), *self._padded(index))

    def _shuffled(self, epoch: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        lengths = torch.tensor([len(ids) for ids in self.target])
        order = torch.randperm(len(self.source), generator=generator)
        batches: list[Tensor] = []
        for pool in torch.split(order, POOL * self.batch_size):
            by_length = pool[lengths[pool].argsort(stable=True)]
            batches += [batch for batch in torch.split(by_length, self.batch_size) if len(batch) == self.batch_size]
        if not batches:
            return [order]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _padded(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return padded([self.source[i] for i in index.tolist()]), padded([self.target[i] for i in index.tolist()])


def competence(step: int, *, steps: float) -> float:
    """Share of the pairs, easiest first, that a step may draw: 0.1 at first, 1 from `steps` on.

    c(t) = min(1, √(t · (1 - c₀²) / T + c₀²)).

    Source: Platanios 2019 (arXiv:1903.09848), equation 7; easy to hard: Bengio 2009 (ICML).
    """
    if step >= steps:
        return 1.0
    return math.sqrt(step * (1 - FIRST_COMPETENCE**2) / steps + FIRST_COMPETENCE**2)


def padded(rows: list[list[int]]) -> Tensor:
    """Ids of different lengths as one matrix: (n, longest) int64."""
    matrix = torch.full((len(rows), max(map(len, rows))), PAD)
    for row, ids in zip(matrix, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return matrix
