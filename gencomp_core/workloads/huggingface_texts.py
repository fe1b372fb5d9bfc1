"""Text generators of transformers: encoder–decoders (T5, BART, Marian) and decoders (GPT-2, Llama) as workloads."""

import json
import types
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from gencomp_core.data.prompts import PromptPairs, read_prompts, verse_continuations, verse_retellings
from gencomp_core.errors import EvaluationError, RecipeError
from gencomp_core.runtime_env import device
from gencomp_core.workloads.base import Preview, SamplingOption, Settings, device_of
from gencomp_core.workloads.calibration import CalibrationBatch
from gencomp_core.workloads.huggingface import Source, loading, state_hash

TOGETHER = 16
N_NEW = 64
HIGHEST = 100_000
"""Lengths that a configuration gives beyond this mean that there is no limit."""


def load_texts(source: Source) -> "TransformersTexts":
    """The workload of one model."""
    transformers.utils.logging.disable_progress_bar()  # it would land among our own
    config = transformers.AutoConfig.from_pretrained(source.model, trust_remote_code=False)
    kind = EncoderDecoder if config.is_encoder_decoder else Decoder
    pairs = read_prompts(source.texts) if source.texts else kind.default_pairs()
    return kind(source, config, pairs)


class TransformersTexts(ABC):
    """A model of transformers that answers prompts; decoding is greedy or by beam and draws no random numbers."""

    modality: Literal["text"] = "text"
    metric = "bleu"
    class_names: tuple[str, ...] = ()
    licences = types.MappingProxyType({"weights": "see the model's card", "data": "see the file of texts"})
    preview = Preview(n_samples=4, n_samples_full=16)
    auto: Any

    def __init__(self, source: Source, config: Any, pairs: PromptPairs) -> None:
        self.name, self.source, self.config, self.pairs = source.name, source, config, pairs
        self.title = f"{type(config).__name__.removesuffix('Config')} of {source.model.rstrip('/').rpartition('/')[2]}"
        self.summary = f"Hugging Face text model; {pairs.title}"
        longest = min(N_NEW, self.limit // 2)
        self.options = (
            SamplingOption("beam", 1, "hypotheses kept side by side; 1 is greedy", low=1, high=16),
            SamplingOption("max_new_tokens", longest, "pieces of an answer at most", low=1, high=self.limit - 1),
        )
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source.model, trust_remote_code=False)

    @staticmethod
    @abstractmethod
    def default_pairs() -> PromptPairs:
        """What is asked of a model when no file of texts is given."""

    @property
    def limit(self) -> int:
        """Pieces that the model can read together."""
        names = ("max_position_embeddings", "n_positions", "max_target_positions")
        known = [int(getattr(self.config, name, None) or HIGHEST) for name in names]
        return min(known)

    @cached_property
    def model(self) -> nn.Module:
        """Dense model in eval mode, float32; shared, never changed by anyone."""
        with loading(self.source, "transformers"):
            loaded = self.auto.from_pretrained(
                self.source.model,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
            )
        return _with_linear_layers(loaded).eval().requires_grad_(False).to(device())

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the dense weights."""
        return state_hash(self.model)

    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights."""
        made = self.auto.from_config(self.config, trust_remote_code=False, attn_implementation="eager")
        return _with_linear_layers(made.float()).eval().requires_grad_(False)

    @property
    def n_prompts(self) -> int:
        """How many prompts are judged."""
        return len(self.pairs.prompts)

    def prompts(self, start: int, stop: int) -> list[str]:
        """Prompts number `start` to `stop - 1`."""
        return list(self.pairs.prompts[start:stop])

    def references(self, start: int, stop: int) -> list[str]:
        """What a person answered."""
        return list(self.pairs.references[start:stop])

    def baselines(self, n: int) -> Mapping[str, list[str]]:
        """The prompt as it stands."""
        return {"prompt copied": self.prompts(0, n)}

    def generate(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> list[str]:
        """Answers number `start` to `stop - 1`; decoding draws no random numbers, so that `seed` changes nothing."""
        del seed
        return [
            text
            for first in range(start, min(stop, self.n_prompts), TOGETHER)
            for text in self._answers(model, first, min(first + TOGETHER, stop), settings)
        ]

    def decode_exactly(self, model: nn.Module, start: int, stop: int, *, settings: Settings) -> list[str]:
        """Decode as many pieces as the longest reference of the numbered prompts has, whatever the model says."""
        longest = max(len(row) for row in self._reference_rows(self.references(start, stop)))
        return self._answers(model, start, stop, settings, exactly=longest)

    @torch.inference_mode()
    def log_probs(self, model: nn.Module, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities along the references (n, t, vocabulary), next pieces (n, t), and which are real (n, t)."""
        return self._predict(model, self.prompts(start, stop), self.references(start, stop))

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """The network along pairs that are kept apart."""
        for prompts, references in self._batches_apart(n, seed=seed):

            def run(model: nn.Module, prompts: list[str] = prompts, references: list[str] = references) -> Tensor:
                log_probs, _, real = self._predict(model, prompts, references)
                return log_probs[real]

            yield CalibrationBatch("text", {"all": len(prompts)}, run)

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """Negative log-likelihood of references that are kept apart, nats a piece."""
        for prompts, references in self._batches_apart(n, seed=seed):

            def run(model: nn.Module, prompts: list[str] = prompts, references: list[str] = references) -> Tensor:
                log_probs, following, real = self._predict(model, prompts, references)
                chosen = log_probs.gather(2, following.unsqueeze(2)).squeeze(2)
                return -(chosen * real).sum() / real.sum()

            yield CalibrationBatch("text", {"all": len(prompts)}, run)

    def companions(self) -> Mapping[str, bytes]:
        """The tokenizer and the shape of the network."""
        files = {"config.json": json.dumps(self.config.to_dict(), indent=1, default=str).encode()}
        if self.tokenizer.is_fast:
            files["tokenizer.json"] = self.tokenizer.backend_tokenizer.to_str().encode()
        return files

    @abstractmethod
    def _predict(self, model: Any, prompts: Sequence[str], references: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """What `log_probs` gives, for given texts."""

    @abstractmethod
    def _prompt_rows(self, prompts: Sequence[str]) -> list[list[int]]:
        """Pieces that the model reads."""

    @abstractmethod
    def _reference_rows(self, references: Sequence[str]) -> list[list[int]]:
        """Pieces that the model should say, to the end piece."""

    @torch.inference_mode()
    def _answers(
        self, model: Any, start: int, stop: int, settings: Settings, *, exactly: int | None = None
    ) -> list[str]:
        rows = self._prompt_rows(self.prompts(start, stop))
        ids, real = self._padded(rows, model, left=not self.config.is_encoder_decoder)
        length = exactly or int(settings["max_new_tokens"])
        asked = transformers.GenerationConfig(
            do_sample=False,
            num_beams=int(settings["beam"]),
            max_new_tokens=length,
            min_new_tokens=exactly,
            pad_token_id=self.pad,
            bos_token_id=getattr(self.config, "bos_token_id", None),
            eos_token_id=self.end,
            decoder_start_token_id=getattr(self.config, "decoder_start_token_id", None),
        )
        said = model.generate(input_ids=ids, attention_mask=real.long(), generation_config=asked)
        skipped = 1 if self.config.is_encoder_decoder else ids.shape[1]
        texts: list[str] = self.tokenizer.batch_decode(said[:, skipped:], skip_special_tokens=True)
        return [text.strip() for text in texts]

    @property
    def end(self) -> int:
        """Piece that ends an answer.

        Raises:
            EvaluationError: the model has none.
        """
        found = getattr(self.config, "eos_token_id", None)
        if isinstance(found, list):
            found = found[0]
        if found is None:
            found = self.tokenizer.eos_token_id
        if found is None:
            raise EvaluationError(f"{self.name} has no end piece. Set eos_token_id in its config.json.")
        return int(found)

    @property
    def pad(self) -> int:
        """Piece that fills rows up; it is masked wherever it stands."""
        found = self.tokenizer.pad_token_id
        return self.end if found is None else int(found)

    def _padded(self, rows: Sequence[Sequence[int]], model: nn.Module, *, left: bool = False) -> tuple[Tensor, Tensor]:
        """Rows of pieces side by side (n, t) int64, and which are real (n, t) bool."""
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.int64)
        real = torch.zeros_like(ids, dtype=torch.bool)
        for number, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[number, place], real[number, place] = torch.tensor(row), True
        return ids.to(device_of(model)), real.to(device_of(model))

    def _batches_apart(self, n: int, *, seed: int) -> Iterator[tuple[list[str], list[str]]]:
        prompts, references = self.pairs.apart_prompts, self.pairs.apart_references
        if n < 1:
            raise RecipeError(f"calibration samples must be at least 1, got {n}. Ask for some.")
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed)).tolist()
        chosen = [order[i % len(order)] for i in range(n)]  # a small file goes round
        for first in range(0, n, TOGETHER):
            batch = chosen[first : first + TOGETHER]
            yield [prompts[i] for i in batch], [references[i] for i in batch]


class EncoderDecoder(TransformersTexts):
    """A model that reads the prompt whole, and then answers."""

    auto = transformers.AutoModelForSeq2SeqLM

    @staticmethod
    def default_pairs() -> PromptPairs:
        """Archaic verses to be retold."""
        return verse_retellings()

    def _prompt_rows(self, prompts: Sequence[str]) -> list[list[int]]:
        rows: list[list[int]] = self.tokenizer(list(prompts), truncation=True, max_length=self.limit)["input_ids"]
        return [row or [self.end] for row in rows]

    def _reference_rows(self, references: Sequence[str]) -> list[list[int]]:
        most = self.limit - 1
        rows: list[list[int]] = self.tokenizer(text_target=list(references), add_special_tokens=False)["input_ids"]
        return [[*row[: most - 1], self.end] for row in rows]

    def _predict(self, model: Any, prompts: Sequence[str], references: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        ids, read = self._padded(self._prompt_rows(prompts), model)
        following, real = self._padded(self._reference_rows(references), model)
        begin = torch.full_like(following[:, :1], self.config.decoder_start_token_id)
        said = torch.cat([begin, following[:, :-1]], 1)
        logits = model(
            input_ids=ids, attention_mask=read.long(), decoder_input_ids=said, use_cache=False, return_dict=True
        ).logits
        return logits.float().log_softmax(-1), following, real


class Decoder(TransformersTexts):
    """A model that goes on where the prompt ends."""

    auto = transformers.AutoModelForCausalLM

    @staticmethod
    def default_pairs() -> PromptPairs:
        """Modern verses to be continued."""
        return verse_continuations()

    def _prompt_rows(self, prompts: Sequence[str]) -> list[list[int]]:
        rows: list[list[int]] = self.tokenizer(list(prompts))["input_ids"]
        most = self.limit - min(N_NEW, self.limit // 2)
        ended = [row[:-1] if row and row[-1] == self.end else row for row in rows]
        return [row[-most:] or [self.end] for row in ended]

    def _reference_rows(self, references: Sequence[str]) -> list[list[int]]:
        most = min(N_NEW, self.limit // 2)
        texts = [f" {reference}" for reference in references]
        rows: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [[*row[: most - 1], self.end] for row in rows]

    def _predict(self, model: Any, prompts: Sequence[str], references: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        before, after = self._prompt_rows(prompts), self._reference_rows(references)
        ids, read = self._padded([[*own, *more[:-1]] for own, more in zip(before, after, strict=True)], model)
        following, real = self._padded(after, model)
        logits = model(input_ids=ids, attention_mask=read.long(), use_cache=False, return_dict=True).logits
        width = following.shape[1]
        first = torch.tensor([len(own) - 1 for own in before], device=ids.device).unsqueeze(1)
        place = (first + torch.arange(width, device=ids.device)).clamp(max=ids.shape[1] - 1)
        rows = torch.arange(len(ids), device=ids.device).unsqueeze(1)
        return logits[rows, place].float().log_softmax(-1), following, real


def _with_linear_layers(model: nn.Module) -> nn.Module:
    """GPT-2's own layer, a linear one stored transposed, as `nn.Linear`, which every technique knows."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv1D):
                n_in, n_out = child.weight.shape
                linear = nn.Linear(n_in, n_out)
                with torch.no_grad():
                    linear.weight.copy_(child.weight.T)
                    linear.bias.copy_(child.bias)
                setattr(module, name, linear)
    return model
