"""What a workload's outputs are for a scan: where they come from, and how far two of them lie apart.

Images and other tensors: half the squared error, relative to the variance of the dense output. Texts: KL divergence
of the next piece's distribution from the dense model's. Half the squared error is to a tensor what KL is to a
distribution: both are ½ Δᵀ H Δ for small changes Δ of the output, with H = 1 or the Fisher information.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gencomp_core.errors import EvaluationError
from gencomp_core.workloads.base import TextWorkload, Workload, complete_settings, makes_texts
from gencomp_core.workloads.calibration import SEED_OFFSET, Positioned, PositionedBatch

TEXTS_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class Outcome:
    """How far outputs lie from the dense ones, summed over samples.

    Attributes:
        errors: (n,) float64, of each sample or piece.
        units: (n,) float64, what they are relative to: variance times values of an output, or 1 for a piece.
    """

    errors: Tensor
    units: Tensor

    def rows(self, chosen: Tensor | None) -> "Outcome":
        """Some of the samples, or all of them."""
        return self if chosen is None else Outcome(self.errors[chosen], self.units[chosen])

    @classmethod
    def joined(cls, parts: "Iterable[Outcome]") -> "Outcome":
        """Outcomes of several batches, one after the other."""
        errors, units = zip(*((own.errors, own.units) for own in parts), strict=True)
        return cls(torch.cat(errors), torch.cat(units))


@dataclass(frozen=True)
class Outputs:
    """How outputs of one workload are read.

    Attributes:
        are_texts: whether they are distributions over pieces, in the last dimension.
    """

    are_texts: bool

    @property
    def unit(self) -> str:
        """What a damage is, in words."""
        if self.are_texts:
            return "nats a piece, KL of the next piece's distribution from dense"
        return "half the squared error of the output, relative to the variance of the dense output"

    def read(self, raw: object) -> Tensor:
        """Output as (n, ...) floats, or (pieces, vocabulary) log-probabilities.

        Raises:
            EvaluationError: what can't be compared.
        """
        if not isinstance(raw, Tensor):
            raise EvaluationError(
                f"A scan by output needs a tensor from each calibration batch, got {type(raw).__name__}. Give the "
                "workload 'forward_batches' (gencomp_core/workloads/calibration.py), or use --method metric."
            )
        values = raw.float()
        if self.are_texts:
            return values.log_softmax(-1).flatten(0, -2)  # of log-probabilities, these are they themselves
        return values if values.ndim > 1 else values.reshape(len(values) if values.ndim else 1, -1)

    def unit_of_row(self, dense: Tensor) -> float:
        """What the error of one sample or piece is relative to."""
        return 1.0 if self.are_texts else _variance(dense) * dense[0].numel()

    def outcome(self, output: Tensor, dense: Tensor) -> Outcome:
        """Errors of each sample or piece."""
        if self.are_texts:
            errors = (dense.exp() * (dense - output)).sum(1).double()
        else:
            errors = (output - dense).square().flatten(1).sum(1).double() / 2
        return Outcome(errors, torch.full_like(errors, self.unit_of_row(dense)))

    def projection(self, dense: Tensor, *, generator: torch.Generator) -> Tensor:
        """Random signs v with E[v vᵀ] = H: ±1 for values, ±√p for log-probabilities; the shape of `dense`.

        KL(p‖q) = ½ Σ p Δ(log p)² to second order, so that √p is the right weight of a log-probability.
        Source: Martens 2020 (arXiv:1412.1193), section 9.2, the Fisher information as a Gauss–Newton matrix.
        """
        signs = torch.randint(0, 2, dense.shape, generator=generator).to(dense) * 2 - 1
        return signs * (dense / 2).exp() if self.are_texts else signs


def outputs_of(workload: Workload) -> Outputs:
    """How outputs of a workload are read."""
    return Outputs(makes_texts(workload))


def observed_batches(workload: Workload, n: int, *, seed: int) -> list[PositionedBatch]:
    """Forward passes of a workload, with the positions of the generation that their rows belong to.

    The first of what the workload has: `position_batches`, `forward_batches` (a stage is a position), log-probabilities
    along references (texts), samples at its default settings (images, whose pixels then count).
    """
    own_seed = seed + SEED_OFFSET
    if isinstance(workload, Positioned):
        return [_met(batch) for batch in workload.position_batches(n, seed=own_seed)]
    forward = getattr(workload, "forward_batches", None)
    if forward is not None:
        return [PositionedBatch(batch.run, {batch.stage: None}) for batch in forward(n, seed=own_seed)]
    if makes_texts(workload):
        n = min(n, workload.n_prompts)
        return [
            PositionedBatch(_along(workload, s, min(n, s + TEXTS_TOGETHER)), {"references": None})
            for s in range(0, n, TEXTS_TOGETHER)
        ]
    settings = complete_settings(workload)

    def generate(model: nn.Module) -> Tensor:
        samples: Tensor = workload.generate(model, 0, n, seed=own_seed, settings=settings)
        return samples

    return [PositionedBatch(generate, {"generate": None})]


def _met(batch: PositionedBatch) -> PositionedBatch:
    """The batch with those positions alone that some row belongs to."""
    met = {where: rows for where, rows in batch.positions.items() if rows is None or len(rows)}
    return PositionedBatch(batch.run, met)


def _along(workload: TextWorkload, start: int, stop: int) -> Callable[[nn.Module], Tensor]:
    def run(model: nn.Module) -> Tensor:
        log_probs, _, real = workload.log_probs(model, start, stop)
        return log_probs[real]

    return run


def positions_of(batches: Iterable[PositionedBatch]) -> list[str]:
    """Positions in the order of the generation; none where there is only one."""
    found = list(dict.fromkeys(where for batch in batches for where in batch.positions))
    return found if len(found) > 1 else []


def _variance(dense: Tensor) -> float:
    """Of all values around their mean; 1 for a constant."""
    found = float(dense.double().var(correction=0))
    return found if found > 0 else 1.0
