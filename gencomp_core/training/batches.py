"""Batches of verse pairs of about equal length, each pair once an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gencomp_core.data.verses import BOS, EOS, PAD, VersePairs

if TYPE_CHECKING:
    from tokenizers import Tokenizer

POOL = 50  # batches whose pairs are sorted by length together: little padding, still random


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
        return _pad([self.source[i] for i in index.tolist()]), _pad([self.target[i] for i in index.tolist()])


def _pad(rows: list[list[int]]) -> Tensor:
    """Ids of different lengths as one matrix: (n, longest) int64."""
    padded = torch.full((len(rows), max(map(len, rows))), PAD)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return padded
