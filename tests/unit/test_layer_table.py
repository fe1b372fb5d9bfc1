"""The table by layer on Explore: a recipe goes in, an edited one comes out, also through the address."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.analysis.planning.options import recipe_of
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import LayerOption
from pages._layer_table import by_layer, choice_of, decoded, encoded, table_of
from tests.tiny import activations, pruning, quantization, recipe

LAYERS = ["a", "b", "c"]

options = st.builds(
    LayerOption,
    sparsity=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9]),
    bits=st.sampled_from([8, 4, 2]),
    group_size=st.sampled_from([None, 16, 64]),
    symmetric=st.booleans(),
    clipping=st.sampled_from(["none", "mse"]),
) | st.builds(LayerOption, sparsity=st.sampled_from([0.0, 0.5]))
choices = st.fixed_dictionaries(dict.fromkeys(LAYERS, options))


def edited(choice: dict[str, LayerOption], layer: str, **cells: object) -> dict[str, LayerOption]:
    table = table_of(choice)
    for name, value in cells.items():
        table.loc[table["layer"] == layer, name] = value
    return choice_of(table, choice)


@given(choices)
def test_settings_by_layer_survive_recipe_table_and_address(choice: dict[str, LayerOption]) -> None:
    made = recipe_of(choice)
    known = by_layer(made, LAYERS)
    assert not isinstance(known, str)
    assert known.choice == choice
    assert known.recipe == made
    assert choice_of(table_of(choice), choice) == choice
    assert decoded(encoded(made)) == made


@given(choices, st.sampled_from(LAYERS))
def test_a_changed_cell_changes_its_layer_alone(choice: dict[str, LayerOption], layer: str) -> None:
    found = edited(choice, layer, bits="3", scale="32", skip=False)
    assert (found[layer].bits, found[layer].group_size) == (3, 32)
    assert found[layer].sparsity == pytest.approx(choice[layer].sparsity)
    assert {name: own for name, own in found.items() if name != layer} == {
        name: own for name, own in choice.items() if name != layer
    }


def test_a_layer_can_be_left_as_it_is_and_taken_again() -> None:
    choice = dict.fromkeys(LAYERS, LayerOption(bits=4))
    left = edited(choice, "b", skip=True)
    assert left["b"].is_nothing
    assert by_layer(recipe_of(left), LAYERS).choice == left  # type: ignore[union-attr]
    assert edited(left, "b", bits="8")["b"] == LayerOption(bits=8)


def test_channels_and_inputs_stay_where_they_are() -> None:
    channels = {"kind": "channel-pruning", "pruning_ratio": 0.25}
    made = recipe(channels, pruning(0.5), quantization(8), activations())
    known = by_layer(made, LAYERS)
    assert not isinstance(known, str)
    assert known.recipe == made
    assert set(known.choice.values()) == {LayerOption(sparsity=0.5, bits=8)}


def test_what_layers_can_t_show_says_why() -> None:
    assert "scope 'global'" in str(by_layer(recipe(pruning(0.5, scope="global")), LAYERS))
    assert "after they were rounded" in str(by_layer(recipe(quantization(8), pruning(0.5)), LAYERS))


@pytest.mark.parametrize("code", ["", "!", "eJw=", encoded(Recipe())[:-3], "a" * 9000])
def test_a_damaged_address_is_no_recipe(code: str) -> None:
    assert decoded(code) is None


def test_the_table_has_a_row_for_each_layer() -> None:
    table = table_of({"a": LayerOption(), "b": LayerOption(sparsity=0.3, bits=4, group_size=16, symmetric=False)})
    assert isinstance(table, pd.DataFrame)
    assert table.to_dict("records")[1] == {
        "layer": "b", "zeros": 30, "bits": "4", "scale": "16", "zero_point": True, "clip": False, "skip": False,
    }  # fmt: skip
