"""Perplexity, KL and agreement against closed forms and torch's own losses."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gencomp_core.evaluate.likelihood import PieceScores

VOCABULARY = 7


def log_probs(n: int, t: int, seed: int) -> Tensor:
    return torch.randn(n, t, VOCABULARY, generator=torch.Generator().manual_seed(seed)).log_softmax(2)


@pytest.fixture
def targets() -> Tensor:
    return torch.randint(0, VOCABULARY, (5, 4), generator=torch.Generator().manual_seed(0))


def all_real(targets: Tensor) -> Tensor:
    return torch.ones_like(targets, dtype=torch.bool)


def test_perplexity_is_the_exponential_of_torchs_cross_entropy(targets: Tensor) -> None:
    own = log_probs(5, 4, 1)
    scores = PieceScores.of(own, log_probs(5, 4, 2), targets, all_real(targets))
    expected = F.cross_entropy(own.flatten(0, 1), targets.flatten()).exp().item()
    assert scores.perplexity().value == pytest.approx(expected, rel=1e-6)


def test_a_model_that_knows_nothing_is_as_perplexed_as_the_vocabulary_is_large(targets: Tensor) -> None:
    uniform = torch.full((5, 4, VOCABULARY), -math.log(VOCABULARY))
    scores = PieceScores.of(uniform, uniform, targets, all_real(targets))
    assert scores.perplexity().value == pytest.approx(VOCABULARY, rel=1e-6)
    assert scores.kl_per_piece().value == pytest.approx(0, abs=1e-9)
    assert scores.agreement().value == 1


def test_the_divergence_is_that_of_torch_from_dense_to_the_model(targets: Tensor) -> None:
    own, dense = log_probs(5, 4, 1), log_probs(5, 4, 2)
    scores = PieceScores.of(own, dense, targets, all_real(targets))
    expected = F.kl_div(own.flatten(0, 1), dense.flatten(0, 1), log_target=True, reduction="batchmean").item()
    assert scores.kl_per_piece().value == pytest.approx(expected, rel=1e-5)
    backwards = F.kl_div(dense.flatten(0, 1), own.flatten(0, 1), log_target=True, reduction="batchmean").item()
    assert scores.kl_per_piece().value != pytest.approx(backwards, rel=1e-3)


def test_agreement_is_the_share_of_equal_favourites(targets: Tensor) -> None:
    own, dense = log_probs(5, 4, 1), log_probs(5, 4, 2)
    scores = PieceScores.of(own, dense, targets, all_real(targets))
    assert scores.agreement().value == pytest.approx((own.argmax(2) == dense.argmax(2)).float().mean().item())


def test_padding_counts_nowhere(targets: Tensor) -> None:
    own, dense = log_probs(5, 4, 1), log_probs(5, 4, 2)
    real = all_real(targets)
    real[:, 3:] = False
    padded = PieceScores.of(own, dense, targets, real)
    cut = PieceScores.of(own[:, :3], dense[:, :3], targets[:, :3], all_real(targets[:, :3]))
    assert torch.equal(padded.n_pieces, cut.n_pieces)
    assert padded.perplexity().value == pytest.approx(cut.perplexity().value)
    assert padded.kl_per_piece().value == pytest.approx(cut.kl_per_piece().value)


def test_batches_one_after_the_other_are_one(targets: Tensor) -> None:
    own, dense, real = log_probs(5, 4, 1), log_probs(5, 4, 2), all_real(targets)
    whole = PieceScores.of(own, dense, targets, real)
    parts = [PieceScores.of(own[i], dense[i], targets[i], real[i]) for i in (slice(0, 2), slice(2, 5))]
    joined = PieceScores.joined(parts)
    assert joined.perplexity() == whole.perplexity()
    assert joined.kl_per_piece().low <= joined.kl_per_piece().value <= joined.kl_per_piece().high
