"""Damage by running the changed network on calibration batches, and comparing its outputs with the dense ones."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gencomp_core.analysis.sensitivity.estimates import INFINITE, of_samples
from gencomp_core.analysis.sensitivity.outputs import Outcome, observed_batches, outputs_of, positions_of
from gencomp_core.analysis.sensitivity.prefix import PrefixRunner
from gencomp_core.records import Estimate
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import PositionedBatch

N_STEPS = 4


class OutputProxy:
    """Same-seed output error of changed networks.

    Diffusion is asked at `n_steps` of its time steps, spread evenly, each along the dense model's own trajectory: one
    call of the network a step.

    Args:
        n_samples: calibration samples of each batch.
        n_steps: most positions that are asked.
        reuse: take what lies before the changed layer from a record.
    """

    def __init__(self, workload: Workload, *, n_samples: int, seed: int, n_steps: int, reuse: bool = True) -> None:
        self.outputs = outputs_of(workload)
        self.batches = spread(observed_batches(workload, n_samples, seed=seed), n_steps)
        self.positions = positions_of(self.batches)
        self.runner = PrefixRunner(workload.model, self.batches, self.outputs.read, reuse=reuse)

    def of_weights(self, weights: Mapping[str, Tensor]) -> dict[str | None, Estimate]:
        """Damage of other weights in some layers, by position and over all (None)."""
        return self._damages(self.runner.outputs(weights))

    @torch.no_grad()
    def of_network(self, network: nn.Module) -> dict[str | None, Estimate]:
        """Damage of a network that was changed in more than its weights."""
        return self._damages([self.outputs.read(batch.run(network)) for batch in self.batches])

    def _damages(self, outputs: Sequence[Tensor]) -> dict[str | None, Estimate]:
        everything: list[Outcome] = []
        found: dict[str, list[Outcome]] = {}
        for batch, dense, output in zip(self.batches, self.runner.dense, outputs, strict=True):
            own = self.outputs.outcome(output, dense)
            everything.append(own)
            for where, rows in batch.positions.items():
                found.setdefault(where, []).append(own.rows(rows))
        by_position: dict[str | None, Estimate] = {}
        for where in self.positions:
            by_position[where] = of_samples(Outcome.joined(found[where]))
        return {None: of_samples(Outcome.joined(everything)), **by_position}

    def refused(self) -> dict[str | None, Estimate]:
        """Damage of an option that can't be applied."""
        return {None: INFINITE, **dict.fromkeys(self.positions, INFINITE)}


def spread(batches: Sequence[PositionedBatch], n: int) -> list[PositionedBatch]:
    """Of batches that have positions of their own, n at most, spread evenly from the first to the last."""
    alone = [next(iter(batch.positions)) for batch in batches if len(batch.positions) == 1]
    places = list(dict.fromkeys(alone))
    if len(alone) < len(batches) or len(places) <= n:
        return list(batches)
    step = len(places) / n
    chosen = {places[int((number + 0.5) * step)] for number in range(n)}
    return [batch for batch in batches if chosen & set(batch.positions)]
