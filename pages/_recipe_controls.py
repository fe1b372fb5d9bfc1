"""Sliders and selectors that make a recipe."""

from collections.abc import Container, Mapping
from typing import Any

import streamlit as st

from gencomp_core.recipes.activations import ActivationQuantization
from gencomp_core.recipes.pruning import GradientPruning, MagnitudePruning, SparseGPTPruning, SparseStage, WandaPruning
from gencomp_core.recipes.quantization import WeightQuantization
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.structure import ChannelPruning

FLOAT = "float32"
BITS = [FLOAT, "8", "7", "6", "5", "4", "3", "2", "1"]
ACTIVATION_BITS = [FLOAT, "8", "6", "4"]
SHARING = ["tensor", "channel", "group of 16", "group of 32", "group of 64", "group of 128"]
ROUNDINGS = ["nearest", "gptq", "adaround"]
CRITERIA: dict[str, tuple[type[SparseStage], dict[str, Any]]] = {
    "magnitude, per layer": (MagnitudePruning, {"scope": "layer"}),
    "magnitude, global": (MagnitudePruning, {"scope": "global"}),
    "magnitude, LAMP": (MagnitudePruning, {"scope": "lamp"}),
    "magnitude, ERK": (MagnitudePruning, {"scope": "erk"}),
    "Wanda": (WandaPruning, {}),
    "SparseGPT": (SparseGPTPruning, {}),
    "Taylor": (GradientPruning, {"criterion": "taylor"}),
    "Fisher": (GradientPruning, {"criterion": "fisher"}),
    "SNIP": (GradientPruning, {"criterion": "snip"}),
}
DEFAULTS: dict[str, Any] = {
    "explore.channels": 0, "explore.sparsity": 0, "explore.criterion": "magnitude, per layer", "explore.bits": FLOAT,
    "explore.sharing": "channel", "explore.rounding": "nearest", "explore.affine": False, "explore.clip": False,
    "explore.order": "prune first", "explore.activations": FLOAT, "explore.dynamic": False,
}  # fmt: skip
SWITCHED_OFF = ("explore.channels", "explore.sparsity", "explore.bits", "explore.order", "explore.activations")
"""Controls that a recipe without such a stage sets back; the others keep what was last chosen."""

OPTIONS: dict[str, Container[Any]] = {
    "explore.channels": range(0, 71, 10), "explore.sparsity": range(0, 96, 5), "explore.criterion": CRITERIA,
    "explore.bits": BITS, "explore.sharing": SHARING, "explore.rounding": ROUNDINGS,
    "explore.activations": ACTIVATION_BITS,
}  # fmt: skip
KEPT: dict[str, Any] = {"bind": "query-params", "persist_state": "session"}


def recipe_controls() -> Recipe:
    """Draw the controls and return the recipe that they stand for."""
    values: dict[str, Any] = {}
    values["explore.channels"] = st.slider(
        "Channels and heads removed", 0, 70, 0, step=10, key="explore.channels", format="%d%%",
        help="Weights really go: fewer bytes, fewer operations. What reads them is refitted by least squares.", **KEPT,
    )  # fmt: skip
    sparsity = values["explore.sparsity"] = st.slider(
        "Sparsity (weights set to zero)", 0, 95, 0, step=5, key="explore.sparsity", format="%d%%", **KEPT
    )
    values["explore.criterion"] = st.selectbox(
        "Zero by", list(CRITERIA), key="explore.criterion", disabled=sparsity == 0,
        help="By the weight alone, by the inputs that it meets, or by the loss. The latter take some seconds.", **KEPT,
    )  # fmt: skip
    bits = values["explore.bits"] = st.select_slider("Bits per weight", BITS, FLOAT, key="explore.bits", **KEPT)
    is_float = bits == FLOAT
    values["explore.sharing"] = st.selectbox(
        "One scale per", SHARING, index=1, key="explore.sharing", disabled=is_float, **KEPT
    )
    values["explore.rounding"] = st.segmented_control(
        "Round", ROUNDINGS, default="nearest", required=True, key="explore.rounding", disabled=is_float,
        help="To nearest, or by what each layer's output loses on calibration inputs (seconds to minutes).", **KEPT,
    )  # fmt: skip
    values["explore.affine"] = st.toggle(
        "Zero point", key="explore.affine", disabled=is_float, help="Affine instead of symmetric.", **KEPT
    )
    values["explore.clip"] = st.toggle(
        "MSE clipping", key="explore.clip", disabled=is_float,
        help="Search the range with the least squared error instead of mapping the largest weight.", **KEPT,
    )  # fmt: skip
    values["explore.order"] = st.segmented_control(
        "Order", ["prune first", "quantize first"], default="prune first", required=True, key="explore.order",
        disabled=is_float or not sparsity, **KEPT,
    )  # fmt: skip
    activations = values["explore.activations"] = st.select_slider(
        "Bits per activation", ACTIVATION_BITS, FLOAT, key="explore.activations",
        help="What goes into each layer, rounded to integers.", **KEPT,
    )  # fmt: skip
    values["explore.dynamic"] = st.toggle(
        "Dynamic ranges", key="explore.dynamic", disabled=activations == FLOAT,
        help="Of each token or sample at run time, instead of calibrated ones.", **KEPT,
    )  # fmt: skip
    return recipe_for(values)


def recipe_for(values: Mapping[str, Any]) -> Recipe:
    """The recipe that values of the controls stand for."""
    chosen = DEFAULTS | dict(values)
    stages: list[Stage] = []
    if chosen["explore.sparsity"]:
        stage, fields = CRITERIA[chosen["explore.criterion"]]
        stages.append(stage(sparsity=chosen["explore.sparsity"] / 100, **fields))
    if chosen["explore.bits"] != FLOAT:
        stages.append(_weights(chosen))
    if chosen["explore.order"] == "quantize first":
        stages.reverse()
    if chosen["explore.channels"]:
        stages.insert(0, ChannelPruning(pruning_ratio=chosen["explore.channels"] / 100))
    if chosen["explore.activations"] != FLOAT:
        mode = "dynamic" if chosen["explore.dynamic"] else "static"
        stages.append(ActivationQuantization(bits=int(chosen["explore.activations"]), mode=mode))
    return Recipe(stages=tuple(stages))


def _weights(chosen: Mapping[str, Any]) -> WeightQuantization:
    sharing, is_binary = chosen["explore.sharing"], chosen["explore.bits"] == "1" and not chosen["explore.affine"]
    fields: dict[str, Any] = {"rounding": chosen["explore.rounding"], "symmetric": not chosen["explore.affine"]}
    if chosen["explore.clip"] and not is_binary:  # one symmetric bit has one best range
        fields["clipping"] = "mse"
    if sharing.startswith("group"):
        fields["group_size"] = int(sharing.split()[-1])
    else:
        fields["granularity"] = sharing
    return WeightQuantization(bits=int(chosen["explore.bits"]), **fields)


def controls_for(recipe: Recipe) -> dict[str, object] | None:
    """Values of the controls that stand for a recipe, or None where they can't express it."""
    values = _values(recipe)
    possible = all(values[name] in options for name, options in OPTIONS.items() if name in values)
    return values if possible and recipe_for(values) == recipe else None


def _values(recipe: Recipe) -> dict[str, Any]:
    """Values that come closest; what they leave out makes another recipe of them."""
    values: dict[str, Any] = {name: DEFAULTS[name] for name in SWITCHED_OFF}
    for stage in recipe.stages:
        if isinstance(stage, ChannelPruning):
            values["explore.channels"] = round(100 * stage.pruning_ratio)
        elif isinstance(stage, SparseStage):
            named = [name for name, (kind, fields) in CRITERIA.items() if _is(stage, kind, fields)]
            values |= {"explore.sparsity": round(100 * stage.sparsity), "explore.criterion": (named or [""])[0]}
            if values["explore.bits"] != FLOAT:
                values["explore.order"] = "quantize first"
        elif isinstance(stage, WeightQuantization):
            grouped = stage.granularity == "group"
            values |= {
                "explore.bits": str(stage.bits),
                "explore.sharing": f"group of {stage.group_size}" if grouped else stage.granularity,
                "explore.rounding": stage.rounding,
                "explore.affine": not stage.symmetric,
                "explore.clip": stage.clipping == "mse",
            }
        elif isinstance(stage, ActivationQuantization):
            values |= {"explore.activations": str(stage.bits), "explore.dynamic": stage.mode == "dynamic"}
    return values


def _is(stage: SparseStage, kind: type[SparseStage], fields: Mapping[str, Any]) -> bool:
    return type(stage) is kind and all(getattr(stage, name) == value for name, value in fields.items())
