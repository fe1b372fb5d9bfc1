"""Damage of any option of any layer, from the options that a scan has scored. No torch.

Scores are made monotone first: compressing a layer more never counts as better. What lies between scored options is
interpolated; pruning and rounding that were not scored together add up. Damages of layers add up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gencomp_core.records import LayerOption, LayerScore, ScanMethod
from gencomp_core.records.anchors import Anchor

_ERROR_PER_BIT = float(np.log(4.0))  # each bit halves the step, and the squared error is a quarter
_SMALL_SPARSITY_POWER = 3.0  # the smallest weights of a density that is flat at 0: their squares sum up to s³
_TINY = 1e-30
_MOST_FACTOR = 1e4


def is_milder(first: LayerOption, second: LayerOption) -> bool:
    """Whether the first option does to a layer no more than the second, in every respect."""
    if first.sparsity > second.sparsity or first.pruning_ratio > second.pruning_ratio:
        return False
    if first.bits is None:
        return True
    if second.bits is None or (first.symmetric, first.clipping) != (second.symmetric, second.clipping):
        return False
    return first.bits >= second.bits and _group(first) <= _group(second)


def monotone(options: Sequence[LayerOption], damages: Sequence[float]) -> np.ndarray:
    """Damages nearest to the given ones, in the largest difference, that grow with what is done: (n,) >= 0.

    Source: L∞ isotonic regression over a partial order: half of the largest among milder options and the smallest
    among harsher ones. Ubhaya 1974, "Isotone optimization I", J. Approx. Theory 12.
    """
    found = np.maximum(np.asarray(damages, float), 0.0)
    below = np.array([[is_milder(other, option) for other in options] for option in options], bool)
    largest_below = np.where(below, found[None, :], -np.inf).max(1, initial=0.0)
    smallest_above = np.where(below.T, found[None, :], np.inf).min(1, initial=np.inf)
    fitted: np.ndarray = (largest_below + smallest_above) / 2
    return fitted


@dataclass(frozen=True, eq=False)
class LayerDamage:
    """Damage of one layer by option.

    Attributes:
        scored: monotone damage of the options that were scored.
    """

    scored: Mapping[LayerOption, float]

    def of(self, option: LayerOption) -> float | None:
        """Damage of an option; None where nothing like it was scored."""
        if option.is_nothing:
            return 0.0
        if option in self.scored:
            return self.scored[option]
        if option.pruning_ratio:
            return None
        rounded = option.model_copy(update={"sparsity": 0.0})
        pruned = LayerOption(sparsity=option.sparsity)
        if option.bits is None:
            return self._of_sparsity(option.sparsity)
        together = self._of_both(option)
        if together is not None:
            return together
        parts = [self._of_sparsity(pruned.sparsity) if option.sparsity else 0.0, self._of_bits(rounded)]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    def scaled(self, tried: Mapping[LayerOption, float]) -> "LayerDamage":
        """Damages scaled to what options of the same kind were found to cost.

        The factor is straight in the logarithm between tried options, by their damage, and the same beyond them.
        Zeroing and rounding have factors of their own. Where both are done each has its share of the damage, and the
        whole a factor of its own, where it was tried.
        """
        known = {option: error for option, error in tried.items() if self.scored.get(option, 0.0) > 0 and error > 0}
        if not known:
            return self
        zeroing = _factors({self.scored[own]: error for own, error in known.items() if own.bits is None})
        alone = {own: error for own, error in known.items() if own.bits is not None and not own.sparsity}
        rounding = _factors({self.scored[own]: error for own, error in alone.items()})

        def by_shares(option: LayerOption) -> float:
            damage = self.scored[option]
            of_zeros = min(damage, self.of(LayerOption(sparsity=option.sparsity)) or 0.0)
            of_zeros = damage if option.bits is None else of_zeros
            return of_zeros * zeroing(of_zeros) + (damage - of_zeros) * rounding(damage - of_zeros)

        together = _factors({by_shares(own): error for own, error in known.items() if own.bits and own.sparsity})
        scaled = []
        for option in self.scored:
            found = by_shares(option)
            scaled.append(found * together(found) if option.bits and option.sparsity else found)
        options = list(self.scored)
        return LayerDamage(dict(zip(options, map(float, monotone(options, scaled)), strict=True)))

    @cached_property
    def options(self) -> tuple[LayerOption, ...]:
        """What can be planned with: scored options, and what was scored of pruning with what was scored of rounding."""
        scored = [option for option in self.scored if not option.pruning_ratio]
        pruned = [option for option in scored if option.bits is None]
        rounded = [option for option in scored if option.bits is not None and not option.sparsity]
        both = [own.model_copy(update={"sparsity": other.sparsity}) for own in rounded for other in pruned]
        return tuple(dict.fromkeys([*scored, *both]))

    def _of_sparsity(self, sparsity: float) -> float | None:
        points = {own.sparsity: d for own, d in self.scored.items() if own.bits is None and not own.pruning_ratio}
        return _between_sparsities(points, sparsity)

    def _of_bits(self, option: LayerOption) -> float | None:
        """By widths at the group size, or at the scored one that is nearest to it."""
        alike = [own for own in self.scored if _rounded_alike(own, option) and not own.sparsity]
        if not alike:
            return None
        nearest = min({_group(own) for own in alike}, key=lambda size: abs(np.log(size / _group(option))))
        return _between_widths({own.bits or 0: self.scored[own] for own in alike if _group(own) == nearest}, option)

    def _of_both(self, option: LayerOption) -> float | None:
        """By sparsities that were scored together with this rounding, where there are such on both sides."""
        alike = {
            own.sparsity: damage
            for own, damage in self.scored.items()
            if own.model_copy(update={"sparsity": option.sparsity}) == option
        }
        if not any(known and known <= option.sparsity for known in alike) or max(alike) < option.sparsity:
            return None
        return _between_sparsities(alike, option.sparsity)


@dataclass(frozen=True, eq=False)
class Damages:
    """Damage of all layers that were scanned.

    Attributes:
        layers: by layer name.
        method: how the scan asked.
        inputs: what rounding the input of a layer does, by layer; others can't be rounded.
    """

    layers: Mapping[str, LayerDamage]
    method: ScanMethod
    inputs: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, scores: Iterable[LayerScore], anchors: Iterable[Anchor] = (), *, method: ScanMethod = "fisher"
    ) -> "Damages":
        """From the scores of one method for each layer alone, over the whole generation; others are left out.

        Options whose damage is not finite are unsafe, and are left out too.

        Args:
            anchors: what some options were found to cost at the end of the generation; the scores of their layers
                are scaled to that.
        """
        found: dict[str, dict[LayerOption, float]] = {}
        for score in scores:
            whole = score.direction == "only-this" and score.position is None and score.method == method
            if whole and np.isfinite(score.damage.value):
                found.setdefault(score.layer, {})[score.option] = score.damage.value
        layers = {
            name: LayerDamage(dict(zip(own, map(float, monotone(list(own), list(own.values()))), strict=True)))
            for name, own in found.items()
        }
        tried: dict[str, dict[LayerOption, float]] = {}
        for anchor in anchors:
            tried.setdefault(anchor.layer, {})[anchor.option] = anchor.error
        return cls({name: own.scaled(tried.get(name, {})) for name, own in layers.items()}, method)

    def of_layer(self, layer: str, option: LayerOption) -> float | None:
        """Damage of an option of a layer; None where that is not known."""
        if option.activation_bits is not None:
            of_weights = self.of_layer(layer, option.model_copy(update={"activation_bits": None}))
            of_inputs = self.inputs.get(layer)
            return None if of_weights is None or of_inputs is None else of_weights + of_inputs
        if option.is_nothing:
            return 0.0
        known = self.layers.get(layer)
        return None if known is None else known.of(option)

    def total(self, choice: Mapping[str, LayerOption]) -> float | str:
        """Sum over the layers of a choice, or which layer's damage is not known."""
        total = 0.0
        for layer, option in choice.items():
            damage = self.of_layer(layer, option)
            if damage is None:
                return f"The scan holds nothing like what is done to {layer}."
            total += damage
        return total


def _factors(errors: Mapping[float, float]) -> Callable[[float], float]:
    """Factor from damage to error, by damage."""
    if not errors:
        return lambda damage: 1.0
    damages = sorted(errors)
    logs = [np.log(np.clip(errors[damage] / damage, 1 / _MOST_FACTOR, _MOST_FACTOR)) for damage in damages]
    return lambda damage: float(np.exp(np.interp(np.log(max(damage, _TINY)), np.log(damages), logs)))


def _between_sparsities(points: Mapping[float, float], sparsity: float) -> float | None:
    """Straight in the logarithm between known sparsities, below the smallest by the power law of small weights."""
    known = sorted((s, max(d, _TINY)) for s, d in points.items() if s > 0)
    if not known:
        return None
    (first, least), (last, most) = known[0], known[-1]
    if sparsity <= first:
        floor = points.get(0.0, 0.0)
        return float(floor + (least - floor) * (sparsity / first) ** _SMALL_SPARSITY_POWER)
    if sparsity > last:
        before, lower = known[-2] if len(known) > 1 else (0.0, most / np.e)
        slope = np.log(most / lower) / (last - before)
        return float(most * np.exp(slope * (sparsity - last)))
    levels, damages = zip(*known, strict=True)
    return float(np.exp(np.interp(sparsity, levels, np.log(damages))))


def _between_widths(points: Mapping[int, float], option: LayerOption) -> float:
    """Straight in the logarithm between known widths, beyond them by the law of the step."""
    widths = sorted(points)
    bits = option.bits or widths[0]
    logs = [np.log(max(points[width], _TINY)) for width in widths]
    inside = float(np.interp(bits, widths, logs))
    outside = max(widths[0] - bits, 0) - max(bits - widths[-1], 0)
    return float(np.exp(inside + _ERROR_PER_BIT * outside))


def _rounded_alike(first: LayerOption, second: LayerOption) -> bool:
    same = (first.symmetric, first.clipping) == (second.symmetric, second.clipping)
    return first.bits is not None and not first.pruning_ratio and same


def _group(option: LayerOption) -> float:
    """Weights that share a scale; a whole channel counts as very many."""
    return option.group_size or 1e6
