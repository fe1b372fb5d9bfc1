"""What a recipe is expected to cost and to give, from prices and scores alone. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.analysis.planning.instance import NO_QUALITY, Instance
from gencomp_core.analysis.planning.options import options_of
from gencomp_core.analysis.planning.quality_map import Pair, QualityMap
from gencomp_core.artifact.footprint import file_bytes
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import LayerOption
from gencomp_core.records.footprints import LayerPrice, LayerPrices
from gencomp_core.records.metrics import Better
from gencomp_core.records.plans import Prediction


@dataclass(frozen=True, eq=False)
class Measured:
    """What the relation between damage and quality is fitted on.

    Attributes:
        recipe: that was measured.
        change, low, high: of the metric against dense, with its interval.
        dense: the metric of dense under the same conditions.
    """

    recipe: Recipe
    change: float
    low: float
    high: float
    dense: float


def predict(instance: Instance, recipe: Recipe) -> Prediction | str:
    """The prediction for a recipe of magnitude pruning within layers and rounding to nearest, or why there is none.

    Bytes are exact where every layer's option was priced. Otherwise they lie between the priced options next to it.
    """
    inputs = instance.damages.inputs if instance.latency is not None else {}
    choice = options_of(recipe, [layer.layer for layer in instance.prices.layers], inputs=inputs)
    if isinstance(choice, str):
        return choice
    damage = instance.damages.total(choice)
    if isinstance(damage, str):
        return damage
    size, is_exact = _size(instance, choice)
    latency = instance.latency
    ms = None
    if latency is not None:
        ms = latency.other_ms + sum(latency.ms_of(layer, own) for layer, own in choice.items())
    n_rounded = sum(own.activation_bits is not None for own in choice.values())
    return Prediction(
        size_bytes=round(size + n_rounded * instance.input_bytes),
        size_is_exact=is_exact and not n_rounded,
        macs=instance.prices.macs,
        **instance.latency_fields(ms),
        damage=damage,
        quality=instance.quality.quality(damage) if instance.quality else None,
        note="" if instance.quality else NO_QUALITY,
    )


def fit_quality(
    measured: Iterable[Measured], damages: Damages, layers: list[str], *, metric: str, better: Better
) -> QualityMap | None:
    """The relation between damage and loss over all measured recipes whose damage is known; None for too few."""
    pairs, dense = [], []
    worse = 1.0 if better == "lower" else -1.0
    for own in measured:
        choice = options_of(own.recipe, layers)
        damage = choice if isinstance(choice, str) else damages.total(choice)
        if isinstance(damage, str) or not np.isfinite([own.change, own.low, own.high]).all():
            continue
        pairs.append(Pair(damage, worse * own.change, abs(own.high - own.low) / 2))
        dense.append(own.dense)
    if not pairs:
        return None
    return QualityMap.fit(pairs, metric=metric, better=better, dense=float(np.median(dense)))


def _size(instance: Instance, choice: dict[str, LayerOption]) -> tuple[int, bool]:
    """Bytes of the file, and whether they are exact."""
    chosen, more, is_exact = [], 0.0, True
    for layer in instance.prices.layers:
        priced = {own.option: own.footprint for own in layer.options}
        option = choice[layer.layer].model_copy(update={"activation_bits": None})
        if option in priced:
            chosen.append(priced[option])
            continue
        is_exact, near = False, _nearest(layer, option)
        chosen.append(near.footprint)
        more += _between(layer, near.option, option) - near.footprint.n_bytes
    exact = file_bytes([*instance.prices.fixed, *chosen], instance.prices.metadata)
    return round(exact + more), is_exact


def _nearest(layer: LayerPrices, option: LayerOption) -> LayerPrice:
    """The priced option that is most like another one."""

    def distance(own: LayerOption) -> tuple[bool, bool, float, float, float]:
        return (
            (own.bits is None) != (option.bits is None),
            (own.symmetric, own.clipping) != (option.symmetric, option.clipping),
            abs((own.bits or 32) - (option.bits or 32)),
            abs(np.log(_group(own) / _group(option))),
            abs(own.sparsity - option.sparsity),
        )

    return min(layer.options, key=lambda own: distance(own.option))


def _between(layer: LayerPrices, near: LayerOption, option: LayerOption) -> float:
    """Bytes of a weight: straight between priced sparsities of the nearest format, in proportion to the width."""
    shape = near.model_copy(update={"sparsity": 0.0})
    same = {
        own.option.sparsity: own.footprint.n_bytes
        for own in layer.options
        if own.option.model_copy(update={"sparsity": 0.0}) == shape
    }
    levels = sorted(same)
    found = float(np.interp(option.sparsity, levels, [same[level] for level in levels]))
    return found * (option.bits or 32) / (near.bits or 32)


def _group(option: LayerOption) -> float:
    return option.group_size or 1e6
