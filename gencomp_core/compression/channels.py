"""Channels and heads removed with their weights: which go, and what becomes of the layers that read them."""

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from gencomp_core.compression import refit
from gencomp_core.compression.calibration import loss_gradients
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import layers_for, weight_of
from gencomp_core.compression.slicing import ChannelChange, change_of, sliced_integers
from gencomp_core.compression.structure import (
    Family,
    Side,
    Width,
    WidthKind,
    families,
    obstacle,
    tensor_dims,
)
from gencomp_core.compression.traced import structure_of
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.structure import ChannelPruning, HeadPruning, WidthPruning
from gencomp_core.registry import suggestion
from gencomp_core.workloads.calibration import forward_batches, loss_batches


def prune_channels_(draft: Draft, stage: ChannelPruning) -> None:
    """Remove the least important channels and heads of each width, or of all widths together."""
    _prune_(draft, stage, ("channels", "heads"))


def prune_heads_(draft: Draft, stage: HeadPruning) -> None:
    """Remove the least important heads of each attention, or of all attentions together."""
    _prune_(draft, stage, ("heads",))


def _prune_(draft: Draft, stage: WidthPruning, kinds: tuple[WidthKind, ...]) -> None:
    chosen = cast(dict[str, WidthPruning], layers_for(stage, draft.layers, owner=draft.owner))
    if not chosen:
        return
    structure = structure_of(draft.workload, draft.model, seed=draft.seed)
    found, refused = families(draft.model, [width for width in structure.widths if width.kind in kinds])
    if not found:
        reason = next(iter([*refused.values(), *structure.reasons.values()]), "it has none")
        what = " or ".join(kinds)
        raise RecipeError(f"{stage.kind}: {draft.owner} has no {what} to remove ({reason}). Leave the stage out.")
    _check_ratios(draft, stage, found)
    ratios = [_ratio(family, chosen, draft.layers) for family in found]
    if not any(ratios):
        return
    scores = _importance(draft, stage, [width for family in found for width in family.widths])
    steps = _steps(found, ratios, scores, stage)
    if not any(steps):
        least = min(0.5 / family.n_steps for family, ratio in zip(found, ratios, strict=True) if ratio)
        raise RecipeError(
            f"{stage.kind}: pruning_ratio must be large enough to remove something of {draft.owner}, got "
            f"{stage.pruning_ratio}. Write at least {math.ceil(1000 * least) / 1000:g}."
        )
    removed = {
        width: _least(scores[width.name], cells, n, family.n_steps)
        for family, n in zip(found, steps, strict=True)
        for width, cells in zip(family.widths, family.cells, strict=True)
        if n
    }
    _change_(draft, stage, change_of(draft.model, removed))


def _change_(draft: Draft, stage: WidthPruning, change: ChannelChange) -> None:
    """Slice the draft: its floats, its integers, and solve the next layers anew."""
    for name in change.kept:
        if reason := obstacle(draft.model, name):
            raise RecipeError(f"{stage.kind}: {name} {reason}. Move this stage before, or skip the layer.")
    integers = {
        name: sliced_integers(own, draft.layers[name], change.kept[name], f"{stage.kind}: {name}")
        for name, own in draft.quantized.items()
        if name in change.kept
    }
    solved: dict[str, refit.Solution] = {}
    if stage.refit:
        readers = {
            name: draft.layers[name]
            for name, sides in change.kept.items()
            if "in" in sides and name in draft.layers and name not in draft.quantized
        }
        batches = list(forward_batches(draft.workload, stage.calibration_samples, seed=draft.seed))
        draft.calibrated_with_(batches)
        solved = refit.solve(draft.model, readers, change.kept, batches, seed=draft.seed)
    draft.change_(change)
    for name, solution in solved.items():
        refit.write_(draft.layers[name], solution)
    for name, own in integers.items():
        draft.quantize_(name, own)


# Which units go


def _check_ratios(draft: Draft, stage: WidthPruning, found: list[Family]) -> None:
    """Refuse a ratio for a layer that nothing can be removed from."""
    inside = {layer for family in found for width in family.widths for layer in width.layers if layer in draft.layers}
    for name in stage.layers:
        if name in draft.layers and name not in inside and "pruning_ratio" in stage.layers[name]:
            raise RecipeError(
                f"{stage.kind}: layers.{name} must have channels or heads that can be removed to be given a ratio, got "
                f"{name!r}.{suggestion(name, sorted(inside))} 'gencomp inspect {draft.owner}' says why it has none."
            )


def _makers(family: Family) -> list[str]:
    return [slot.layer for width in family.widths for slot in width.slots if slot.side == "out"]


def _ratio(family: Family, chosen: dict[str, WidthPruning], layers: Mapping[str, nn.Module]) -> float:
    """Smallest ratio of the layers that make the channels; 0 where a layer that takes part is skipped."""
    if any(layer in layers and layer not in chosen for width in family.widths for layer in width.layers):
        return 0.0
    return min(chosen[layer].pruning_ratio for layer in _makers(family) if layer in chosen)


def _steps(found: list[Family], ratios: list[float], scores: dict[str, Tensor], stage: WidthPruning) -> list[int]:
    """How many shares of its cells each family loses; at least one stays."""
    if stage.scope == "layer":
        wanted = [math.floor(ratio * family.n_steps + 0.5) for family, ratio in zip(found, ratios, strict=True)]
        return [min(n, family.n_steps - 1) for n, family in zip(wanted, found, strict=True)]
    offered = [number for number, ratio in enumerate(ratios) if ratio]
    sizes = {number: sum(_channels(width) for width in found[number].widths) for number in offered}
    budget = stage.pruning_ratio * sum(sizes.values())
    ranked = sorted(
        (score, number)
        for number in offered
        for score in _step_scores(found[number], scores)[: found[number].n_steps - 1]
    )
    steps, spent = [0] * len(found), 0.0
    for _, number in ranked:
        cost = sizes[number] / found[number].n_steps
        if spent + cost / 2 > budget:
            break
        steps[number] += 1
        spent += cost
    return steps


def _channels(width: Width) -> int:
    """Channels of a width, those of a head one by one."""
    return width.slots[0].index.numel() if width.kind == "heads" else width.n_units


def _step_scores(family: Family, scores: dict[str, Tensor]) -> list[float]:
    """Mean importance of what each further step would remove, ascending."""
    total, n = torch.zeros(family.n_steps), 0
    for width, cells in zip(family.widths, family.cells, strict=True):
        for cell in range(int(cells.max()) + 1):
            own = scores[width.name][cells == cell].sort().values
            total += own.view(family.n_steps, -1).mean(1)
            n += 1
    return cast(list[float], (total / n).tolist())


def _least(scores: Tensor, cells: Tensor, n: int, n_steps: int) -> Tensor:
    """Mask of the least important units: n of n_steps equal shares of each cell."""
    gone = torch.zeros(len(scores), dtype=torch.bool)
    for cell in range(int(cells.max()) + 1):
        members = (cells == cell).nonzero()[:, 0]
        order = members[scores[members].argsort(stable=True)]
        gone[order[: n * len(members) // n_steps]] = True
    return gone


# How much each unit matters


def _importance(draft: Draft, stage: WidthPruning, widths: list[Width]) -> dict[str, Tensor]:
    """Score of each unit, by width: (n_units,) float32; higher = keep."""
    if stage.importance == "random":
        generator = torch.Generator().manual_seed(draft.seed)
        return {width.name: torch.rand(width.n_units, generator=generator) for width in widths}
    if stage.importance == "magnitude":
        return {width.name: _magnitude(width, draft.layers) for width in widths}
    total = {width.name: torch.zeros(width.n_units) for width in widths}
    batches = list(loss_batches(draft.workload, stage.calibration_samples, seed=draft.seed))
    draft.calibrated_with_(batches)
    for found in loss_gradients(draft.model, draft.layers, batches):
        for width in widths:
            total[width.name] += _taylor(width, draft.layers, found.by_layer)
    return total


def _magnitude(width: Width, layers: dict[str, nn.Module]) -> Tensor:
    """L2 norm of all weights of each unit, over the mean of the width: comparable between widths.

    Source: Fang 2023 (arXiv:2301.12900), section 3.3: one score for all that shrinks together.
    """
    squares = torch.zeros(width.n_units)
    for slot in width.slots:
        if slot.layer in layers:
            squares += _by_unit(weight_of(layers[slot.layer]).square(), layers[slot.layer], slot.side, slot.index)
    norms = squares.sqrt()
    return norms / norms.mean().clamp_min(torch.finfo(norms.dtype).tiny)


def _taylor(width: Width, layers: dict[str, nn.Module], gradients: dict[str, Tensor]) -> Tensor:
    """(Σ gradient · weight)² of each unit, the mean over its layers (Molchanov 2019, equation 8)."""
    terms = [
        _by_unit(gradients[slot.layer] * weight_of(layers[slot.layer]), layers[slot.layer], slot.side, slot.index)
        for slot in width.slots
        if slot.layer in layers
    ]
    return torch.stack(terms).square().mean(0)


def _by_unit(values: Tensor, layer: nn.Module, side: Side, index: Tensor) -> Tensor:
    """Sum of a weight's values over all that belongs to each unit: (n_units,) float32 on the CPU."""
    by_channel = values.movedim(tensor_dims(layer, side)["weight"], 0).flatten(1).sum(1).float().cpu()
    return by_channel[index].sum(1)
