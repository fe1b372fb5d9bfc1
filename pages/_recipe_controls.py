"""Sliders and selectors that make a recipe."""

import streamlit as st

from gencomp_core.recipes.pruning import MagnitudePruning
from gencomp_core.recipes.quantization import WeightQuantization
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stage import Stage

FLOAT = "float32"
BITS = [FLOAT, "8", "7", "6", "5", "4", "3", "2"]
SHARING = ["tensor", "channel", "group of 16", "group of 32", "group of 64", "group of 128"]


def recipe_controls() -> Recipe:
    """Draw the controls and return the recipe that they stand for."""
    kept = {"bind": "query-params", "persist_state": "session"}
    sparsity = st.slider(
        "Sparsity (weights set to zero)", 0, 95, 0, step=5, key="explore.sparsity", format="%d %%", **kept
    )
    scope = st.segmented_control(
        "Rank weights", ["layer", "global"], default="layer", required=True, key="explore.scope",
        help="Within each layer, or over the whole network.", disabled=sparsity == 0, **kept,
    )  # fmt: skip
    bits = st.select_slider("Bits per weight", BITS, FLOAT, key="explore.bits", **kept)
    quantized = bits != FLOAT
    sharing = st.selectbox("One scale per", SHARING, index=1, key="explore.sharing", disabled=not quantized, **kept)
    affine = st.toggle(
        "Zero point", key="explore.affine", disabled=not quantized, help="Affine instead of symmetric.", **kept
    )
    clip = st.toggle(
        "MSE clipping", key="explore.clip", disabled=not quantized,
        help="Search the range with the least squared error instead of mapping the largest weight.", **kept,
    )  # fmt: skip
    first = st.segmented_control(
        "Order", ["prune first", "quantize first"], default="prune first", required=True, key="explore.order",
        disabled=not (quantized and sparsity), **kept,
    )  # fmt: skip
    stages: list[Stage] = []
    if sparsity:
        stages.append(MagnitudePruning(sparsity=sparsity / 100, scope=scope))
    if quantized:
        fields = {"bits": int(bits), "symmetric": not affine, "clipping": "mse" if clip else "none"}
        if sharing.startswith("group"):
            fields["group_size"] = int(sharing.split()[-1])
        else:
            fields["granularity"] = sharing
        stages.append(WeightQuantization(**fields))
    if first == "quantize first":
        stages.reverse()
    return Recipe(stages=tuple(stages))


def controls_for(recipe: Recipe) -> dict[str, object] | None:
    """Values of the controls that stand for a recipe, or None where they can't express it."""
    values: dict[str, object] = {"explore.sparsity": 0, "explore.bits": FLOAT}
    for stage in recipe.stages:
        if stage.layers:
            return None
        if isinstance(stage, MagnitudePruning):
            values |= {"explore.sparsity": round(100 * stage.sparsity), "explore.scope": stage.scope}
        if isinstance(stage, WeightQuantization):
            grouped = stage.granularity == "group"
            values |= {
                "explore.bits": str(stage.bits),
                "explore.sharing": f"group of {stage.group_size}" if grouped else stage.granularity,
                "explore.affine": not stage.symmetric,
                "explore.clip": stage.clipping == "mse",
            }
    kinds = [stage.kind for stage in recipe.stages]
    if len(kinds) != len(set(kinds)):
        return None
    quantized_first = kinds[:1] == ["weight-quantization"] and len(kinds) == 2
    values["explore.order"] = "quantize first" if quantized_first else "prune first"
    if values.get("explore.sharing", "channel") not in SHARING or values["explore.sparsity"] not in range(0, 100, 5):
        return None
    return values
