"""Between recipes and options of layers: a recipe for a choice, and the choice that a recipe stands for. No torch."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gencomp_core.recipes.activations import ActivationQuantization
from gencomp_core.recipes.pruning import MagnitudePruning
from gencomp_core.recipes.quantization import WeightQuantization
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.structure import ChannelPruning
from gencomp_core.records import LayerOption
from gencomp_core.records.speed import WidthGroup

T = TypeVar("T", bound=Hashable)
_QUANTIZATION = ("bits", "group_size", "symmetric", "clipping")

ROUNDED_INPUTS: dict[str, Any] = {"bits": 8, "observer": "mse"}
"""How inputs are rounded where a plan asks for it."""


def recipe_of(
    choice: Mapping[str, LayerOption],
    *,
    groups: Sequence[WidthGroup] = (),
    removed: Mapping[str, int] | None = None,
    inputs: Iterable[str] = (),
) -> Recipe:
    """The shortest recipe that does to each layer what was chosen: remove channels, zero, round to nearest.

    What most layers share stands in the stage, the rest in its overrides.

    Args:
        choice: option by layer name, for every compressible layer.
        groups: channels that can be removed.
        removed: shares that go, by group.
        inputs: layers whose inputs can be rounded.
    """
    sparsities = {name: option.sparsity or None for name, option in choice.items()}
    formats = {name: _format(option) for name, option in choice.items()}
    stages: list[Stage] = [removal_of(groups, removed)] if removed and any(removed.values()) else []
    if any(sparsities.values()):
        usual = _most_common(list(sparsities.values()))
        exceptions = {n: _skipped({"sparsity": own}, own) for n, own in sparsities.items() if own != usual}
        stages.append(MagnitudePruning(sparsity=usual, layers=exceptions))
    if any(formats.values()):
        base = _most_common(list(formats.values()))
        own_fields = {n: dict(own or ()) for n, own in formats.items() if own != base}
        overrides = {n: _skipped(_difference(dict(base), own), own) for n, own in own_fields.items()}
        stages.append(WeightQuantization(**_fields(dict(base)), layers=overrides))
    rounded = {name for name, option in choice.items() if option.activation_bits is not None}
    if rounded:
        skipped: dict[str, dict[str, Any]] = {name: {"skip": True} for name in inputs if name not in rounded}
        stages.append(ActivationQuantization(**ROUNDED_INPUTS, layers=skipped))
    return Recipe(stages=tuple(stages))


def removal_of(groups: Sequence[WidthGroup], removed: Mapping[str, int]) -> ChannelPruning:
    """The stage that removes shares of groups, by Taylor's criterion and with the refit.

    Args:
        groups: all that can shrink: those that stay whole are told so.
        removed: shares that go, by group; at least one of at least one.
    """
    ratios = [removed.get(group.name, 0) / group.n_steps for group in groups]
    usual = _most_common([ratio or None for ratio in ratios])
    own = {
        maker: {"pruning_ratio": ratio}
        for group, ratio in zip(groups, ratios, strict=True)
        if ratio != usual
        for maker in group.makers
    }
    return ChannelPruning(pruning_ratio=usual, importance="taylor", layers=own)


def options_of(recipe: Recipe, layers: Sequence[str], *, inputs: Iterable[str] = ()) -> dict[str, LayerOption] | str:
    """What a recipe does to each layer, or why that can't be told without its weights.

    Args:
        layers: names of all compressible layers.
        inputs: layers whose inputs were tried rounded; without any, rounded inputs can't be told.
    """
    found = dict.fromkeys(layers, LayerOption())
    known = set(inputs)
    for stage in recipe.stages:
        if known and _is_like_tried(stage):
            for name in known & found.keys():
                if (own := stage.for_layer(name)) is not None:
                    if not _is_like_tried(own):
                        return "Inputs of other widths than 8 bits are not predicted."
                    found[name] = found[name].model_copy(update={"activation_bits": 8})
            continue
        if reason := _untold(stage):
            return reason
        for name in layers:
            own = stage.for_layer(name)
            if own is None:
                continue
            if reason := _untold(own):
                return reason
            changed = _after(found[name], own)
            if isinstance(changed, str):
                return changed
            found[name] = changed
    return found


def _after(option: LayerOption, own: Stage) -> LayerOption | str:
    """The option of a layer after one more stage."""
    if isinstance(own, MagnitudePruning):
        if not own.sparsity:
            return option
        if option.bits is not None:
            return "Weights that are pruned after they were rounded are not predicted."
        return option.model_copy(update={"sparsity": max(option.sparsity, own.sparsity)})
    assert isinstance(own, WeightQuantization)
    if option.bits is not None:
        return "Weights that are rounded twice are not predicted."
    return option.model_copy(update={name: getattr(own, name) for name in _QUANTIZATION})


def _is_like_tried(stage: Stage) -> bool:
    """Whether inputs are rounded as they were tried; how a range is found makes little difference at 8 bits."""
    if not isinstance(stage, ActivationQuantization) or stage.mode != "static" or stage.bits != 8:
        return False
    return stage.keep_ends and stage.steps == "all" and stage.observer != "percentile"


def _untold(stage: Stage) -> str | None:
    """Why the effect of a stage on single layers is not known from a scan of them; None where it is."""
    if isinstance(stage, MagnitudePruning):
        if stage.pattern is not None:
            return "N:M patterns are not predicted."
        if stage.scope != "layer":
            return f"Pruning with scope {stage.scope!r} shares its sparsity by the weights, which is not predicted."
        return None
    if isinstance(stage, WeightQuantization):
        if stage.granularity == "tensor":
            return "One scale per tensor is not predicted."
        if stage.rounding != "nearest" or stage.awq:
            return "Only rounding to nearest is predicted."
        return None
    return f"The stage {stage.kind} is not predicted."


def _format(option: LayerOption) -> tuple[tuple[str, Any], ...] | None:
    """What says how a layer is rounded; None where it is not."""
    if option.bits is None:
        return None
    return tuple((name, getattr(option, name)) for name in _QUANTIZATION)


def _fields(own: dict[str, Any]) -> dict[str, Any]:
    """Fields of the stage; without a group size it has one scale a channel."""
    return {name: value for name, value in own.items() if value is not None}


def _difference(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What an override must say where the stage says `base`."""
    changed = {name: value for name, value in own.items() if value != base[name]}
    if "group_size" in changed and changed["group_size"] is None:
        changed = {**changed, "granularity": "channel"}
        del changed["group_size"]
    return changed


def _skipped(override: dict[str, Any], own: object) -> dict[str, Any]:
    return override if own else {"skip": True}


def _most_common(values: Sequence[T | None]) -> T:
    """The value with most layers among those that do something; of equals the first in order."""
    counts = Counter(value for value in values if value is not None)
    most = max(counts.values())
    return min((value for value, n in counts.items() if n == most), key=repr)
