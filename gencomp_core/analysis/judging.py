"""How samples are judged: what is kept of them, their quality, and how far they drifted from dense.

One judge per kind of sample. Measurements and previews ask it the same questions in the same order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from torch import Tensor, nn

from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.intervals import Interval
from gencomp_core.records import METRICS, Estimate, Quality
from gencomp_core.workloads.base import Workload, makes_texts


class Samples(Protocol):
    """Samples number 0 to n - 1 of one model, with what their quality is computed from."""

    def __len__(self) -> int:
        """How many."""

    def first(self, n: int) -> Self:
        """Samples number 0 to n - 1."""

    def then(self, more: Self) -> Self:
        """These samples and those that follow them."""

    def tensors(self) -> dict[str, Tensor]:
        """Plain form, for a cache."""


Kept = TypeVar("Kept", bound=Samples)


class Judge(Protocol[Kept]):
    """Judges the samples of one workload.

    Attributes:
        title: printed with the quality; samples that were observed under another title can't be compared.
        batch: samples generated together.
    """

    title: str
    batch: int

    def observe(self, outputs: Sequence[Any], start: int) -> Kept:
        """Keep generated batches, of which the first sample has number `start`."""

    def restore(self, tensors: Mapping[str, Tensor]) -> Kept:
        """Inverse of `Samples.tensors`; KeyError where one is missing."""

    def quality(
        self, samples: Kept, dense: Kept, *, n_resamples: int | None = None
    ) -> tuple[Quality, Quality, Estimate]:
        """Metric of both, and their difference from the same resamples."""

    def drift(self, model: nn.Module, samples: Kept, dense: Kept) -> Estimate:
        """The one fidelity measure that `METRICS` names, alone."""

    def damage(self, model: nn.Module, samples: Kept, dense: Kept) -> Estimate:
        """How far the model moved from dense: 0 for dense, and nearly in proportion to what the quality loses."""

    def fidelity(self, model: nn.Module, samples: Kept, dense: Kept) -> dict[str, Estimate]:
        """Same-seed measures against dense and other figures, by name with unit."""

    def agreement(self, samples: Kept, other: Kept) -> dict[str, Estimate]:
        """How equal the samples of two models are, pair by pair, without asking the models."""


def judge_for(workload: Workload, extractor: str) -> Judge[Any]:
    """The judge of a workload's samples.

    Raises:
        UnknownNameError: no such feature space.
    """
    if makes_texts(workload):
        from gencomp_core.analysis.texts import TextJudge

        return TextJudge(workload)
    from gencomp_core.analysis.images import ImageJudge

    return ImageJudge(workload, extractor)


def check_count(workload: Workload, n_samples: int) -> None:
    """Refuse a number of samples that the metric can't be computed over, or that the workload doesn't have.

    Raises:
        EvaluationError: the number is out of range.
    """
    facts = METRICS[workload.metric]
    most = min(facts.most, workload.n_prompts) if makes_texts(workload) else facts.most
    if not facts.least <= n_samples <= most:
        raise EvaluationError(
            f"--samples must be in [{facts.least}, {most}], got {n_samples}. {facts.title} over fewer means nothing; "
            f"figures for a report take {facts.n_samples}."
        )


def estimate(interval: Interval) -> Estimate:
    """Interval as a record."""
    return Estimate(value=interval.value, low=interval.low, high=interval.high)
