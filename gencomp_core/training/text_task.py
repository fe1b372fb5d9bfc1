"""Training on verse pairs: the encoder–decoder."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gencomp_core.data.verses import BOS, EOS, PAD, load_tokenizer, load_verses
from gencomp_core.evaluate.bleu import bleu
from gencomp_core.models import decoding
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.training.batches import TextBatches, competence, padded
from gencomp_core.training.config import TextTraining
from gencomp_core.training.denoising import mask_spans
from gencomp_core.training.reinforcement import rewards, self_critical_loss
from gencomp_core.training.task import Player, to_device

if TYPE_CHECKING:
    from tokenizers import Tokenizer

N_HELD_OUT_VERSES = 300
MAX_PIECES = 160
DAMAGE = 0.35  # of the pieces, in denoising pretraining


def longest_answer(target: Tensor) -> int:
    """Pieces that an answer may have: twice as many as the longest target."""
    return min(MAX_PIECES, 2 * target.shape[1])


def sampled_answers(
    network: Seq2Seq,
    source: Tensor,
    target: Tensor,
    max_length: int,
    tokenizer: "Tokenizer",
    generator: torch.Generator,
) -> tuple[list[list[int]], Tensor]:
    """One sample per source, and by how much its sentence BLEU beats that of the greedy answer: (n,) in [-1, 1]."""
    references = tokenizer.decode_batch(target.tolist())
    (source,) = to_device(network, source)
    options = {"begin": BOS, "end": EOS, "max_length": max_length}
    network.eval()
    # Autocast would keep weights cast without a gradient, and use them again in the forward pass that follows.
    with torch.autocast(source.device.type, enabled=False):
        sampled = decoding.sample(network, source, generator=generator, **options)
        greedy = decoding.greedy(network, source, **options)
    network.train()
    texts, baseline = tokenizer.decode_batch(sampled), tokenizer.decode_batch(greedy)
    return sampled, (rewards(texts, references) - rewards(baseline, references)) / 100


def answers_loss(
    network: nn.Module, source: Tensor, sampled: list[list[int]], advantage: Tensor, max_length: int
) -> Tensor:
    """Self-critical loss of sampled answers."""
    rows = [[BOS, *row, EOS][: max_length + 1] for row in sampled]  # a row of full length has not ended
    mask = torch.arange(1, max(map(len, rows))) < torch.tensor([len(row) for row in rows])[:, None]
    source, tokens, mask, advantage = to_device(network, source, padded(rows), mask, advantage)
    return self_critical_loss(network(source, tokens), mask, advantage)


class TextTask:
    """Cross-entropy of the next piece, with label smoothing; on request after pretraining, and with a reward."""

    def __init__(self, config: TextTraining) -> None:
        self.config = config
        tokenizer = load_tokenizer()
        shape = Seq2SeqConfig(
            vocabulary=tokenizer.get_vocab_size(),
            dim=config.dim,
            width=config.width,
            encoder_layers=max(1, round(config.encoder_layers * config.depth)),
            decoder_layers=max(1, round(config.decoder_layers * config.depth)),
            dropout=config.dropout,
            attention=config.attention,
            residual=config.residual,
        )
        self.network = Seq2Seq(shape)
        self.players = (Player("network", self.network, self.loss),)
        self.n_pretraining = round(config.pretrain * config.steps)
        self.tokenizer = tokenizer
        self.batches = TextBatches.of(load_verses("train"), tokenizer, config.batch_size, seed=config.seed)
        self.held_out = load_verses("validation", N_HELD_OUT_VERSES)
        self.held_out_batches = TextBatches.of(self.held_out, tokenizer, 50, seed=0)

    def loss(self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice) -> Tensor:
        """Smoothed negative log-likelihood in nats per piece, mixed with the self-critical loss."""
        source, target = self._draw(step, generator)
        network = networks["network"]
        loss = self._cross_entropy(network, source, target, share)
        weight = self.config.self_critical if step >= self.n_pretraining else 0.0
        if not weight:
            return loss
        return (1 - weight) * loss + weight * self._self_critical(network, source, target, generator, share)

    def _draw(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Source and target of a step: damaged and whole modern texts first, then verse pairs, short ones first."""
        config, n_before = self.config, self.n_pretraining
        if step < n_before:
            _, target = self.batches.draw(step)
            pieces = target[:, 1:-1]
            return mask_spans(pieces.masked_fill(pieces == EOS, PAD), DAMAGE, generator), target
        admitted = competence(step - n_before, steps=config.curriculum * (config.steps - n_before))
        return self.batches.draw(step) if admitted == 1 else self.batches.draw_easy(admitted, generator)

    def _cross_entropy(self, network: nn.Module, source: Tensor, target: Tensor, share: slice) -> Tensor:
        n_pieces = int((target[:, 1:] != self.network.config.pad).sum())
        n_shares = len(range(*share.indices(len(source)))) / len(source)
        source, target = to_device(network, source[share], target[share])
        log_probs, uniform = network(source, target, with_uniform=True)
        smoothed = (1 - self.config.label_smoothing) * log_probs + self.config.label_smoothing * uniform
        total: Tensor = -(smoothed * (target[:, 1:] != self.network.config.pad)).sum()
        return total / (n_pieces * n_shares)

    def _self_critical(
        self, network: nn.Module, source: Tensor, target: Tensor, generator: torch.Generator, share: slice
    ) -> Tensor:
        """Self-critical loss of one sample per source; the reward is sentence BLEU as a fraction."""
        max_length = longest_answer(target)
        torch.rand(share.indices(len(source))[0], max_length, generator=generator)  # what earlier processes draw
        own = source[share], target[share], max_length
        sampled, advantage = sampled_answers(self.network, *own, self.tokenizer, generator)
        return answers_loss(network, source[share], sampled, advantage, max_length)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """BLEU of greedy decoding, and perplexity per piece, on validation verses."""
        assert isinstance(network, Seq2Seq)
        total, n_pieces = 0.0, 0
        texts: dict[int, str] = {}
        for index, source, target in self.held_out_batches.in_order():
            source, target = to_device(network, source, target)
            real = target[:, 1:] != network.config.pad
            total -= (network(source, target) * real).sum().item()
            n_pieces += int(real.sum())
            decoded = decoding.greedy(network, source, begin=BOS, end=EOS, max_length=MAX_PIECES)
            texts |= dict(zip(index, self.tokenizer.decode_batch(decoded), strict=True))
        score = bleu([texts[i] for i in range(len(texts))], self.held_out.modern)
        return {"bleu": score.value, "perplexity": math.exp(total / n_pieces)}

    def badness(self, figures: Mapping[str, float]) -> float:
        """BLEU, negative."""
        return -figures["bleu"]

    def finish(self, network: nn.Module) -> None:
        """Nothing to do."""
