"""What a plan chooses from: options of layers, with all that they cost and damage. No torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.analysis.planning.narrowing import Narrowing, Widths
from gencomp_core.analysis.planning.options import recipe_of
from gencomp_core.analysis.planning.quality_map import QualityMap
from gencomp_core.artifact.footprint import about_bytes, file_bytes
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import LayerOption
from gencomp_core.records.footprints import Footprint, LayerPrice, LayerPrices, PriceList
from gencomp_core.records.plans import Prediction

Total = Literal["damage", "size_bytes", "latency_ms", "macs"]
Chosen = Sequence[int]
"""Position of an option, by layer."""


MsOf = Callable[[str, LayerOption], float]


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """What a layer's option is expected to take of the time for one batch.

    Attributes:
        ms_of: milliseconds of a layer under an option.
        other_ms: of everything between layers.
        narrowed: the same of a network with fewer channels, from the parts of inputs and outputs that are left.
        runtime, batch: that it holds for.
        spread: 19 of 20 measurements are off by less, as a part of the value; None where that is not known.
    """

    ms_of: MsOf
    other_ms: float = 0.0
    narrowed: Callable[[Mapping[str, tuple[float, float]]], MsOf] | None = None
    runtime: str = "eager"
    batch: int = 1
    spread: float | None = None

    @classmethod
    def by_macs(cls, prices: PriceList, dense_ms: float) -> "LatencyModel":
        """Milliseconds in proportion to multiply-accumulates, which zeros and rounded weights don't change."""
        rate = dense_ms / max(1, prices.macs)
        macs = {own.layer: own.macs for own in prices.layers}

        def narrowed(kept: Mapping[str, tuple[float, float]]) -> MsOf:
            left = {layer: n * Narrowing(kept=kept).part(layer) for layer, n in macs.items()}
            return lambda layer, option: rate * left[layer]

        return cls(narrowed({}), rate * (prices.macs - sum(macs.values())), narrowed)

    def of(self, narrowing: Narrowing) -> MsOf:
        """Milliseconds of a layer under an option in a narrower network."""
        return self.narrowed(narrowing.kept) if self.narrowed and narrowing.kept else self.ms_of


@dataclass(frozen=True, eq=False)
class Instance:
    """One workload's options.

    Attributes:
        prices: exact bytes of each layer and option.
        damages: of each layer and option.
        latency: None where nothing is known of milliseconds.
        quality: what damage means; None while too little was measured.
        widths: channels that can be removed; None where that was not tried.
        input_bytes: of the weights file for each layer with rounded inputs.
        narrowing: what was removed of the network whose layers are chosen for.
    """

    prices: PriceList
    damages: Damages
    latency: LatencyModel | None = None
    quality: QualityMap | None = None
    widths: Widths | None = None
    input_bytes: float = 0.0
    narrowing: Narrowing = field(default_factory=Narrowing)

    def narrowed(self, narrowing: Narrowing) -> "Instance":
        """The same layers with fewer channels."""
        return replace(self, narrowing=narrowing)

    @cached_property
    def options(self) -> list[list[LayerPrice]]:
        """Options of each layer whose damage is known; doing nothing always is.

        Rounded weights may meet rounded inputs where that was tried and a latency is known.
        """
        return [
            [own for own in self._offered(layer) if self.damages.of_layer(layer.layer, own.option) is not None]
            for layer in self.prices.layers
        ]

    def _offered(self, layer: LayerPrices) -> list[LayerPrice]:
        plain = list(layer.options)
        if self.latency is None or layer.layer not in self.damages.inputs:
            return plain
        rounded = [own for own in plain if _meets_integers(own.option)]
        both = [own.option.model_copy(update={"activation_bits": 8}) for own in rounded]
        return plain + [own.model_copy(update={"option": o}) for own, o in zip(rounded, both, strict=True)]

    @cached_property
    def columns(self) -> dict[Total, list[np.ndarray]]:
        """What is added up over layers: (n options,) of each. Bytes are right to a few: the header depends on all."""
        about = sum(own.n_bytes for own in self.prices.fixed) + sum(own[0].footprint.n_bytes for own in self.options)
        found: dict[Total, list[np.ndarray]] = {
            "damage": self._each(lambda layer, own: self.damages.of_layer(layer, own.option) or 0.0),
            "size_bytes": self._each(lambda layer, own: self._about(layer, own, about)),
            "macs": self._each(lambda *_: 0.0),  # zeros and narrow integers are multiplied like any other number
        }
        if self.latency is not None:
            ms_of = self.latency.of(self.narrowing)
            found["latency_ms"] = self._each(lambda layer, own: ms_of(layer, own.option))
        return found

    @cached_property
    def constants(self) -> dict[Total, float]:
        """What comes to these sums whatever is chosen."""
        return {
            "damage": self.narrowing.damage,
            "size_bytes": 0.0,
            "macs": float(self.macs),
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
        """Length of the weights file of a choice; about that where channels are gone or inputs are rounded."""
        own = [options[position] for options, position in zip(self.options, chosen, strict=True)]
        whole = file_bytes([*self.prices.fixed, *(each.footprint for each in own)], self.prices.metadata)
        if self.is_exact(chosen):
            return whole
        gone = sum(self._gone(each) for each in [*(one.footprint for one in own), *self.prices.fixed])
        n_rounded = sum(each.option.activation_bits is not None for each in own)
        return round(whole - gone + self.input_bytes * n_rounded)

    def is_exact(self, chosen: Chosen) -> bool:
        """Whether the bytes of a choice are those of the packer: they are where only weights change."""
        own = zip(self.options, chosen, strict=True)
        return not self.narrowing.kept and all(o[position].option.activation_bits is None for o, position in own)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample with the channels that are left."""
        return round(
            self.prices.macs - sum(own.macs * (1 - self.narrowing.part(own.layer)) for own in self.prices.layers)
        )

    def recipe(self, chosen: Chosen) -> Recipe:
        """What carries a choice out."""
        groups = self.widths.groups if self.widths else ()
        return recipe_of(self.choice(chosen), groups=groups, removed=self.narrowing.removed, inputs=self.damages.inputs)

    def choice(self, chosen: Chosen) -> dict[str, LayerOption]:
        """Option by layer name."""
        own = zip(self.prices.layers, self.options, chosen, strict=True)
        return {layer.layer: options[position].option for layer, options, position in own}

    def prediction(self, chosen: Chosen) -> Prediction:
        """What will come of a choice."""
        damage = self.total("damage", chosen)
        return Prediction(
            size_bytes=self.exact_bytes(chosen),
            size_is_exact=self.is_exact(chosen),
            macs=self.macs,
            **self.latency_fields(self.total("latency_ms", chosen) if self.latency else None),
            damage=damage,
            quality=self.quality.quality(damage) if self.quality else None,
            note="" if self.quality else NO_QUALITY,
        )

    def latency_fields(self, ms: float | None) -> dict[str, Any]:
        """Milliseconds as a prediction tells them."""
        if ms is None or self.latency is None:
            return {}
        spread = self.latency.spread
        ends = {} if spread is None else {"latency_low": ms / (1 + spread), "latency_high": ms * (1 + spread)}
        return {"latency_ms": ms, "runtime": self.latency.runtime, "batch": self.latency.batch, **ends}

    def _about(self, layer: str, own: LayerPrice, file_bytes: int) -> float:
        more = self.input_bytes if own.option.activation_bits is not None else 0.0
        return about_bytes(own.footprint, file_bytes=file_bytes) - self._gone(own.footprint) + more

    def _gone(self, footprint: Footprint) -> float:
        """Bytes of a tensor that go with channels: a weight's with both sides, others' with the outputs."""
        layer, _, tensor = footprint.tensor.rpartition(".")
        if layer not in self.narrowing.kept:
            return 0.0
        part = (
            self.narrowing.part(layer)
            if tensor == "weight" and layer in self._weighted
            else self.narrowing.kept[layer][1]
        )
        return footprint.n_bytes * (1 - part)

    @cached_property
    def _weighted(self) -> set[str]:
        return {own.layer for own in self.prices.layers}

    def _each(self, of: Callable[[str, LayerPrice], float]) -> list[np.ndarray]:
        pairs = zip(self.prices.layers, self.options, strict=True)
        return [np.array([of(layer.layer, own) for own in options]) for layer, options in pairs]


def _meets_integers(option: LayerOption) -> bool:
    """Whether runtimes multiply integer inputs by these very integers; others they round once more."""
    return option.bits is not None and option.symmetric and option.group_size is None


NO_QUALITY = "Too few configurations were measured to say what damage does to the quality: it only ranks."
