"""Training on verse pairs: the encoder–decoder."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gencomp_core.data.verses import BOS, EOS, load_tokenizer, load_verses
from gencomp_core.evaluate.bleu import bleu
from gencomp_core.models import decoding
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.training.batches import TextBatches
from gencomp_core.training.config import TextTraining
from gencomp_core.training.task import Player, to_device

N_HELD_OUT_VERSES = 300
MAX_PIECES = 160


class TextTask:
    """Cross-entropy of the next piece, with label smoothing."""

    def __init__(self, config: TextTraining) -> None:
        self.config = config
        tokenizer = load_tokenizer()
        shape = Seq2SeqConfig(
            vocabulary=tokenizer.get_vocab_size(),
            dim=config.dim,
            width=config.width,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            dropout=config.dropout,
            attention=config.attention,
            residual=config.residual,
        )
        self.network = Seq2Seq(shape)
        self.players = (Player("network", self.network, self.loss),)
        self.tokenizer = tokenizer
        self.batches = TextBatches.of(load_verses("train"), tokenizer, config.batch_size, seed=config.seed)
        self.held_out = load_verses("validation", N_HELD_OUT_VERSES)
        self.held_out_batches = TextBatches.of(self.held_out, tokenizer, 50, seed=0)

    def loss(self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice) -> Tensor:
        """Smoothed negative log-likelihood in nats per piece."""
        source, target = self.batches.draw(step)
        n_pieces = int((target[:, 1:] != self.network.config.pad).sum())
        n_shares = len(range(*share.indices(len(source)))) / len(source)
        network = networks["network"]
        source, target = to_device(network, source[share], target[share])
        log_probs, uniform = network(source, target, with_uniform=True)
        smoothed = (1 - self.config.label_smoothing) * log_probs + self.config.label_smoothing * uniform
        total: Tensor = -(smoothed * (target[:, 1:] != self.network.config.pad)).sum()
        return total / (n_pieces * n_shares)

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
