"""Self-critical training against sacreBLEU, the exact policy gradient and the sampled distribution."""

import pytest
import sacrebleu
import torch
from scipy.stats import chisquare

from gencomp_core.models.decoding import greedy, sample
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.training.reinforcement import rewards, self_critical_loss

BEGIN, END = 1, 2


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model() -> Seq2Seq:
    torch.manual_seed(0)
    shape = Seq2SeqConfig(vocabulary=13, dim=16, n_heads=2, encoder_layers=1, decoder_layers=1, dropout=0.3)
    model = Seq2Seq(shape).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.embedding.weight *= 0.7  # a flatter distribution: every piece is sampled at times
    return model


# --- reward


def test_the_reward_is_sacrebleu_s_sentence_score() -> None:
    texts = ["In the beginning God made the sky.", "Yes.", "", "He went up to the city", "no such words here"]
    references = ["In the beginning God created the heavens.", "Yes.", "Amen.", "He went up to the city", "Selah."]
    expected = [sacrebleu.sentence_bleu(text, [own]).score for text, own in zip(texts, references, strict=True)]
    assert rewards(texts, references).tolist() == pytest.approx(expected, rel=1e-6)
    assert rewards(texts, references)[3].item() == pytest.approx(100)


# --- gradient


def test_averaged_over_all_outcomes_the_gradient_is_that_of_the_expected_reward() -> None:
    logits = torch.tensor([0.3, -1.2, 2.0, 0.0, 0.7], dtype=torch.float64, requires_grad=True)
    reward = torch.tensor([10.0, 0.0, 3.0, 55.0, 21.0], dtype=torch.float64)
    probabilities = logits.detach().softmax(0)
    baseline = reward[logits.argmax()]
    averaged = torch.zeros(5, dtype=torch.float64)
    for outcome in range(5):
        log_prob = logits.log_softmax(0)[outcome].view(1, 1)
        loss = self_critical_loss(log_prob, torch.ones(1, 1, dtype=torch.bool), (reward[outcome] - baseline).view(1))
        averaged += probabilities[outcome] * torch.autograd.grad(loss, logits)[0]
    (exact,) = torch.autograd.grad((logits.softmax(0) * reward).sum(), logits)
    closed_form = probabilities * (reward - (probabilities * reward).sum())
    torch.testing.assert_close(exact, closed_form)
    torch.testing.assert_close(averaged, -exact)


def test_of_texts_of_two_tokens_it_is_half_of_it_because_tokens_are_averaged() -> None:
    first = torch.randn(3, generator=generator(), dtype=torch.float64, requires_grad=True)
    second = torch.randn(3, 3, generator=generator(1), dtype=torch.float64, requires_grad=True)  # given the first
    reward = 100 * torch.rand(3, 3, generator=generator(2), dtype=torch.float64)
    averaged = [torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)]
    joint = first.softmax(0)[:, None] * second.softmax(1)
    for i in range(3):
        for j in range(3):
            log_probs = torch.stack([first.log_softmax(0)[i], second.log_softmax(1)[i, j]])[None]
            loss = self_critical_loss(log_probs, torch.ones(1, 2, dtype=torch.bool), (reward[i, j] - 7.0).view(1))
            for total, gradient in zip(averaged, torch.autograd.grad(loss, [first, second]), strict=True):
                total += joint[i, j].detach() * gradient
    exact = torch.autograd.grad((joint * reward).sum(), [first, second])
    for total, gradient in zip(averaged, exact, strict=True):
        torch.testing.assert_close(total, -gradient / 2)


def test_without_advantage_there_is_no_gradient() -> None:
    log_probs = torch.randn(4, 6, generator=generator()).requires_grad_(True)
    loss = self_critical_loss(log_probs, torch.ones(4, 6, dtype=torch.bool), torch.zeros(4))
    assert torch.autograd.grad(loss, log_probs)[0].abs().max() == 0


def test_each_sampled_token_weighs_the_same_and_padding_nothing() -> None:
    log_probs = torch.randn(2, 3, generator=generator()).requires_grad_(True)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    (gradient,) = torch.autograd.grad(self_critical_loss(log_probs, mask, torch.tensor([8.0, -4.0])), log_probs)
    assert gradient.tolist() == [[-2.0, -2.0, -2.0], [1.0, 0.0, 0.0]]


def test_the_advantage_itself_is_not_differentiated() -> None:
    advantage = torch.ones(2, requires_grad=True)
    loss = self_critical_loss(torch.randn(2, 3, requires_grad=True), torch.ones(2, 3, dtype=torch.bool), advantage)
    assert torch.autograd.grad(loss, advantage, allow_unused=True) == (None,)


# --- sampling


def test_samples_follow_the_distribution_of_the_model(model: Seq2Seq) -> None:
    n = 20_000
    source = torch.tensor([[5, 9, 7, 5]])
    state = model.start(source)
    with torch.no_grad():
        log_probs = model.next_log_probs(*model.advance(torch.tensor([[BEGIN]]), state), state)[0]
    expected = log_probs.double().softmax(0)
    rows = sample(model, source.expand(n, 4), begin=BEGIN, end=END, max_length=1, generator=generator())
    drawn = torch.tensor([row[0] if row else END for row in rows])
    counts = drawn.bincount(minlength=13)
    assert expected.min() * n > 5
    assert chisquare(counts.numpy(), (n * expected).numpy()).pvalue > 0.01
    assert chisquare(counts.numpy(), (n * (0.9 * expected + 0.1 / 13)).numpy()).pvalue < 1e-6  # it can tell


def test_the_second_token_follows_the_distribution_after_the_first(model: Seq2Seq) -> None:
    n = 20_000
    source = torch.tensor([[5, 9, 7, 5]])
    rows = sample(model, source.expand(n, 4), begin=BEGIN, end=END, max_length=2, generator=generator(1))
    first = torch.tensor([row[0] if row else END for row in rows]).bincount()
    first[END] = 0
    token = int(first.argmax())
    state = model.start(source)
    with torch.no_grad():
        log_probs = model.next_log_probs(*model.advance(torch.tensor([[BEGIN, token]]), state), state)[0]
    expected = log_probs.double().softmax(0)
    seconds = torch.tensor([row[1] if len(row) > 1 else END for row in rows if row and row[0] == token])
    assert expected.min() * len(seconds) > 5
    assert chisquare(seconds.bincount(minlength=13).numpy(), (len(seconds) * expected).numpy()).pvalue > 0.01


def test_samples_are_seeded_and_end_at_the_end_piece(model: Seq2Seq) -> None:
    source = torch.randint(3, 13, (8, 5), generator=generator())
    options = {"begin": BEGIN, "end": END, "max_length": 12}
    rows = sample(model, source, generator=generator(4), **options)
    assert rows == sample(model, source, generator=generator(4), **options)
    assert rows != sample(model, source, generator=generator(5), **options)
    assert len({len(row) for row in rows}) > 1
    assert all(END not in row and len(row) <= 12 for row in rows)


def test_a_sharp_distribution_is_sampled_as_greedy_search_decodes_it(model: Seq2Seq) -> None:
    with torch.no_grad():
        model.embedding.weight *= 200
        model.copy_gate.weight.zero_()
        model.copy_gate.bias.fill_(60.0)  # never copy
    source = torch.randint(3, 13, (4, 5), generator=generator())
    options = {"begin": BEGIN, "end": END, "max_length": 6}
    assert sample(model, source, generator=generator(), **options) == greedy(model, source, **options)


def test_rows_of_a_batch_that_is_cut_in_two_are_the_same(model: Seq2Seq) -> None:
    source = torch.randint(3, 13, (6, 5), generator=generator())
    options = {"begin": BEGIN, "end": END, "max_length": 9}
    whole = sample(model, source, generator=generator(2), **options)
    second = generator(2)
    torch.rand(3, 9, generator=second)
    assert sample(model, source[3:], generator=second, **options) == whole[3:]
