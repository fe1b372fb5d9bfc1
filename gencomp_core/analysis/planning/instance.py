"""What a plan chooses from: options of layers, with all that they cost and damage. No torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.analysis.planning.quality_map import QualityMap
from gencomp_core.artifact.footprint import about_bytes, file_bytes
from gencomp_core.records import LayerOption
from gencomp_core.records.footprints import LayerPrice, PriceList
from gencomp_core.records.plans import Prediction

Total = Literal["damage", "size_bytes", "latency_ms", "macs"]
Chosen = Sequence[int]
"""Position of an option, by layer."""


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """What a layer's option is expected to take of the time for one batch.

    Attributes:
        ms_of: milliseconds of a layer under an option.
        other_ms: of everything between layers.
    """

    ms_of: Callable[[str, LayerOption], float]
    other_ms: float = 0.0

    @classmethod
    def by_macs(cls, prices: PriceList, dense_ms: float) -> "LatencyModel":
        """Milliseconds in proportion to multiply-accumulates, which zeros and rounded weights don't change."""
        rate = dense_ms / max(1, prices.macs)
        macs = {own.layer: own.macs for own in prices.layers}
        return cls(lambda layer, option: rate * macs[layer], rate * (prices.macs - sum(macs.values())))


@dataclass(frozen=True, eq=False)
class Instance:
    """One workload's options.

    Attributes:
        prices: exact bytes of each layer and option.
        damages: of each layer and option.
        latency: None where nothing is known of milliseconds.
        quality: what damage means; None while too little was measured.
    """

    prices: PriceList
    damages: Damages
    latency: LatencyModel | None = None
    quality: QualityMap | None = None

    @cached_property
    def options(self) -> list[list[LayerPrice]]:
        """Options of each layer whose damage is known; doing nothing always is."""
        return [
            [own for own in layer.options if self.damages.of_layer(layer.layer, own.option) is not None]
            for layer in self.prices.layers
        ]

    @cached_property
    def columns(self) -> dict[Total, list[np.ndarray]]:
        """What is added up over layers: (n options,) of each. Bytes are right to a few: the header depends on all."""
        about = sum(own.n_bytes for own in self.prices.fixed) + sum(own[0].footprint.n_bytes for own in self.options)
        found: dict[Total, list[np.ndarray]] = {
            "damage": self._each(lambda layer, own: self.damages.of_layer(layer, own.option) or 0.0),
            "size_bytes": self._each(lambda _, own: float(about_bytes(own.footprint, file_bytes=about))),
            "macs": self._each(lambda *_: 0.0),  # zeros and narrow integers are multiplied like any other number
        }
        if self.latency is not None:
            ms_of = self.latency.ms_of
            found["latency_ms"] = self._each(lambda layer, own: ms_of(layer, own.option))
        return found

    @cached_property
    def constants(self) -> dict[Total, float]:
        """What comes to these sums whatever is chosen."""
        return {
            "damage": 0.0,
            "size_bytes": 0.0,
            "macs": float(self.prices.macs),
            "latency_ms": self.latency.other_ms if self.latency else 0.0,
        }

    def total(self, name: Total, chosen: Chosen) -> float:
        """What a choice comes to; bytes are those of the file."""
        return float(self.exact_bytes(chosen)) if name == "size_bytes" else self.added(name, chosen)

    def added(self, name: Total, chosen: Chosen) -> float:
        """The same as the solver adds it up."""
        own = zip(self.columns[name], chosen, strict=True)
        return self.constants[name] + float(sum(column[position] for column, position in own))

    def exact_bytes(self, chosen: Chosen) -> int:
        """Length of the weights file of a choice."""
        own = [options[position].footprint for options, position in zip(self.options, chosen, strict=True)]
        return file_bytes([*self.prices.fixed, *own], self.prices.metadata)

    def choice(self, chosen: Chosen) -> dict[str, LayerOption]:
        """Option by layer name."""
        own = zip(self.prices.layers, self.options, chosen, strict=True)
        return {layer.layer: options[position].option for layer, options, position in own}

    def prediction(self, chosen: Chosen) -> Prediction:
        """What will come of a choice."""
        damage = self.total("damage", chosen)
        return Prediction(
            size_bytes=self.exact_bytes(chosen),
            size_is_exact=True,
            macs=self.prices.macs,
            latency_ms=self.total("latency_ms", chosen) if self.latency else None,
            damage=damage,
            quality=self.quality.quality(damage) if self.quality else None,
            note="" if self.quality else NO_QUALITY,
        )

    def _each(self, of: Callable[[str, LayerPrice], float]) -> list[np.ndarray]:
        pairs = zip(self.prices.layers, self.options, strict=True)
        return [np.array([of(layer.layer, own) for own in options]) for layer, options in pairs]


NO_QUALITY = "Too few configurations were measured to say what damage does to the quality: it only ranks."
