"""The table of Explore in which every layer has its own zeros, bits and scales."""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from gencomp_core.analysis.planning.options import options_of, recipe_of
from gencomp_core.errors import GenCompError
from gencomp_core.recipes.activations import ActivationQuantization
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.structure import ChannelPruning
from gencomp_core.records import LayerOption
from gencomp_core.services import predictions
from gencomp_core.store import Store

BASE = "explore.base"
PARAMETER = "layers"
"""What stands in the address for a recipe with settings by layer."""

FLOAT = "float32"
BITS = [FLOAT, "8", "7", "6", "5", "4", "3", "2"]
SCALES = ["channel", "16", "32", "64", "128"]
MOST_CODE = 8000
"""Characters of an address that browsers and proxies let pass."""


@dataclass(frozen=True)
class ByLayer:
    """A recipe as settings of layers.

    Attributes:
        before, after: stages of the whole network that come first and last, left as they are.
        choice: what is done to the weights of each layer.
    """

    before: tuple[Stage, ...]
    choice: Mapping[str, LayerOption]
    after: tuple[Stage, ...]

    @property
    def recipe(self) -> Recipe:
        """The recipe that the settings stand for."""
        return Recipe(stages=(*self.before, *recipe_of(self.choice).stages, *self.after))


def by_layer(recipe: Recipe, layers: list[str]) -> ByLayer | str:
    """Settings of layers that a recipe stands for, or why they don't suffice.

    Channels that are removed first, and inputs that are rounded last, stay as they are.
    """
    stages = list(recipe.stages)
    before = tuple(stages[:1]) if stages and isinstance(stages[0], ChannelPruning) else ()
    after = tuple(stages[-1:]) if stages and isinstance(stages[-1], ActivationQuantization) else ()
    middle = stages[len(before) : len(stages) - len(after)]
    choice = options_of(Recipe(stages=tuple(middle)), layers)
    return choice if isinstance(choice, str) else ByLayer(before, choice, after)


def table_of(choice: Mapping[str, LayerOption]) -> pd.DataFrame:
    """One row a layer, as people edit it."""
    return pd.DataFrame(
        {
            "layer": list(choice),
            "zeros": [round(100 * own.sparsity) for own in choice.values()],
            "bits": [FLOAT if own.bits is None else str(own.bits) for own in choice.values()],
            "scale": [str(own.group_size or "channel") for own in choice.values()],
            "zero_point": [not own.symmetric for own in choice.values()],
            "clip": [own.clipping == "mse" for own in choice.values()],
            "skip": [own.is_nothing for own in choice.values()],
        }
    )


def choice_of(table: pd.DataFrame, before: Mapping[str, LayerOption]) -> dict[str, LayerOption]:
    """Options of an edited table.

    A layer whose `skip` was ticked stays as it is; where it was unticked, or another cell changed, the cells hold.

    Args:
        before: what the table was made from.
    """
    shown = table_of(before)
    found = {}
    for row, old in zip(table.to_dict("records"), shown.to_dict("records"), strict=True):
        layer = str(row["layer"])
        same = all(row[name] == old[name] for name in old)
        skipped = bool(row["skip"]) and not old["skip"]
        found[layer] = before[layer] if same else LayerOption() if skipped else _option(row)
    return found


def _option(row: Mapping[Any, Any]) -> LayerOption:
    sparsity = float(row["zeros"] or 0) / 100
    if row["bits"] in (None, FLOAT):
        return LayerOption(sparsity=sparsity)
    scale = row["scale"] or "channel"
    return LayerOption(
        sparsity=sparsity,
        bits=int(row["bits"]),
        group_size=None if scale == "channel" else int(scale),
        symmetric=not row["zero_point"],
        clipping="mse" if row["clip"] else "none",
    )


def layer_table(store: Store, workload: str, recipe: Recipe) -> Recipe:
    """Draw the table, filled in with a recipe, and return the recipe that it stands for after edits."""
    base = _base_of(workload, recipe)
    panel = st.expander("By layer", icon=":material/table_rows:", key="explore.by_layer", on_change="rerun")
    edited = base
    with panel:
        if not predictions.can_predict(store, workload):
            st.caption("Settings by layer need the list of layers, which a scan makes: see *Fit a budget* below.")
            return base
        layers = [own.layer for own in predictions.basis_of(store, workload).prices.layers]
        known = by_layer(base, layers)
        if isinstance(known, str):
            st.caption(f"These settings can't be shown by layer: {known}")
        elif panel.open:
            st.caption("Change a cell, and only this layer gets it. A slider that moves fills the table anew.")
            changed = _edited(known, key=f"explore.table.{base.signature}")
            edited = changed.recipe if changed != known else base  # untouched, a recipe keeps its own words
    _tell_address(edited if edited != recipe else None)
    return edited


def _edited(known: ByLayer, *, key: str) -> ByLayer:
    columns: dict[str, Any] = {
        "layer": st.column_config.TextColumn("Layer", disabled=True, pinned=True),
        "zeros": st.column_config.NumberColumn("Zeros, %", min_value=0, max_value=95, step=1, required=True),
        "bits": st.column_config.SelectboxColumn("Bits", options=BITS, required=True),
        "scale": st.column_config.SelectboxColumn("One scale per", options=SCALES, required=True),
        "zero_point": st.column_config.CheckboxColumn("Zero point"),
        "clip": st.column_config.CheckboxColumn("MSE clipping"),
        "skip": st.column_config.CheckboxColumn("Leave as it is"),
    }
    table = st.data_editor(
        table_of(known.choice), key=key, hide_index=True, num_rows="fixed", column_config=columns, width="stretch"
    )
    return ByLayer(known.before, choice_of(table, known.choice), known.after)


def remember_base(workload: str, recipe: Recipe) -> None:
    """Fill the table with a picked recipe that sliders can't show, until a slider moves."""
    st.session_state[BASE] = {"workload": workload, "recipe": recipe.to_dict(), "sliders": None}


def _base_of(workload: str, sliders: Recipe) -> Recipe:
    """What the table starts from: a recipe from the address, a picked one, or the sliders."""
    code = st.query_params.get(PARAMETER)
    if code and BASE not in st.session_state and (found := decoded(code)) is not None:
        remember_base(workload, found)
    kept = st.session_state.get(BASE)
    if kept is None or kept["workload"] != workload:
        return sliders
    if kept["sliders"] is None:
        st.session_state[BASE] = kept = {**kept, "sliders": sliders.signature}
    if kept["sliders"] != sliders.signature:
        st.session_state[BASE] = None
        return sliders
    return Recipe.from_dict(kept["recipe"])


def _tell_address(recipe: Recipe | None) -> None:
    """Keep settings by layer in the address, so that a copied link opens the same."""
    code = "" if recipe is None else encoded(recipe)
    if code and len(code) <= MOST_CODE:
        if st.query_params.get(PARAMETER) != code:
            st.query_params[PARAMETER] = code
    elif PARAMETER in st.query_params:
        del st.query_params[PARAMETER]


def encoded(recipe: Recipe) -> str:
    """A recipe as it stands in an address."""
    text = json.dumps(recipe.to_dict(), separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode()


def decoded(code: str) -> Recipe | None:
    """Inverse of `encoded`; None for what was damaged on the way."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(base64.urlsafe_b64decode(code[:MOST_CODE].encode()), 200_000)
        return Recipe.from_dict(json.loads(text))
    except (ValueError, binascii.Error, zlib.error, GenCompError):
        return None
