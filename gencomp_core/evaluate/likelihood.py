"""What a text model thinks of given texts: perplexity, and how far its predictions lie from the dense model's.

Both models read the same sources and references and predict every next piece (teacher forcing), so
that no choice of one model changes what the other is asked.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gencomp_core.evaluate.intervals import Interval, centred_interval, resamples


@dataclass(frozen=True, eq=False)
class PieceScores:
    """Sums over the pieces of each text.

    Attributes:
        n_pieces: (n,) int64.
        negative_log_likelihood: (n,) float64 nats.
        kl: (n,) float64 nats, KL(dense || model).
        agreeing: (n,) int64, pieces whose most likely successor is the same as dense's.
    """

    n_pieces: Tensor
    negative_log_likelihood: Tensor
    kl: Tensor
    agreeing: Tensor

    @classmethod
    def of(cls, log_probs: Tensor, dense_log_probs: Tensor, targets: Tensor, real: Tensor) -> "PieceScores":
        """Scores of one batch.

        Args:
            log_probs, dense_log_probs: (n, t, vocabulary) float32.
            targets: (n, t) int64, the piece that follows.
            real: (n, t) bool; False is padding.
        """
        chosen = log_probs.gather(2, targets[:, :, None])[:, :, 0]
        kl = (dense_log_probs.exp() * (dense_log_probs - log_probs)).sum(2)
        agrees = log_probs.argmax(2) == dense_log_probs.argmax(2)
        return cls(
            n_pieces=real.sum(1),
            negative_log_likelihood=-(chosen.double() * real).sum(1),
            kl=(kl.double() * real).sum(1),
            agreeing=(agrees & real).sum(1),
        )

    @classmethod
    def joined(cls, parts: "list[PieceScores]") -> "PieceScores":
        """Scores of several batches, one after the other."""
        columns = zip(*((p.n_pieces, p.negative_log_likelihood, p.kl, p.agreeing) for p in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    def perplexity(self) -> Interval:
        """exp(nats per piece) with its bootstrap interval over texts."""
        return self._per_piece(self.negative_log_likelihood, exponent=True)

    def kl_per_piece(self) -> Interval:
        """Nats per piece that the model's predictions lie from dense's."""
        return self._per_piece(self.kl)

    def agreement(self) -> Interval:
        """Share of pieces for which model and dense would say the same next."""
        return self._per_piece(self.agreeing.double())

    def _per_piece(self, sums: Tensor, *, exponent: bool = False) -> Interval:
        index = resamples(len(sums), 1000)
        value = sums.sum() / self.n_pieces.sum()
        replicates = sums[index].sum(1) / self.n_pieces[index].sum(1)
        if exponent:
            value, replicates = value.exp(), replicates.exp()
        return centred_interval(value.item(), replicates)
