"""Damage of all layers and options from one pass: the diagonal of the Gauss–Newton matrix of the output.

A small change Δ of weights changes the output y by J Δ, so that half the squared error is ½ Δᵀ Jᵀ H J Δ. Of the
matrix only the diagonal is taken, ½ Σ h Δ²: errors of different weights are taken to be independent. With random
signs v of E[v vᵀ] = H, g = Jᵀ v is one backward pass and E[g²] = h.

Sources: Schraudolph 2002, "Fast curvature matrix-vector products", section 3 (Gauss–Newton); Bekas 2007, "An estimator
for the diagonal of a matrix" (random signs); Dong 2020 (arXiv:1911.03852), HAWQ-V2, which sums curvature times squared
rounding error in the same way.
"""

import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from gencomp_core.analysis.sensitivity.outputs import Outputs, observed_batches, outputs_of, positions_of
from gencomp_core.compression.layers import weight_layers
from gencomp_core.errors import EvaluationError
from gencomp_core.records import Progress
from gencomp_core.runtime_env import generator
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import SEED_OFFSET, PositionedBatch

ALL = None
"""Position of a damage over the whole generation."""

Effects = Mapping[str, Tensor]
"""For one option: Δ of the weights that it changes, by layer, each in the shape of the weight."""


@dataclass(frozen=True, eq=False)
class Change:
    """What the options of one layer do to weights, ready to be weighed by gradients.

    Attributes:
        squares: (options, weights) float32, Δ² of each weight of the layer; damages add up over weights.
        effects: in place of it, whose first order effects are added before they are squared: no two weights are taken
            to be independent, which takes more probes.
    """

    squares: Tensor | None = None
    effects: Sequence[Effects] = ()

    @property
    def n_options(self) -> int:
        """How many options there are."""
        return len(self.effects) if self.squares is None else len(self.squares)


Damages = dict[str | None, np.ndarray]
"""{position, None for all: (options, replicates) float64}; each replicate is an unbiased estimate of its own."""


def fisher_damages(
    workload: Workload, changes: Mapping[str, Change], *, n_samples: int, n_probes: int, seed: int
) -> Generator[Progress, None, dict[str, Damages]]:
    """Damages of the options behind `changes`, by layer.

    A workload without forward passes is asked for its training loss: E[g²] over batches, the empirical Fisher
    (Theis 2018, arXiv:1801.05787, equation 4), which is cruder.

    Args:
        n_probes: random signs per calibration batch.

    Raises:
        EvaluationError: outputs that no gradient can be taken of.
    """
    passes = _passes(workload, n_samples=n_samples, n_probes=n_probes, seed=seed)
    replicates = len(passes.batches) if passes.of_loss else n_probes
    sums: dict[str, dict[str, np.ndarray]] = {key: {} for key in changes}
    units: dict[str, float] = {}
    for number in range(len(passes.batches)):
        yield Progress("backward passes", number, len(passes.batches))
        for found in passes.gradients(number, changes, seed=seed):
            units[found.position] = units.get(found.position, 0.0) + found.unit
            column = number if passes.of_loss else found.probe
            for key, change in changes.items():
                own = sums[key].setdefault(found.position, np.zeros((change.n_options, replicates)))
                own[:, column] += _damage(change, key, found.by_layer) * replicates
    where = positions_of(passes.batches)
    return {key: _relative(own, units, where) for key, own in sums.items()}


def _relative(sums: Mapping[str, np.ndarray], units: Mapping[str, float], positions: Sequence[str]) -> Damages:
    """Damages over units, of which each replicate counted its own share."""
    everything = np.sum(list(sums.values()), axis=0) / sum(units.values())
    return {ALL: everything} | {where: sums[where] / units[where] for where in positions}


@dataclass(frozen=True, eq=False)
class _Gradients:
    """One backward pass: gradients by layer of the output at one position, projected on random signs."""

    position: str
    probe: int
    unit: float
    by_layer: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class _Passes:
    """Calibration batches of a private copy of the model, of which gradients are taken."""

    outputs: Outputs
    network: nn.Module
    batches: Sequence[PositionedBatch]
    n_probes: int
    of_loss: bool

    def gradients(self, index: int, changes: Mapping[str, Change], *, seed: int) -> Iterator[_Gradients]:
        """Backward passes of one batch, for each position and probe; the same whatever layers are asked for."""
        batch = self.batches[index]
        needed = {key for key, own in changes.items() if own.squares is not None}
        needed |= {name for own in changes.values() for effects in own.effects for name in effects}
        layers = weight_layers(self.network)
        weights = {name: cast(nn.Parameter, layers[name].weight) for name in layers if name in needed}
        with torch.inference_mode(False), torch.enable_grad():
            output = self._output(batch)
            dense = output.detach()
            unit = 1.0 if self.of_loss else self.outputs.unit_of_row(dense)
            for number in range(self.n_probes * len(batch.positions)):
                probe, place = divmod(number, len(batch.positions))
                where, rows = list(batch.positions.items())[place]
                drawn = generator(seed * 1_000_003 + index * 1009 + probe)
                signs = torch.ones_like(dense) if self.of_loss else self.outputs.projection(dense, generator=drawn)
                if rows is not None:
                    signs = torch.zeros_like(signs).index_copy_(0, rows, signs[rows])
                more = number < self.n_probes * len(batch.positions) - 1
                found = torch.autograd.grad(output, list(weights.values()), signs, retain_graph=more, allow_unused=True)
                n_rows = 1 if self.of_loss else len(dense) if rows is None else len(rows)
                by_layer = {n: g for n, g in zip(weights, found, strict=True) if g is not None}
                yield _Gradients(where, probe, unit * n_rows, by_layer)

    def _output(self, batch: PositionedBatch) -> Tensor:
        raw = batch.run(self.network)
        output = raw.float().mean() if self.of_loss else self.outputs.read(raw)
        if not output.requires_grad:
            raise EvaluationError(
                f"--method fisher needs gradients, which the pass at {next(iter(batch.positions))!r} does not record. "
                "Give the workload 'forward_batches' that run without inference mode "
                "(gencomp_core/workloads/calibration.py), or use --method proxy."
            )
        return output


def _passes(workload: Workload, *, n_samples: int, n_probes: int, seed: int) -> _Passes:
    network = copy.deepcopy(workload.model).eval()
    for layer in weight_layers(network).values():
        cast(nn.Parameter, layer.weight).requires_grad_(True)
    has_forward = any(hasattr(workload, name) for name in ("position_batches", "forward_batches"))
    losses = getattr(workload, "loss_batches", None)
    if not has_forward and losses is not None:
        found = losses(n_samples, seed=seed + SEED_OFFSET)
        batches = [PositionedBatch(batch.run, {batch.stage: None}) for batch in found]
        return _Passes(outputs_of(workload), network, batches, 1, of_loss=True)
    batches = observed_batches(workload, n_samples, seed=seed)
    return _Passes(outputs_of(workload), network, batches, n_probes, of_loss=False)


def _damage(change: Change, key: str, gradients: Mapping[str, Tensor]) -> np.ndarray:
    """½ Σ g² Δ² of each option, or ½ (Σ g Δ)²: (options,) float64. Weights without a gradient change nothing."""
    if change.squares is not None:
        own = gradients.get(key)
        if own is None:
            return np.zeros(change.n_options)
        found: np.ndarray = (change.squares @ own.flatten().square()).double().cpu().numpy() / 2
        return found
    first_order = [
        sum(float((gradients[name] * delta).sum()) for name, delta in effects.items() if name in gradients)
        for effects in change.effects
    ]
    return np.square(first_order) / 2
