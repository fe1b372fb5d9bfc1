"""Milliseconds of one layer, fitted to what single layers took on this machine. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from gencomp_core.analysis.break_even.kernels import KERNELS
from gencomp_core.records.machines import LayerPoint, LayerTiming, MachineProfile

N_FEATURES = 5
Key = tuple[str, str, str]
"""Runtime, format, kind of layer."""


@dataclass(frozen=True)
class Size:
    """What the time of one call depends on.

    Attributes:
        macs: multiply-accumulates.
        narrowest: the smaller of its numbers of channels: narrow layers leave parts of a vector unit idle.
        n_weights: read once a call.
        n_moved: values that go in and come out.
    """

    macs: float
    narrowest: int
    n_weights: float
    n_moved: float

    def features(self) -> np.ndarray:
        """(5,): one call, arithmetic, arithmetic lost to narrow channels, weights read, values moved; in millions."""
        return np.array(
            [
                1.0,
                self.macs / 1e6,
                self.macs / self.narrowest / 1e6,
                self.n_weights / 1e6,
                self.n_moved / 1e6,
            ]
        )


@dataclass(frozen=True, eq=False)
class LayerCosts:
    """Fitted costs.

    Attributes:
        weights: milliseconds of each feature, >= 0, by runtime, format and kind.
    """

    weights: Mapping[Key, np.ndarray]

    @classmethod
    def fit(cls, profile: MachineProfile) -> "LayerCosts":
        """Least squares of relative errors, no negative cost."""
        by_key: dict[Key, list[LayerTiming]] = {}
        for own in profile.timings:
            by_key.setdefault((own.runtime, own.format, own.point.kind), []).append(own)
        return cls({key: _fitted(own) for key, own in by_key.items()})

    def ms(self, runtime: str, form: str, kind: str, size: Size) -> float:
        """One call of a layer; in floats where the runtime was not timed with the format."""
        own = self.weights.get((runtime, form, kind))
        if own is None:
            own = self.weights[runtime, "float", kind]
        return float(own @ size.features())

    def runtimes(self) -> list[str]:
        """Runtimes that were timed."""
        return list(dict.fromkeys(runtime for runtime, _, _ in self.weights))


def size_of(point: LayerPoint) -> Size:
    """The size of a layer that was timed."""
    rows = point.batch * point.positions
    moved = rows * point.width * (5 if point.kind == "transposed" else 2)
    return Size(point.macs, point.width, KERNELS[point.kind] * point.width**2, moved)


def _fitted(timings: Sequence[LayerTiming]) -> np.ndarray:
    rows = np.stack([size_of(own.point).features() / own.ms for own in timings])
    found, _ = nnls(rows, np.ones(len(timings)))
    return np.asarray(found)


def errors(costs: LayerCosts, timings: Iterable[LayerTiming]) -> np.ndarray:
    """Predicted / measured - 1 of layers that were timed: (n,)."""
    told = [(costs.ms(own.runtime, own.format, own.point.kind, size_of(own.point)), own.ms) for own in timings]
    return np.array([predicted / measured - 1 for predicted, measured in told])
