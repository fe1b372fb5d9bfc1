"""BLEU and chrF of texts against one reference each, through sacreBLEU."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from scipy.stats import t as student_t
from torch import Tensor

from gencomp_core.evaluate.intervals import Interval, resamples

ORDER = 4


@dataclass(frozen=True)
class TextScore:
    """One corpus score.

    Attributes:
        value: in [0, 100]; higher is better.
        signature: sacreBLEU's own account of how it was made (Post 2018, arXiv:1804.08771).
    """

    value: float
    signature: str


def bleu(texts: Sequence[str], references: Sequence[str]) -> TextScore:
    """Corpus BLEU with sacreBLEU's defaults: cased, 13a tokens, exponential smoothing.

    Source: Papineni 2002 (ACL P02-1040).
    """
    return _score(BLEU(), texts, references)


def bleu_counts(texts: Sequence[str], references: Sequence[str]) -> Tensor:
    """What corpus BLEU is a function of, text by text: (n, 10) int64, to be summed over any texts.

    Columns: matching n-grams of orders 1 to 4, n-grams of orders 1 to 4, length, reference length.
    """
    metric = BLEU(effective_order=True)  # the same counts; without it sacreBLEU warns about single sentences
    scores = [metric.sentence_score(text, [own]) for text, own in zip(texts, references, strict=True)]
    rows = [[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), 2 * ORDER + 2)


def bleu_of_counts(counts: Tensor) -> float:
    """Corpus BLEU of summed counts: (10,) int64 -> [0, 100]; equals `bleu` of the same texts."""
    row = counts.tolist()
    matching, totals, (length, reference_length) = row[:ORDER], row[ORDER : 2 * ORDER], row[2 * ORDER :]
    return float(BLEU.compute_bleu(matching, totals, length, reference_length, smooth_method="exp").score)


def bleu_replicates(counts: Tensor, *, n_resamples: int = 1000, seed: int = 0) -> Tensor:
    """BLEU of bootstrap resamples of the texts: (n, 10) -> (n_resamples,) float64.

    Two systems with the same seed are resampled together (paired bootstrap, Koehn 2004, ACL W04-3250).
    """
    sums = counts[resamples(len(counts), n_resamples, seed=seed)].sum(1)
    return torch.tensor([bleu_of_counts(row) for row in sums], dtype=torch.float64)


def bleu_signature() -> str:
    """sacreBLEU's account of how `bleu` is made, for one reference a text."""
    metric = BLEU()
    metric.corpus_score(["a"], [["a"]])  # the number of references is part of it
    return str(metric.get_signature())


def chrf(texts: Sequence[str], references: Sequence[str]) -> TextScore:
    """Corpus chrF2: F score of character n-grams up to 6. Source: Popović 2015 (ACL W15-3049)."""
    return _score(CHRF(), texts, references)


def chrf_interval(texts: Sequence[str], references: Sequence[str], *, n_groups: int = 10) -> Interval:
    """Corpus chrF2 with its 95 % interval over texts, by a delete-a-group jackknife.

    sacreBLEU keeps the counts of a text to itself and its own bootstrap fails where a resample matches
    nothing. Leaving out one group of texts at a time needs no counts.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 11.5 (grouped jackknife).
    """
    value = chrf(texts, references).value
    n = min(n_groups, len(texts))
    left_out = []
    for group in range(n):
        kept = [i for i in range(len(texts)) if i % n != group]
        left_out.append(chrf([texts[i] for i in kept], [references[i] for i in kept]).value)
    spread = torch.tensor(left_out, dtype=torch.float64)
    error = float(((n - 1) / n * (spread - spread.mean()).square().sum()).sqrt())
    half = float(student_t.ppf(0.975, n - 1)) * error
    return Interval(value, max(0.0, value - half), min(100.0, value + half))


def _score(metric: BLEU | CHRF, texts: Sequence[str], references: Sequence[str]) -> TextScore:
    value = float(metric.corpus_score(list(texts), [list(references)]).score)
    return TextScore(value, str(metric.get_signature()))
