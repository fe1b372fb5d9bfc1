"""Pruning stages applied to a draft."""

from typing import cast

from gencomp_core.compression import importance, masks
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import layers_for, weight_of
from gencomp_core.recipes.pruning import MagnitudePruning


def prune_by_magnitude_(draft: Draft, stage: MagnitudePruning) -> None:
    """Zero the smallest weights of each layer, or of all layers together."""
    layers = draft.layers
    chosen = layers_for(stage, layers, owner=draft.owner)
    scores = {name: importance.magnitude(weight_of(layers[name])) for name in chosen}
    if not scores:
        return
    if stage.scope == "global":
        keep = masks.keep_largest_overall(scores, stage.sparsity)
    else:
        keep = {
            name: masks.keep_largest(scores[name], cast(MagnitudePruning, own).sparsity) for name, own in chosen.items()
        }
    for name, mask in keep.items():
        draft.mask_(name, mask)
