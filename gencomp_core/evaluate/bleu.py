"""BLEU and chrF of texts against one reference each, through sacreBLEU."""

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF


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


def chrf(texts: Sequence[str], references: Sequence[str]) -> TextScore:
    """Corpus chrF2: F score of character n-grams up to 6. Source: Popović 2015 (ACL W15-3049)."""
    return _score(CHRF(), texts, references)


def _score(metric: BLEU | CHRF, texts: Sequence[str], references: Sequence[str]) -> TextScore:
    value = float(metric.corpus_score(list(texts), [list(references)]).score)
    return TextScore(value, str(metric.get_signature()))
