"""Tuning the bundled text model on the training verses."""

import torch
from torch import Tensor, nn

from gencomp_core.data.verses import BOS, EOS, load_tokenizer, load_verses
from gencomp_core.evaluate.bleu import bleu
from gencomp_core.models import decoding
from gencomp_core.models.seq2seq import Seq2Seq
from gencomp_core.recovery.lesson import FEATURE_WEIGHT, Stateless, Teaching, feature_difference, shared_names, watched
from gencomp_core.training.batches import TextBatches, padded
from gencomp_core.training.task import to_device
from gencomp_core.training.text_task import answers_loss, longest_answer, sampled_answers

N_HELD_OUT_VERSES = 300
LABEL_SMOOTHING = 0.1
LONGEST = 160
TIE_BREAK = 1e-3  # BLEU that a nat a piece is worth


class TextLesson(Stateless):
    """Cross-entropy of the next piece, and the teacher's distribution over it, or the teacher's own texts.

    Source: word and sequence level: Kim & Rush 2016 (arXiv:1606.07947), sections 3.1 and 3.2.
    """

    def __init__(self, teaching: Teaching, batch_size: int, *, seed: int) -> None:
        self.teaching = teaching
        self.batches = TextBatches.of(load_verses("train"), load_tokenizer(), batch_size, seed=seed)
        held_out = load_verses("validation", N_HELD_OUT_VERSES)
        self.held_out_batches = TextBatches.of(held_out, load_tokenizer(), 50, seed=0)

    def loss(self, model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        """Nats a piece."""
        assert isinstance(model, Seq2Seq)
        teaching = self.teaching
        source, target = to_device(model, *self.batches.draw(step))
        if teaching.match == "sequences":
            (taught,) = to_device(model, self._teacher_texts(source, target.shape[1]))
            own = _cross_entropy(model, source, target) if teaching.weight < 1 else 0.0
            return teaching.mix(own, _cross_entropy(model, source, taught))
        if not teaching.weight:
            return _cross_entropy(model, source, target)
        names = shared_names(model, teaching.teacher) if teaching.with_features else []
        with watched(model, names) as own_features:
            log_probs = _log_probs(model, source, target)
        with torch.no_grad(), watched(teaching.teacher, names) as features:
            taught = _log_probs(teaching.teacher, source, target)
        following, real = target[:, 1:], target[:, 1:] != model.config.pad
        chosen = log_probs.gather(2, following[:, :, None])[:, :, 0]
        of_data = -(chosen * real).sum() / real.sum()
        divergence = (taught.exp() * (taught - log_probs)).sum(2)
        of_teacher = (divergence * real).sum() / real.sum()
        if names:
            of_teacher = of_teacher + FEATURE_WEIGHT * feature_difference(own_features, features)
        return teaching.mix(of_data, of_teacher)

    def held_out(self, model: nn.Module) -> float:
        """Negative log-likelihood of 300 validation verses, nats a piece."""
        assert isinstance(model, Seq2Seq)
        total, n_pieces = 0.0, 0
        for _, source, target in self.held_out_batches.in_order():
            source, target = to_device(model, source, target)
            real = target[:, 1:] != model.config.pad
            total -= (model(source, target) * real).sum().item()
            n_pieces += int(real.sum())
        return total / n_pieces

    @torch.no_grad()
    def _teacher_texts(self, source: Tensor, length: int) -> Tensor:
        """What the teacher answers to the sources, as targets: (n, t) int64."""
        teacher = self.teaching.teacher
        assert isinstance(teacher, Seq2Seq)
        with torch.autocast(source.device.type, enabled=False):
            found = decoding.greedy(teacher, source, begin=BOS, end=EOS, max_length=min(LONGEST, 2 * length))
        return padded([[BOS, *row, EOS] for row in found])


class SelfCriticalLesson(TextLesson):
    """The text lesson mixed with the self-critical loss; better is what has a higher BLEU.

    Args:
        reward: weight of the self-critical loss.
    """

    def __init__(self, teaching: Teaching, batch_size: int, *, seed: int, reward: float) -> None:
        super().__init__(teaching, batch_size, seed=seed)
        self.reward, self.tokenizer = reward, load_tokenizer()
        self.references = load_verses("validation", N_HELD_OUT_VERSES).modern

    def loss(self, model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        """Both losses, weighted."""
        assert isinstance(model, Seq2Seq)
        plain = super().loss(model, step, generator) if self.reward < 1 else torch.zeros(())
        source, target = self.batches.draw(step)
        longest = longest_answer(target)
        sampled, advantage = sampled_answers(model, source, target, longest, self.tokenizer, generator)
        return (1 - self.reward) * plain + self.reward * answers_loss(model, source, sampled, advantage, longest)

    def held_out(self, model: nn.Module) -> float:
        """BLEU of greedy decoding of 300 validation verses, negative; the likelihood decides between equal ones."""
        assert isinstance(model, Seq2Seq)
        texts: dict[int, str] = {}
        for index, source, _ in self.held_out_batches.in_order():
            decoded = decoding.greedy(model, *to_device(model, source), begin=BOS, end=EOS, max_length=LONGEST)
            texts |= dict(zip(index, self.tokenizer.decode_batch(decoded), strict=True))
        score = bleu([texts[i] for i in range(len(texts))], self.references).value
        return super().held_out(model) * TIE_BREAK - score


def _cross_entropy(model: Seq2Seq, source: Tensor, target: Tensor) -> Tensor:
    """Smoothed negative log-likelihood, nats a piece."""
    log_probs, uniform = model(source, target, with_uniform=True)
    real = target[:, 1:] != model.config.pad
    smoothed = (1 - LABEL_SMOOTHING) * log_probs + LABEL_SMOOTHING * uniform
    loss: Tensor = -(smoothed * real).sum() / real.sum()
    return loss


def _log_probs(model: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities of every piece along the targets: (n, t - 1, vocabulary) float32."""
    assert isinstance(model, Seq2Seq)
    state = model.start(source)
    hidden, attention = model.advance(target[:, :-1], state)
    return model.log_probs(hidden, attention, state)
