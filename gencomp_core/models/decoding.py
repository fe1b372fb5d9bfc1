"""Greedy search, beam search and sampling over an encoder–decoder with a key–value cache."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor


class Decoder(Protocol):
    """What decoding needs of a network, or of what stands in for one; see `Seq2Seq` for shapes."""

    def start(self, source: Tensor) -> Any:
        """State before the first target token; its `reorder` takes other rows of the batch."""

    def advance(self, tokens: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        """Read tokens; hidden states and attention to the source, for `next_log_probs`."""

    def next_log_probs(self, hidden: Tensor, attention: Tensor, state: Any) -> Tensor:
        """Log-probabilities of every piece after the last token: (n, vocabulary)."""


@torch.inference_mode()
def greedy(model: Decoder, source: Tensor, *, begin: int, end: int, max_length: int) -> list[list[int]]:
    """Most likely next token, again and again, until `end` or `max_length` tokens.

    Args:
        source: (n, s) int64, padded.

    Returns:
        Token ids of each row, without `begin` and `end`.
    """

    def most_likely(log_probs: Tensor, step: int) -> Tensor:
        return log_probs.argmax(dim=1)

    return _decode(model, source, most_likely, begin=begin, end=end, max_length=max_length)


@torch.inference_mode()
def sample(
    model: Decoder, source: Tensor, *, begin: int, end: int, max_length: int, generator: torch.Generator
) -> list[list[int]]:
    """Next tokens drawn from the model's own distribution, until `end` or `max_length` tokens.

    By inverse transform: one uniform number a token, all drawn before, row after row. So the rows of a
    batch that is cut in two get the same numbers as in one piece.

    Args:
        source: (n, s) int64, padded.
        generator: on the CPU.

    Returns:
        Token ids of each row, without `begin` and `end`; a row of `max_length` tokens has not ended.
    """
    uniform = torch.rand(len(source), max_length, generator=generator).to(source.device)

    def draw(log_probs: Tensor, step: int) -> Tensor:
        upto = log_probs.exp().cumsum(dim=1)
        thresholds = uniform[:, step, None] * upto[:, -1:]  # rounding may leave a total beside 1
        return torch.searchsorted(upto, thresholds, right=True)[:, 0].clamp(max=upto.shape[1] - 1)

    return _decode(model, source, draw, begin=begin, end=end, max_length=max_length)


@torch.inference_mode()
def beam_search(
    model: Decoder, source: Tensor, *, begin: int, end: int, max_length: int, width: int, length_penalty: float = 0.6
) -> list[list[int]]:
    """The best of `width` hypotheses that are kept alive side by side.

    A finished hypothesis scores log p / ((5 + length) / 6)^α. Source: Wu 2016 (arXiv:1609.08144),
    equation 14, without the coverage term.

    Args:
        source: (n, s) int64, padded.
        width: hypotheses per row; 1 is greedy search.
        length_penalty: α.
    """
    n = len(source)
    state = model.start(source).reorder(torch.arange(n, device=source.device).repeat_interleave(width))
    history = torch.full((n * width, 1), begin, device=source.device)
    scores = torch.full((n, width), float("-inf"), device=source.device)
    scores[:, 0] = 0.0  # all hypotheses of a row begin alike: only one of them may branch
    best: list[tuple[float, list[int]]] = [(float("-inf"), []) for _ in range(n)]
    for step in range(1, max_length + 1):
        hidden, attention = model.advance(history[:, -1:], state)
        log_probs = model.next_log_probs(hidden, attention, state).view(n, width, -1)
        n_pieces = log_probs.shape[2]
        totals = (scores[:, :, None] + log_probs).flatten(1)
        candidates, flat = totals.topk(2 * width, dim=1)  # enough to have `width` left when all others end
        parents, pieces = flat // n_pieces, flat % n_pieces
        keep = []
        for row in range(n):
            alive = []
            for value, parent, piece in zip(*(x[row].tolist() for x in (candidates, parents, pieces)), strict=True):
                origin = row * width + parent
                if piece != end:
                    alive.append((value, origin, piece))
                elif (normed := _normed(value, step, length_penalty)) > best[row][0]:
                    best[row] = (normed, history[origin, 1:].tolist())
            keep += alive[:width]
        values, origins, chosen = (torch.tensor(column, device=source.device) for column in zip(*keep, strict=True))
        state = state.reorder(origins)
        history = torch.cat([history[origins], chosen[:, None]], dim=1)
        scores = values.view(n, width).to(scores.dtype)
        reachable = [_normed(scores[row, 0].item(), max_length, length_penalty) for row in range(n)]
        if all(best[row][0] >= reachable[row] for row in range(n)):
            break
    unfinished = history.view(n, width, -1)[:, 0, 1:].tolist()
    return [tokens if score > float("-inf") else unfinished[row] for row, (score, tokens) in enumerate(best)]


def _decode(
    model: Decoder,
    source: Tensor,
    choose: Callable[[Tensor, int], Tensor],
    *,
    begin: int,
    end: int,
    max_length: int,
) -> list[list[int]]:
    """One token after the other: `choose` takes log-probabilities (n, vocabulary) and the step, gives (n,) ids."""
    state = model.start(source)
    tokens = torch.full((len(source), 1), begin, device=source.device)
    done = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    steps = []
    for step in range(max_length):
        hidden, attention = model.advance(tokens, state)
        chosen = choose(model.next_log_probs(hidden, attention, state), step)
        steps.append(chosen)
        done |= chosen == end
        if done.all():
            break
        tokens = chosen[:, None]
    return [_until(row, end) for row in torch.stack(steps, dim=1).tolist()]


def _normed(log_prob: float, length: int, alpha: float) -> float:
    return log_prob / float(((5 + length) / 6) ** alpha)


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens
