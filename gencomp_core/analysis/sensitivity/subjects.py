"""What a scan can compress, one by one: weights of layers, and channels that layers share; and what it can't."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gencomp_core.analysis.sensitivity.options import recipe_of
from gencomp_core.artifact.packing import weight_bytes
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.compression.slicing import ChannelChange
from gencomp_core.compression.structure import families, tensor_dims, untouched_layers
from gencomp_core.compression.traced import structure_of
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.structure import ChannelPruning
from gencomp_core.records import Direction, LayerOption
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads.base import Workload


@dataclass(frozen=True)
class Channels:
    """Channels or heads that shrink together.

    Attributes:
        name: the first layer that makes them.
        makers: all weight layers that do.
        layers: all weight layers that have them.
    """

    name: str
    makers: tuple[str, ...]
    layers: tuple[str, ...]


def scannable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers whose own weight can be zeroed and rounded, by name; tied ones once."""
    return {name: layer for name, layer in weight_layers(model).items() if _refusal(layer) is None}


def untouchable_parts(workload: Workload) -> dict[str, str]:
    """Layers and parameters that no weight option can be applied to, each with the reason."""
    layers = weight_layers(workload.model)
    found = {name: reason for name, layer in layers.items() if (reason := _refusal(layer))}
    known = {id(parameter) for layer in layers.values() for parameter in layer.parameters(recurse=False)}
    for prefix, module in workload.model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.ndim > 1 and id(parameter) not in known and prefix not in layers:
                found[name] = f"belongs to a {type(module).__name__}, which no stage prunes or rounds"
    return found


def channel_families(workload: Workload, *, seed: int = 0) -> tuple[list[Channels], dict[str, str]]:
    """What channel pruning can shrink, and why other layers keep their channels."""
    model = workload.model
    structure = structure_of(workload, model, seed=seed)
    layers = weight_layers(model)
    found = []
    for family in families(model, structure.widths)[0]:
        slots = [slot for width in family.widths for slot in width.slots if slot.layer in layers]
        makers = tuple(dict.fromkeys(slot.layer for slot in slots if slot.side == "out"))
        if makers:
            found.append(Channels(makers[0], makers, tuple(dict.fromkeys(slot.layer for slot in slots))))
    return found, untouched_layers(model, structure, ("channels", "heads"))


@dataclass(frozen=True, eq=False)
class Removal:
    """Channels that an option removes.

    Attributes:
        effects: Δ of the weights that read them, by layer: minus the weight where a channel is gone, 0 elsewhere. Of
            channels that no weight reads, that of the weights that make them.
        n_bytes, dense_bytes: of the weights of all layers that have them, afterwards and before.
    """

    effects: dict[str, Tensor]
    n_bytes: int
    dense_bytes: int


def removal(workload: Workload, channels: Channels, option: LayerOption) -> Removal | None:
    """What an option removes, before anything is solved anew; None where that is nothing."""
    try:
        variant = compress(workload, without_refit(recipe_of(option, channels.makers)))
    except RecipeError:
        return None
    (change,) = variant.changes
    assert isinstance(change, ChannelChange)
    dense = weight_layers(workload.model)
    left = weight_layers(variant.model)
    effects = {}
    sides = ("in", "out") if any("in" in change.kept.get(name, {}) for name in channels.layers) else ("out",)
    side = sides[0]
    for name in channels.layers:
        kept = change.kept.get(name, {}).get(side)  # type: ignore[call-overload]
        if kept is not None:
            weight = weight_of(dense[name])
            delta = -weight.clone()
            dim = tensor_dims(dense[name], side)["weight"]  # type: ignore[arg-type]
            effects[name] = delta.index_fill_(dim, torch.tensor(kept, dtype=torch.int64), 0.0)
    return Removal(
        effects,
        n_bytes=sum(weight_bytes(weight_of(left[name])) for name in channels.layers),
        dense_bytes=sum(dense_bytes(dense[name]) for name in channels.layers),
    )


def without_refit(recipe: Recipe) -> Recipe:
    """The same recipe, with nothing solved anew after channels are gone."""
    stages = [s.model_copy(update={"refit": False}) if isinstance(s, ChannelPruning) else s for s in recipe.stages]
    return Recipe(stages=tuple(stages))


def variant_of(
    workload: Workload, layers: Collection[str], option: LayerOption, *, direction: Direction, seed: int
) -> Variant | None:
    """The workload with an option applied to layers, or to all others; None where that can't be done."""
    try:
        return compress(workload, recipe_of(option, layers, direction=direction), seed=seed)
    except RecipeError:
        return None


def dense_bytes(layer: nn.Module) -> int:
    """Bytes of a layer's weight as it is."""
    weight = weight_of(layer)
    return weight.numel() * weight.element_size()


def _refusal(layer: nn.Module) -> str | None:
    """Why a layer's weight can't be changed, or None."""
    if "weight" not in layer._parameters:
        return "has a weight that is computed from others (a parametrization)"
    if not weight_of(layer).is_floating_point():
        return f"has a weight of {weight_of(layer).dtype}, not of floats"
    return None if weight_of(layer).numel() else "has no weights"
