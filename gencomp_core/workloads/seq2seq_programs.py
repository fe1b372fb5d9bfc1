"""An encoder–decoder as two programs: one reads the source, one takes a single token, with caches of fixed size.

Lengths are rounded up, so that few shapes have to be compiled; what was added is masked. The stand-in keeps the caches
and writes each token's keys and values into them, where the next call finds them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.errors import EvaluationError
from gencomp_core.models.seq2seq import UNSEEN, Attention, DecoderLayer, Seq2Seq, sinusoids
from gencomp_core.workloads.programs import BATCH, Call, Entry, InputSpec, Program

MEMORY, STEP = "memory", "step"
SOURCE, PAST = "source_length", "past_length"
LENGTHS = 32
"""Lengths are multiples of it."""


def seq2seq_programs(model: nn.Module) -> dict[str, Program]:
    """The programs of an encoder–decoder, whatever was pruned, removed, factored or quantized in it.

    Raises:
        EvaluationError: another network.
    """
    network = _checked(model)
    source = InputSpec("source", torch.int64, (BATCH, SOURCE))
    inputs = [
        InputSpec("tokens", torch.int64, (BATCH, 1)),
        InputSpec("code", torch.float32, (1, 1, network.embedding.embedding_dim)),
        source,
        InputSpec("source_mask", torch.float32, (BATCH, 1, 1, SOURCE)),
        InputSpec("unseen", torch.float32, (1, 1, 1, PAST)),
    ]
    for number, layer in enumerate(_decoder_layers(network)):
        for use, attention, length in (("memory", layer.cross_attention, SOURCE), ("past", layer.self_attention, PAST)):
            keys, values = head_sizes(attention)
            for what, size in (("keys", keys), ("values", values)):
                name = f"{use}_{what}_{number}"
                inputs.append(InputSpec(name, torch.float32, (BATCH, attention.n_heads, length, size)))
    return {
        MEMORY: Program(Entry(network, "memory").eval(), (source,)),
        STEP: Program(Entry(network, "step").eval(), tuple(inputs)),
    }


def head_sizes(attention: Attention) -> tuple[int, int]:
    """Length of one head's keys and of its values."""
    keys, values = attention.k.out_features, attention.v.out_features
    return keys // attention.n_heads, values // attention.n_heads


@dataclass
class StepState:
    """Everything that decoding carries from token to token, in tensors that stay the same ones, on the CPU.

    Attributes:
        source: (n, s) int64, s a multiple of `LENGTHS`; source_mask: (n, 1, 1, s) float32, 0 or `UNSEEN`.
        memory: keys and values of the source, of each decoder layer: (n, heads, s, size) float32.
        past: keys and values of the tokens so far, of each decoder layer: (n, heads, capacity, size) float32.
        position: tokens decoded so far.
        rows: (n,) int64, the row of the first batch that each row came from.
        tokens: (n, 1) int64; code: (1, 1, dim) float32; unseen: (1, 1, 1, capacity) float32: of the next call.
    """

    source: Tensor
    source_mask: Tensor
    memory: list[Tensor]
    past: list[Tensor]
    code: Tensor
    unseen: Tensor
    rows: Tensor
    position: int = 0
    tokens: Tensor = field(init=False)
    inputs: tuple[Tensor, ...] = field(init=False)
    """Of the step, in its order."""

    def __post_init__(self) -> None:
        self.tokens = torch.zeros(len(self.source), 1, dtype=torch.int64)
        self._list_inputs_()

    def _list_inputs_(self) -> None:
        inputs = [self.tokens, self.code, self.source, self.source_mask, self.unseen]
        for first in range(0, len(self.past), 2):
            inputs += [*self.memory[first : first + 2], *self.past[first : first + 2]]
        self.inputs = tuple(inputs)

    def keep_(self, new: list[Tensor]) -> None:
        """Put keys and values of the token that was decoded into the caches."""
        for cache, own in zip(self.past, new, strict=True):
            cache.narrow(2, self.position, 1).copy_(own)
        self.unseen.narrow(3, self.position, 1).zero_()
        self.position += 1

    def make_room_(self) -> None:
        """Have caches with a place for one more token."""
        if self.position == self.unseen.shape[3]:
            self.past = [F.pad(cache, (0, 0, 0, LENGTHS)) for cache in self.past]
            self.unseen = F.pad(self.unseen, (0, LENGTHS), value=UNSEEN)
            self._list_inputs_()

    def reorder(self, index: Tensor) -> "StepState":
        """The state of other rows of the batch: index (m,) int64. This state, changed, where m is n."""
        index = index.cpu()
        rows = self.rows[index]
        if len(index) != len(self.rows):
            source, mask, *caches = (x[index] for x in (self.source, self.source_mask, *self.memory, *self.past))
            n = len(self.memory)
            code, unseen = self.code.clone(), self.unseen.clone()
            return StepState(source, mask, caches[:n], caches[n:], code, unseen, rows, self.position)
        if not torch.equal(rows, self.rows):  # never in beam search: hypotheses stay with their source
            for tensor in (self.source, self.source_mask, *self.memory, self.rows):
                tensor.copy_(tensor[index])
        moved = (index != torch.arange(len(index))).nonzero()[:, 0]
        for cache in self.past if len(moved) else ():
            seen = cache.narrow(2, 0, self.position)
            seen[moved] = seen[index[moved]]
        return self


class Seq2SeqStandIn(nn.Module):
    """What decoding and judging call of a `Seq2Seq`, its arithmetic done by two programs elsewhere.

    `advance` gives log-probabilities where the network gives hidden states, because its step ends with probabilities.

    Args:
        network: whose parameters and shape it shows.
        calls: the programs of `seq2seq_programs`, by name.
    """

    def __init__(self, network: nn.Module, calls: Mapping[str, Call]) -> None:
        super().__init__()
        self.network = _checked(network)
        self.read, self.step = calls[MEMORY], calls[STEP]
        self.codes = sinusoids(0, LENGTHS, self.network.embedding.embedding_dim)

    def start(self, source: Tensor) -> StepState:
        """Read the source: (n, s) int64, padded -> state before the first target token."""
        n, length = source.shape
        source = F.pad(source.cpu(), (0, -length % LENGTHS), value=self.network.config.pad)
        mask = (source == self.network.config.pad)[:, None, None, :] * UNSEEN
        memory = [part.clone() for part in self.read(source)]
        past = []
        for layer in _decoder_layers(self.network):
            for size in head_sizes(layer.self_attention):
                past.append(torch.zeros(n, layer.self_attention.n_heads, LENGTHS, size))
        code, unseen = torch.zeros(1, 1, self.codes.shape[1]), torch.full((1, 1, 1, LENGTHS), UNSEEN)
        return StepState(source, mask, memory, past, code, unseen, torch.arange(n))

    def advance(self, tokens: Tensor, state: StepState) -> tuple[Tensor, Tensor]:
        """Read target tokens; the state moves on by as many.

        Args:
            tokens: (n, t) int64, the next tokens of the target.

        Returns:
            Log-probabilities of every piece after each token (n, t, vocabulary), and nothing: (0,).
        """
        found = [self._next(tokens[:, i : i + 1], state) for i in range(tokens.shape[1])]
        log_probs = (torch.stack(found, dim=1) if len(found) > 1 else found[0][:, None]).to(tokens.device)
        return log_probs, log_probs.new_empty(0)

    def log_probs(self, hidden: Tensor, attention: Tensor, state: StepState) -> Tensor:
        """Log-probabilities of every piece after each token, as `advance` gave them: (n, t, vocabulary)."""
        return hidden

    def next_log_probs(self, hidden: Tensor, attention: Tensor, state: StepState) -> Tensor:
        """Log-probabilities of every piece after the last token: (n, vocabulary)."""
        return hidden[:, -1]

    def forward(self, *_: Tensor) -> Tensor:
        """Not there: it is for training.

        Raises:
            EvaluationError: always.
        """
        raise EvaluationError("Other runtimes decode and score, they do not train. Use --runtime eager.")

    def _next(self, tokens: Tensor, state: StepState) -> Tensor:
        """Log-probabilities after one token: (n, 1) -> (n, vocabulary)."""
        state.make_room_()
        if state.position >= len(self.codes):
            self.codes = sinusoids(0, 2 * len(self.codes), self.codes.shape[1])
        state.tokens.copy_(tokens)
        state.code.copy_(self.codes[state.position])
        probabilities, *new = self.step(*state.inputs)
        state.keep_(new)
        return probabilities.log()


def _decoder_layers(network: Seq2Seq) -> Iterator[DecoderLayer]:
    for layer in network.decoder:
        assert isinstance(layer, DecoderLayer)
        yield layer


def _checked(model: nn.Module) -> Seq2Seq:
    if not isinstance(model, Seq2Seq):
        raise EvaluationError(
            f"Programs for texts are known for a Seq2Seq network, got {type(model).__name__}. Use --runtime eager, or "
            "describe its programs in the workload's 'programs' and 'stand_in'."
        )
    return model
