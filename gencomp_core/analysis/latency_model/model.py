"""Latency of whole generations: layers, what lies between them, and calls; each share fitted to measured variants.

T = layers · Σ t(layer) + between · values that layers put out + call · calls of the network + step · calls of layers

t(layer) is fitted to single layers (`layer_cost.py`). The four shares are fitted to whole generations that were
measured; without any they are `PRIOR`. A measured latency of the dense model in the same runtime and batch, where there
is one, corrects the scale: what a workload does between its layers is its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls

from gencomp_core.analysis.latency_model.layer_cost import LayerCosts, Size
from gencomp_core.analysis.latency_model.work import LayerWork, Table
from gencomp_core.errors import EvaluationError
from gencomp_core.records import Estimate
from gencomp_core.records.machines import MachineProfile, WholeFit

SPREAD = 0.3
"""Half-width of the interval, as a part of the value, while no whole generation was measured."""
PRIOR_WEIGHT = 0.05
"""How much the shares that hold without measurements weigh against one measurement."""


@dataclass(frozen=True)
class MeasuredGeneration:
    """A whole generation that was timed.

    Attributes:
        table: work of its layers.
        runtime: that ran it.
        ms: for the batch of the table.
        group: what is left out together when the model is validated, such as the workload.
        dense: the dense model of the workload, in the same runtime and batch.
    """

    table: Table
    runtime: str
    ms: float
    group: str = ""
    dense: "MeasuredGeneration | None" = None


@dataclass(frozen=True, eq=False)
class GenerationCosts:
    """The latency model of one machine.

    Attributes:
        layers: of single layers.
        call_ms: of a call that computes nothing, by runtime.
        fits: shares fitted to whole generations, by runtime.
    """

    layers: LayerCosts
    call_ms: Mapping[str, float]
    fits: Mapping[str, WholeFit] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: MachineProfile) -> "GenerationCosts":
        """The model as a profile has it."""
        return cls(LayerCosts.fit(profile), profile.call_ms, {own.runtime: own for own in profile.fits})

    def layer_ms(self, work: LayerWork, runtime: str) -> float:
        """What one layer contributes to a batch, with what comes with it: no model is run.

        Take another `format`, or `work.narrowed(...)`, to see what an option would save.
        """
        shares = self._shares(runtime)
        return float(shares[:2] @ self._of_layer(work, runtime)[:2] + shares[3] * work.calls)

    def other_ms(self, table: Table, runtime: str) -> float:
        """What the calls of the network contribute, whatever its layers are."""
        return float(self._shares(runtime)[2] * self.call_ms[runtime] * _n_calls(table))

    def predict(
        self, table: Table, runtime: str, *, dense: Table | None = None, dense_ms: float | None = None
    ) -> Estimate:
        """Milliseconds for the batch of a table, with the interval that 19 of 20 measurements should fall into.

        Args:
            table: of the variant (`layer_table`).
            dense: table of the dense model for the same batch.
            dense_ms: its measured latency in the same runtime.

        Raises:
            EvaluationError: a runtime that this machine has not timed.
        """
        self._check(runtime)
        value = float(self._shares(runtime) @ self.features(table, runtime))
        spread = self.fits[runtime].spread if runtime in self.fits else SPREAD
        if dense is not None and dense_ms is not None:
            value *= dense_ms / float(self._shares(runtime) @ self.features(dense, runtime))
            spread = self.fits[runtime].anchored_spread if runtime in self.fits else SPREAD / 2
        return Estimate(value=value, low=value / (1 + spread), high=value * (1 + spread))

    def features(self, table: Table, runtime: str) -> np.ndarray:
        """(4,): milliseconds of all layers, millions of values between them, calls of the network, of layers."""
        own = [self._of_layer(work, runtime) for work in table.values()]
        total = np.sum(own, axis=0) if own else np.zeros(4)
        return np.array([total[0], total[1], self.call_ms[runtime] * _n_calls(table), total[3]])

    def fitted(self, runtime: str, measured: Sequence[MeasuredGeneration]) -> np.ndarray:
        """Shares that explain measured generations best, by relative error: (4,), >= 0."""
        rows = [self.features(own.table, runtime) / own.ms for own in measured]
        typical = np.median(np.abs(rows), axis=0) if rows else np.ones(4)
        prior = np.diag(typical) * PRIOR_WEIGHT * max(1, len(rows)) ** 0.5
        left = np.vstack([*rows, *prior])
        right = np.concatenate([np.ones(len(rows)), prior @ PRIOR])
        found, _ = nnls(left, right)
        return np.asarray(found)

    def _shares(self, runtime: str) -> np.ndarray:
        return np.array(self.fits[runtime].shares) if runtime in self.fits else PRIOR

    def _of_layer(self, work: LayerWork, runtime: str) -> np.ndarray:
        calls = max(1, work.calls)
        size = Size(
            work.macs / calls,
            min(work.in_channels, work.out_channels),
            work.n_weights,
            (work.n_in + work.n_out) / calls,
        )
        ms = self.layers.ms(runtime, work.format, work.kind, size) * calls
        return np.array([ms, work.n_out / 1e6, 0.0, work.calls])

    def _check(self, runtime: str) -> None:
        if runtime not in self.call_ms:
            raise EvaluationError(
                f"The latency model knows {', '.join(self.call_ms)}, got {runtime}. Run 'gencomp machine --again'."
            )


PRIOR = np.array([1.0, 1.0, 1.0, 0.0])
"""Shares without measurements: layers and calls as they were timed alone, and 1 ms for a million values."""


def _n_calls(table: Table) -> int:
    """Calls of the network: as many as those of the layer that is called most often."""
    return max((own.calls for own in table.values()), default=0)


def fit_whole(costs: GenerationCosts, measured: Iterable[MeasuredGeneration]) -> tuple[WholeFit, ...]:
    """Shares by runtime, with the errors that leaving out one group at a time shows."""
    by_runtime: dict[str, list[MeasuredGeneration]] = {}
    for own in measured:
        by_runtime.setdefault(own.runtime, []).append(own)
    fits = []
    for runtime, all_own in by_runtime.items():
        spreads = [_spread(left_out_errors(costs, runtime, all_own, anchored=how)) for how in (False, True)]
        shares = costs.fitted(runtime, all_own)
        fits.append(
            WholeFit(
                runtime=runtime,
                shares=(float(shares[0]), float(shares[1]), float(shares[2]), float(shares[3])),
                n_measured=len(all_own),
                spread=spreads[0],
                anchored_spread=spreads[1],
            )
        )
    return tuple(fits)


def _spread(errors: np.ndarray) -> float:
    return float(np.quantile(np.abs(errors), 0.95)) if len(errors) else SPREAD


def left_out_errors(
    costs: GenerationCosts, runtime: str, measured: Sequence[MeasuredGeneration], *, anchored: bool = False
) -> np.ndarray:
    """Predicted / measured - 1 of each generation, by shares that were fitted without its group: (n,).

    Args:
        anchored: correct the scale by the measured dense model; generations without one are left out.
    """
    found = []
    for own in measured:
        if anchored and own.dense is None:
            continue
        shares = costs.fitted(runtime, [other for other in measured if other.group != own.group])
        told = float(shares @ costs.features(own.table, runtime))
        if anchored and own.dense is not None:
            told *= own.dense.ms / float(shares @ costs.features(own.dense.table, runtime))
        found.append(told / own.ms - 1)
    return np.array(found)
