"""The bundled text workload: verses in archaic English, retold in modern English."""

import types
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn

from gencomp_core.data.verses import (
    BOS,
    EOS,
    PAD,
    TOKENIZER_FILE,
    VERSES_FOLDER,
    VersePairs,
    load_tokenizer,
    load_verses,
)
from gencomp_core.errors import RecipeError
from gencomp_core.models import decoding
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.models.substitution import learn_substitutions, substitute
from gencomp_core.workloads import examples
from gencomp_core.workloads.base import Preview, SamplingOption, Settings, device_of
from gencomp_core.workloads.calibration import CalibrationBatch, PositionedBatch
from gencomp_core.workloads.checkpoints import CheckpointWeights
from gencomp_core.workloads.programs import Call, Program
from gencomp_core.workloads.seq2seq_programs import Seq2SeqStandIn, seq2seq_programs

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LONGEST = 160  # pieces; no reference is longer
CALIBRATED_TOGETHER = 16
PIECE_POSITIONS = (0, 4, 12, 28, LONGEST)  # where a text is cut for its positions; the median has 28 pieces
TOGETHER = 50  # texts of about equal length decoded in one batch
NOBODY = -1  # no piece has this id: decoding goes on to the last step


class VersesTransformer(CheckpointWeights):
    """Encoder–decoder Transformer on the test verses, in their fixed order: sample i retells verse i."""

    name = "verses-transformer"
    title = "Verse Transformer"
    summary = "encoder–decoder with a pointer head, archaic to modern English"
    modality: Literal["text"] = "text"
    metric = "bleu"
    class_names: tuple[str, ...] = ()
    licences = types.MappingProxyType(
        {"weights": "Apache-2.0", "data": "archaic–modern verse pairs, derived from public-domain texts (altered)"}
    )
    options = (
        SamplingOption("beam", 1, "hypotheses kept side by side; 1 is greedy", low=1, high=16),
        SamplingOption("length_penalty", 0.6, "exponent on the length in beam search; 0 favours short", low=0, high=2),
    )
    preview = Preview(n_samples=6, n_samples_full=40)
    example = examples.RETELLING

    @cached_property
    def pairs(self) -> VersePairs:
        """The test verses."""
        return load_verses("test")

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """Text to pieces and back."""
        return load_tokenizer()

    @property
    def n_prompts(self) -> int:
        """How many test verses there are."""
        return len(self.pairs)

    def prompts(self, start: int, stop: int) -> list[str]:
        """Archaic verses number `start` to `stop - 1`."""
        return list(self.pairs.archaic[start:stop])

    def references(self, start: int, stop: int) -> list[str]:
        """The same verses in modern English."""
        return list(self.pairs.modern[start:stop])

    def baselines(self, n: int) -> Mapping[str, list[str]]:
        """The verse as it stands, and with its words looked up in a table learned from the training verses."""
        archaic = self.prompts(0, n)
        return {"source copied": archaic, "word table": [substitute(text, self._table) for text in archaic]}

    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights."""
        return Seq2Seq(Seq2SeqConfig(**self.shape)).eval()

    def generate(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> list[str]:
        """Texts number `start` to `stop - 1`; decoding draws no random numbers, so that `seed` changes nothing."""
        del seed
        texts: dict[int, str] = {}
        by_length = sorted(range(start, min(stop, self.n_prompts)), key=lambda i: len(self._pieces[i][0]))
        for first in range(0, len(by_length), TOGETHER):
            numbers = by_length[first : first + TOGETHER]
            found = self._decode(model, numbers, settings, end=EOS, max_length=LONGEST)
            texts |= dict(zip(numbers, self.tokenizer.decode_batch(found), strict=True))
        return [texts[i] for i in sorted(texts)]

    @torch.inference_mode()
    def log_probs(self, model: nn.Module, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities along the references (n, t, vocabulary), next pieces (n, t), and which are real (n, t)."""
        network = cast(Seq2Seq, model)
        source = self._padded([self._pieces[i][0] for i in range(start, stop)], model)
        target = self._padded([self._pieces[i][1] for i in range(start, stop)], model)
        state = network.start(source)
        hidden, attention = network.advance(target[:, :-1], state)
        following = target[:, 1:]
        return network.log_probs(hidden, attention, state), following, following != PAD

    def decode_exactly(self, model: nn.Module, start: int, stop: int, *, settings: Settings) -> list[list[int]]:
        """Pieces of the numbered texts, as many as the longest of their references has."""
        numbers = list(range(start, stop))
        longest = max(len(self._pieces[i][1]) - 1 for i in numbers)
        return self._decode(model, numbers, settings, end=NOBODY, max_length=longest)

    def programs(self, model: nn.Module) -> Mapping[str, Program]:
        """What another runtime executes: reading the source, and one step of the decoder."""
        return seq2seq_programs(model)

    def stand_in(self, model: nn.Module, calls: Mapping[str, Call]) -> nn.Module:
        """What decoding calls where another runtime has the programs."""
        return Seq2SeqStandIn(model, calls)

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """The network along training pairs, from short to long."""
        for title, source, target in self._training_batches(n, seed=seed):

            def run(model: nn.Module, source: Tensor = source, target: Tensor = target) -> Tensor:
                network, where = cast(Seq2Seq, model), device_of(model)
                state = network.start(source.to(where))
                hidden, attention = network.advance(target[:, :-1].to(where), state)
                log_probs = network.log_probs(hidden, attention, state)
                return log_probs[(target[:, 1:] != PAD).to(where)]

            yield CalibrationBatch("sentence", {title: len(source)}, run)

    def position_batches(self, n: int, *, seed: int) -> Iterator[PositionedBatch]:
        """The network along training pairs, cut by the position of the predicted piece: those at the front first."""
        passes = self.forward_batches(n, seed=seed)
        for batch, (_, _, target) in zip(passes, self._training_batches(n, seed=seed), strict=True):
            place = (target[:, 1:] != PAD).nonzero()[:, 1]  # of each row of the output
            positions: dict[str, Tensor | None] = {}
            for first, stop in pairwise(PIECE_POSITIONS):
                last = f"to {stop}" if stop < LONGEST else "on"
                positions[f"pieces {first + 1} {last}"] = ((place >= first) & (place < stop)).nonzero()[:, 0]
            yield PositionedBatch(batch.run, positions)

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """Negative log-likelihood of training pairs, nats a piece, from short to long."""
        for title, source, target in self._training_batches(n, seed=seed):

            def run(model: nn.Module, source: Tensor = source, target: Tensor = target) -> Tensor:
                where = device_of(model)
                real = (target[:, 1:] != PAD).to(where)
                log_probs: Tensor = model(source.to(where), target.to(where))
                return -(log_probs * real).sum() / real.sum()

            yield CalibrationBatch("sentence", {title: len(source)}, run)

    def _training_batches(self, n: int, *, seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
        """n random training pairs in batches of about equal length: length range in pieces, source, target."""
        pairs = _training_pairs()
        if n > len(pairs):
            raise RecipeError(f"calibration samples must be at most {len(pairs)}, got {n}. Ask for fewer.")
        chosen = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))[:n].tolist()
        source = [encoding.ids for encoding in self.tokenizer.encode_batch([pairs.archaic[i] for i in chosen])]
        target = [[BOS, *e.ids, EOS] for e in self.tokenizer.encode_batch([pairs.modern[i] for i in chosen])]
        order = sorted(range(n), key=lambda i: len(source[i]))
        for first in range(0, n, CALIBRATED_TOGETHER):
            batch = order[first : first + CALIBRATED_TOGETHER]
            shortest, longest = len(source[batch[0]]), len(source[batch[-1]])
            sources, targets = [source[i] for i in batch], [target[i] for i in batch]
            title = f"{shortest} to {longest} pieces"
            yield title, self._padded(sources, self.model), self._padded(targets, self.model)

    def companions(self) -> Mapping[str, bytes]:
        """The tokenizer."""
        return {TOKENIZER_FILE: (VERSES_FOLDER / TOKENIZER_FILE).read_bytes()}

    @cached_property
    def _pieces(self) -> list[tuple[list[int], list[int]]]:
        """Ids of every source and of every target from the begin piece to the end piece."""
        source = self.tokenizer.encode_batch(list(self.pairs.archaic))
        target = self.tokenizer.encode_batch(list(self.pairs.modern))
        return [(one.ids, [BOS, *other.ids, EOS]) for one, other in zip(source, target, strict=True)]

    @cached_property
    def _table(self) -> dict[str, str]:
        return learn_substitutions(_training_pairs())

    def _decode(
        self, model: nn.Module, numbers: list[int], settings: Settings, *, end: int, max_length: int
    ) -> list[list[int]]:
        source = self._padded([self._pieces[i][0] for i in numbers], model)
        network, limits = cast(Seq2Seq, model), {"begin": BOS, "end": end, "max_length": max_length}
        width = int(settings["beam"])
        if width == 1:
            return decoding.greedy(network, source, **limits)
        penalty = float(settings["length_penalty"])
        return decoding.beam_search(network, source, width=width, length_penalty=penalty, **limits)

    @staticmethod
    def _padded(rows: list[list[int]], model: nn.Module) -> Tensor:
        tensors = [torch.tensor(row, dtype=torch.int64) for row in rows]
        padded = nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=PAD)
        return padded.to(device_of(model))


class VersesTransformerThreeQuarters(VersesTransformer):
    """The same network at 0.75 of the width, trained from scratch with as many steps."""

    name = "verses-transformer-w75"
    title = "Verse Transformer, width 0.75"
    summary = "the verse model at 0.75 of its width, trained from scratch"


class VersesTransformerHalf(VersesTransformer):
    """The same network at half the width, trained from scratch with as many steps."""

    name = "verses-transformer-w50"
    title = "Verse Transformer, width 0.5"
    summary = "the verse model at half its width, trained from scratch"


@cache
def _training_pairs() -> VersePairs:
    return load_verses("train")
