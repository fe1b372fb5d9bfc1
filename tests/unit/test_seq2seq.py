"""The encoder–decoder: its probabilities are probabilities, its cache changes nothing, its search is a search."""

import itertools

import pytest
import torch

from gencomp_core.compression.layers import weight_layers
from gencomp_core.models.decoding import beam_search, greedy
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig, sinusoids

PAD, BEGIN, END = 0, 1, 2
CONFIG = Seq2SeqConfig(vocabulary=23, dim=16, n_heads=2, encoder_layers=2, decoder_layers=2, dropout=0.0)


@pytest.fixture
def model() -> Seq2Seq:
    torch.manual_seed(0)
    model = Seq2Seq(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def source(n: int = 3, length: int = 7, seed: int = 1) -> torch.Tensor:
    return torch.randint(3, 23, (n, length), generator=torch.Generator().manual_seed(seed))


def test_the_mixture_is_a_distribution(model: Seq2Seq) -> None:
    state = model.start(source())
    hidden, attention = model.advance(torch.full((3, 1), BEGIN), state)
    assert torch.allclose(model.next_log_probs(hidden, attention, state).exp().sum(1), torch.ones(3), atol=1e-5)


def test_scoring_given_tokens_agrees_with_the_full_distribution(model: Seq2Seq) -> None:
    target = torch.cat([torch.full((3, 1), BEGIN), source(seed=2)], dim=1)
    scored = model(source(), target)
    state = model.start(source())
    for step in range(target.shape[1] - 1):
        hidden, attention = model.advance(target[:, step : step + 1], state)
        expected = model.next_log_probs(hidden, attention, state).gather(1, target[:, step + 1 : step + 2])[:, 0]
        assert torch.allclose(scored[:, step], expected, atol=1e-4)


def test_padding_the_source_changes_nothing(model: Seq2Seq) -> None:
    target = torch.cat([torch.full((3, 1), BEGIN), source(seed=2)], dim=1)
    padded = torch.cat([source(), torch.full((3, 4), PAD)], dim=1)
    assert torch.allclose(model(source(), target), model(padded, target), atol=1e-5)


def test_a_copied_token_is_likelier_when_it_stands_in_the_source(model: Seq2Seq) -> None:
    with torch.no_grad():
        model.copy_gate.weight.zero_()
        model.copy_gate.bias.fill_(-4.0)  # copy almost always
    state = model.start(torch.tensor([[5, 6, 7]]))
    hidden, attention = model.advance(torch.tensor([[BEGIN]]), state)
    probabilities = model.next_log_probs(hidden, attention, state).exp()[0]
    assert probabilities[[5, 6, 7]].sum() > 0.98


def test_the_embedding_is_the_output_layer_and_counts_once(model: Seq2Seq) -> None:
    names = list(weight_layers(model))
    assert names.count("embedding") == 1
    assert not any("logits" in name or name == "out" for name in names)
    before = model(source(), torch.tensor([[BEGIN, 5]] * 3))
    with torch.no_grad():
        model.embedding.weight[5].add_(1.0)
    assert not torch.allclose(before, model(source(), torch.tensor([[BEGIN, 5]] * 3)))


def test_greedy_is_the_most_likely_token_at_every_step(model: Seq2Seq) -> None:
    (found,) = greedy(model, source(1), begin=BEGIN, end=END, max_length=6)
    tokens = [BEGIN]
    for _ in range(6):
        state = model.start(source(1))
        hidden, attention = model.advance(torch.tensor([tokens]), state)
        tokens.append(int(model.next_log_probs(hidden, attention, state).argmax()))
        if tokens[-1] == END:
            break
    assert found == [token for token in tokens[1:] if token != END]


def test_a_beam_of_one_is_greedy(model: Seq2Seq) -> None:
    options = {"begin": BEGIN, "end": END, "max_length": 8}
    assert beam_search(model, source(4), width=1, **options) == greedy(model, source(4), **options)


def test_a_wide_beam_finds_the_best_of_all_short_texts(model: Seq2Seq) -> None:
    def score(tokens: tuple[int, ...]) -> float:
        target = torch.tensor([[BEGIN, *tokens, END]])
        with torch.no_grad():
            log_prob = float(model(source(1), target).sum())
        return log_prob / ((5 + len(tokens) + 1) / 6) ** 0.6

    pieces = [piece for piece in range(23) if piece != END]
    texts = [text for length in range(3) for text in itertools.product(pieces, repeat=length)]
    best = max(texts, key=score)
    (found,) = beam_search(model, source(1), begin=BEGIN, end=END, max_length=3, width=200)
    assert score(tuple(found)) == pytest.approx(score(best), rel=1e-5)


def test_rows_of_a_batch_do_not_touch_each_other(model: Seq2Seq) -> None:
    options = {"begin": BEGIN, "end": END, "max_length": 8, "width": 3}
    together = beam_search(model, source(4), **options)
    assert together == [beam_search(model, source(4)[i : i + 1], **options)[0] for i in range(4)]


def test_position_codes_do_not_depend_on_where_counting_began() -> None:
    assert torch.equal(sinusoids(0, 9, 8)[4:], sinusoids(4, 9, 8))


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0])
def test_width_scales_the_network_in_whole_heads(width: float) -> None:
    config = Seq2SeqConfig(width=width)
    assert config.scaled_dim() % (8 * config.n_heads) == 0
    assert config.scaled_dim() == pytest.approx(192 * width, abs=16)
