"""Controls of Explore: every setting is a recipe, and a recipe comes back as the setting that it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.recipes.recipe import Recipe
from pages._recipe_controls import ACTIVATION_BITS, BITS, CRITERIA, ROUNDINGS, SHARING, controls_for, recipe_for
from tests.tiny import pruning, quantization, recipe

settings = st.fixed_dictionaries(
    {
        "explore.channels": st.sampled_from(range(0, 71, 10)),
        "explore.sparsity": st.sampled_from(range(0, 96, 5)),
        "explore.criterion": st.sampled_from(list(CRITERIA)),
        "explore.bits": st.sampled_from(BITS),
        "explore.sharing": st.sampled_from(SHARING),
        "explore.rounding": st.sampled_from(ROUNDINGS),
        "explore.affine": st.booleans(),
        "explore.clip": st.booleans(),
        "explore.order": st.sampled_from(["prune first", "quantize first"]),
        "explore.activations": st.sampled_from(ACTIVATION_BITS),
        "explore.dynamic": st.booleans(),
    }
)


@given(settings)
def test_a_setting_survives_the_way_through_its_recipe(values: dict[str, object]) -> None:
    made = recipe_for(values)
    found = controls_for(made)
    assert found is not None
    assert recipe_for(found) == made
    assert Recipe.from_dict(made.to_dict()) == made


def test_controls_left_alone_are_the_dense_model() -> None:
    assert recipe_for({}).is_dense
    assert controls_for(Recipe()) is not None


@pytest.mark.parametrize(
    "beyond",
    [
        recipe(pruning(0.33)),
        recipe(pruning(0.5), pruning(0.6)),
        recipe(quantization(4, layers={"out": {"bits": 8}})),
        recipe(quantization(4, group_size=48)),
        recipe({"kind": "block-removal", "n_blocks": 1}),
        recipe(quantization(4), {"kind": "channel-pruning", "pruning_ratio": 0.1}),
        recipe({"kind": "magnitude-pruning", "pattern": "2:4"}),
        recipe({"kind": "wanda-pruning", "sparsity": 0.5, "group": "layer"}),
    ],
)
def test_a_recipe_beyond_the_controls_is_not_shown_as_another_one(beyond: Recipe) -> None:
    assert controls_for(beyond) is None
