"""Judging texts: BLEU against references, chrF, perplexity, and how far predictions lie from dense's."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from gencomp_core.analysis.judging import estimate
from gencomp_core.evaluate.bleu import (
    bleu,
    bleu_counts,
    bleu_of_counts,
    bleu_replicates,
    bleu_signature,
    chrf_interval,
)
from gencomp_core.evaluate.intervals import centred_interval, mean_interval
from gencomp_core.evaluate.likelihood import PieceScores
from gencomp_core.records import METRICS, Estimate, Quality
from gencomp_core.workloads.base import TextWorkload

N_RESAMPLES = 1000
READ_TOGETHER = 20
KEPT_PROMPTS = 40
"""First prompts of which dense's predictions are kept by a judge: a search asks for them again and again."""


@dataclass(frozen=True, eq=False)
class TextSamples:
    """Texts and their n-gram counts.

    Attributes:
        texts: one per prompt.
        counts: (n, 10) int64, see `bleu_counts`.
    """

    texts: tuple[str, ...]
    counts: Tensor

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, n: int) -> "TextSamples":
        """Samples number 0 to n - 1."""
        return TextSamples(self.texts[:n], self.counts[:n])

    def then(self, more: "TextSamples") -> "TextSamples":
        """These samples and those that follow them."""
        return TextSamples(self.texts + more.texts, torch.cat([self.counts, more.counts]))

    def tensors(self) -> dict[str, Tensor]:
        """Plain form, for a cache; the texts as JSON in bytes."""
        return {"texts": text_bytes(self.texts), "counts": self.counts.contiguous()}


class TextJudge:
    """BLEU over the prompts of a workload."""

    batch = 100

    def __init__(self, workload: TextWorkload) -> None:
        self.workload = workload
        self.title = f"sacreBLEU {bleu_signature()}"

    def observe(self, outputs: Sequence[list[str]], start: int) -> TextSamples:
        """Count the n-grams of generated batches."""
        texts = tuple(text for batch in outputs for text in batch)
        return TextSamples(texts, bleu_counts(texts, self.workload.references(start, start + len(texts))))

    def restore(self, tensors: Mapping[str, Tensor]) -> TextSamples:
        """Samples from their plain form."""
        return TextSamples(tuple(bytes_texts(tensors["texts"])), tensors["counts"])

    def quality(
        self, samples: TextSamples, dense: TextSamples, *, n_resamples: int | None = None
    ) -> tuple[Quality, Quality, Estimate]:
        """BLEU of both, and their difference from the same resamples."""
        n = len(samples)
        values, replicates, qualities = [], [], []
        for own in (samples, dense):
            values.append(bleu_of_counts(own.counts.sum(0)))
            replicates.append(bleu_replicates(own.counts, n_resamples=n_resamples or N_RESAMPLES))
            interval = centred_interval(values[-1], replicates[-1])
            qualities.append(
                Quality(
                    metric="bleu",
                    name=f"BLEU ({self.title}, n={n})",
                    value=interval.value,
                    low=interval.low,
                    high=interval.high,
                    n_samples=n,
                    better=METRICS["bleu"].better,
                    baselines=self._baselines(n),
                )
            )
        change = centred_interval(values[0] - values[1], replicates[0] - replicates[1])
        return qualities[0], qualities[1], estimate(change)

    def drift(self, model: nn.Module, samples: TextSamples, dense: TextSamples) -> Estimate:
        """KL to dense, nats per piece."""
        return estimate(self._scores(model, len(samples)).kl_per_piece())

    def damage(self, model: nn.Module, samples: TextSamples, dense: TextSamples) -> Estimate:
        """KL to dense, nats per piece."""
        return self.drift(model, samples, dense)

    def fidelity(self, model: nn.Module, samples: TextSamples, dense: TextSamples) -> dict[str, Estimate]:
        """chrF, perplexity of the references, KL and agreement with dense, and the share of texts left as they were."""
        n = len(samples)
        scores = self._scores(model, n)
        return {
            "chrf": estimate(chrf_interval(samples.texts, self.workload.references(0, n))),
            "perplexity": estimate(scores.perplexity()),
            "kl_nats": estimate(scores.kl_per_piece()),
            "token_agreement": estimate(scores.agreement()),
            **self.agreement(samples, dense),
        }

    def agreement(self, samples: TextSamples, other: TextSamples) -> dict[str, Estimate]:
        """Share of texts that are word for word the same."""
        same = [own == text for own, text in zip(samples.texts, other.texts, strict=True)]
        return {"unchanged_texts": estimate(mean_interval(torch.tensor(same, dtype=torch.float64)))}

    @torch.inference_mode()
    def _scores(self, model: nn.Module, n: int) -> PieceScores:
        workload = self.workload
        parts = []
        for start in range(0, n, READ_TOGETHER):
            stop = min(n, start + READ_TOGETHER)
            own, targets, real = workload.log_probs(model, start, stop)
            parts.append(PieceScores.of(own, self._dense_log_probs(start, stop), targets, real))
        return PieceScores.joined(parts)

    def _dense_log_probs(self, start: int, stop: int) -> Tensor:
        known = self._known_log_probs.get((start, stop))
        if known is None:
            known, _, _ = self.workload.log_probs(self.workload.model, start, stop)
            if stop <= KEPT_PROMPTS:
                self._known_log_probs[start, stop] = known
        return known

    def _baselines(self, n: int) -> dict[str, float]:
        if n not in self._known_baselines:
            references = self.workload.references(0, n)
            answers = self.workload.baselines(n)
            self._known_baselines[n] = {name: bleu(texts, references).value for name, texts in answers.items()}
        return self._known_baselines[n]

    @cached_property
    def _known_log_probs(self) -> dict[tuple[int, int], Tensor]:
        return {}

    @cached_property
    def _known_baselines(self) -> dict[int, dict[str, float]]:
        return {}


def text_bytes(texts: Sequence[str]) -> Tensor:
    """Texts as one tensor: (n_bytes,) uint8 of JSON in UTF-8."""
    content = json.dumps(list(texts), ensure_ascii=False).encode()
    return torch.tensor(list(content), dtype=torch.uint8)


def bytes_texts(content: Tensor) -> list[str]:
    """Inverse of `text_bytes`."""
    texts: list[str] = json.loads(bytes(content.tolist()).decode())
    return texts
