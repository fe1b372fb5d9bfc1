"""Self-critical sequence training: the policy gradient whose baseline is the model's own greedy output.

Source: Rennie 2017 (arXiv:1612.00563), equations 5 to 9, with sentence BLEU as reward.
"""

from collections.abc import Sequence

import torch
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor


def rewards(texts: Sequence[str], references: Sequence[str]) -> Tensor:
    """Sentence BLEU of each text, over the orders of n-grams that it has: (n,) float32 in [0, 100].

    Source: Post 2018 (arXiv:1804.08771), sacreBLEU with effective order and exponential smoothing.
    """
    metric = BLEU(effective_order=True)
    scores = [metric.sentence_score(text, [own]).score for text, own in zip(texts, references, strict=True)]
    return torch.tensor(scores, dtype=torch.float32)


def self_critical_loss(log_probs: Tensor, mask: Tensor, advantage: Tensor) -> Tensor:
    """-advantage · log p(sample), averaged over all tokens of the samples.

    Args:
        log_probs: (n, t) float32 of the sampled tokens.
        mask: (n, t) bool; True where a token was sampled.
        advantage: (n,) float32, reward of the sample minus reward of the greedy output.
    """
    return -(advantage.detach()[:, None] * log_probs * mask).sum() / mask.sum()
