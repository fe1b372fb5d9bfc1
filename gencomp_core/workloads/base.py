"""The protocol that every workload follows, and the sampling options it declares."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from gencomp_core.errors import EvaluationError
from gencomp_core.registry import suggestion

OptionValue = int | float | str
Settings = Mapping[str, OptionValue]
Outputs = Tensor | list[str]
"""Generated samples: (n, c, h, w) uint8 for images, or n texts."""

NOISE_BLOCK = 64


@dataclass(frozen=True)
class SamplingOption:
    """One thing a user may choose about sampling.

    Attributes:
        name: key in the settings.
        default: value that published figures use.
        help: one line.
        low, high: inclusive range of a number.
        choices: allowed words.
    """

    name: str
    default: OptionValue
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: OptionValue) -> OptionValue:
        """The value in the option's own type.

        Raises:
            EvaluationError: out of range, or not one of the choices.
        """
        if self.choices:
            if value not in self.choices:
                raise EvaluationError(
                    f"{self.name} must be one of {', '.join(self.choices)}, got {value!r}."
                    f"{suggestion(str(value), list(self.choices))}"
                )
            return value
        kind = type(self.default)
        if kind is str:
            return str(value)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or kind(value) != value:
            raise EvaluationError(
                f"{self.name} must be a {'whole ' if kind is int else ''}number, got {value!r}. Correct the value."
            )
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if not low <= float(value) <= high:
            raise EvaluationError(f"{self.name} must be in [{low:g}, {high:g}], got {value}. Choose inside.")
        return kind(value)


@dataclass(frozen=True)
class Preview:
    """What a slider shows at once, before the full picture fills in.

    Attributes:
        n_samples: samples in the first picture.
        settings: cheaper sampling settings for it.
        n_samples_full: samples in the picture that follows, at the default settings.
    """

    n_samples: int
    n_samples_full: int = 64
    settings: Settings = field(default_factory=dict)


@runtime_checkable
class Workload(Protocol):
    """A generative model together with how it is sampled and judged.

    Samples are numbered: sample i at a seed comes from the same noise (and class or prompt)
    whatever model, batch size or number of samples is asked for.
    """

    name: str
    title: str
    summary: str
    modality: Literal["image", "text"]
    metric: str
    options: tuple[SamplingOption, ...]
    preview: Preview
    class_names: Sequence[str]

    @property
    def model(self) -> nn.Module:
        """Dense model in eval mode; shared, never changed by anyone."""

    @property
    def weights_hash(self) -> str:
        """16 hex digits of the dense weights."""

    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights, for loading an artifact into."""

    def generate(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> Any:
        """Samples number `start` to `stop - 1` at a seed: (n, c, h, w) uint8 for images, n strings for texts."""


@runtime_checkable
class TextWorkload(Workload, Protocol):
    """A workload whose samples are texts, each the answer to a numbered prompt with a reference.

    Decoding draws no random numbers, so that samples are the same under every seed.
    """

    @property
    def n_prompts(self) -> int:
        """How many prompts there are; no more samples can be asked for."""

    def prompts(self, start: int, stop: int) -> list[str]:
        """Source texts of the numbered samples."""

    def references(self, start: int, stop: int) -> list[str]:
        """What a person wrote for them."""

    def baselines(self, n: int) -> Mapping[str, list[str]]:
        """Answers to prompts 0 to n - 1 without any model, by name: what a model must beat to be worth its bytes."""

    def log_probs(self, model: nn.Module, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of every piece along the references, the pieces that follow, and which are real.

        Returns:
            (n, t, vocabulary) float32, (n, t) int64, (n, t) bool.
        """

    def decode_exactly(self, model: nn.Module, start: int, stop: int, *, settings: Settings) -> object:
        """As much decoding as the references are long, whatever the model says: work that can be timed."""

    def companions(self) -> Mapping[str, bytes]:
        """Files by name that an artifact needs beside its weights, such as the tokenizer."""


@runtime_checkable
class HasEncoder(Protocol):
    """A workload whose model also maps images to latents."""

    def posterior_means(self, model: nn.Module, n: int) -> Tensor:
        """Means of q(z | image) of n real images: (n, d) float32."""


@runtime_checkable
class HasLatents(Protocol):
    """A workload whose samples come from one Gaussian latent each, so that there are paths between them."""

    def latent_dim(self, model: nn.Module) -> int:
        """Size of the latent."""

    def brightness(self, model: nn.Module, latent: Tensor, labels: Tensor) -> Tensor:
        """latent (n, latent_dim), labels (n,) -> (n, c, h, w) float32 in [0, 1]."""


def makes_texts(workload: Workload) -> TypeGuard[TextWorkload]:
    """Whether samples are texts."""
    return workload.modality == "text"


def work(workload: Workload, model: nn.Module, start: int, stop: int, *, settings: Settings) -> object:
    """Generate the numbered samples, in an amount of work that does not depend on what the model says."""
    if makes_texts(workload):
        return workload.decode_exactly(model, start, stop, settings=settings)
    return workload.generate(model, start, stop, seed=0, settings=settings)


def companions_of(workload: Workload) -> Mapping[str, bytes]:
    """Files by name that an artifact needs beside its weights."""
    return workload.companions() if makes_texts(workload) else {}


def licences_of(workload: Workload) -> dict[str, str]:
    """Licences of code, weights and data; a workload that states none says so."""
    return {"code": "Apache-2.0", "weights": "not stated", "data": "not stated"} | dict(
        getattr(workload, "licences", {})
    )


def check_workload(candidate: object) -> list[str]:
    """What an object lacks to be a workload; empty when it is one."""
    members = [*Workload.__annotations__, "model", "weights_hash", "empty_network", "generate"]
    if getattr(candidate, "modality", None) == "text":
        members += ["n_prompts", "prompts", "references", "baselines", "log_probs", "decode_exactly", "companions"]
    return [f"it has no {name!r}" for name in members if not hasattr(candidate, name)]


def complete_settings(workload: Workload, chosen: Settings | None = None) -> dict[str, OptionValue]:
    """All sampling settings: the workload's defaults, overridden by what was chosen.

    Raises:
        EvaluationError: an option that this workload does not have, or a value out of its range.
    """
    options = {option.name: option for option in workload.options}
    for name in chosen or {}:
        if name not in options:
            available = ", ".join(options) or "none"
            raise EvaluationError(
                f"{workload.name} has no sampling option {name!r}.{suggestion(name, list(options))} "
                f"Available: {available}."
            )
    return {name: option.check((chosen or {}).get(name, option.default)) for name, option in options.items()}


def numbered_noise(shape: tuple[int, ...], start: int, stop: int, *, seed: int) -> Tensor:
    """Standard normal noise of samples `start` to `stop - 1`: (n, *shape) float32.

    Drawn in fixed blocks of 64, each with a generator of its own, so that sample i is the same
    whatever range it is asked for in.
    """
    blocks = [torch.empty(0, *shape)]
    for block in range(start // NOISE_BLOCK, -(-stop // NOISE_BLOCK)):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + block)
        blocks.append(torch.randn(NOISE_BLOCK, *shape, generator=generator))
    first = start - start // NOISE_BLOCK * NOISE_BLOCK
    return torch.cat(blocks)[first : first + stop - start]


def cycling_labels(start: int, stop: int, n_classes: int) -> Tensor:
    """Classes 0, 1, ..., n_classes - 1, 0, ... of the numbered samples: (n,) int64."""
    return torch.arange(start, stop) % n_classes


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters live."""
    return next(model.parameters()).device


def to_pixels(brightness: Tensor) -> Tensor:
    """float32 in [0, 1] on any device -> uint8 on the CPU, clamped and rounded."""
    return brightness.clamp(0, 1).mul(255).round().to(torch.uint8).cpu()


def describe(workload: Workload) -> dict[str, Any]:
    """Plain facts of a loaded workload, for listings."""
    return {
        "name": workload.name,
        "title": workload.title,
        "summary": workload.summary,
        "modality": workload.modality,
        "metric": workload.metric,
        "n_params": sum(p.numel() for p in workload.model.parameters()),
        "options": {option.name: option.default for option in workload.options},
    }
