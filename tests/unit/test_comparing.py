"""Two measurements beside each other say what differs, and nothing else."""

import shlex

import pytest

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import TensorCost
from gencomp_core.services import comparing
from tests.made import measurement
from tests.tiny import pruning, quantization


def tensor(name: str, n_bytes: int, *, zeros: int = 0, bits: int = 8) -> TensorCost:
    return TensorCost(
        name=name, coding="dense", bits=bits, n_values=100, n_zeros=zeros, n_bytes=n_bytes, overhead_bytes=0,
        dense_bytes=400,
    )  # fmt: skip


def recipe(*stages: dict[str, object]) -> Recipe:
    return Recipe.from_dict({"stages": list(stages)})


PRUNE = {"kind": "magnitude-pruning", "sparsity": 0.5}
ROUND = {"kind": "weight-quantization", "bits": 4}


def test_equal_recipes_differ_in_nothing() -> None:
    found = comparing.stage_differences(recipe(PRUNE, ROUND), recipe(PRUNE, ROUND))
    assert list(found["what"]) == [comparing.SAME] * 2


def test_a_changed_field_and_an_override_are_named_with_both_values() -> None:
    found = comparing.stage_differences(
        recipe(PRUNE, ROUND), recipe(PRUNE, ROUND | {"bits": 3, "layers": {"out": {"bits": 8}}})
    )
    changed = found[found["what"] == comparing.CHANGED].set_index("field")
    assert (changed.loc["bits", "a"], changed.loc["bits", "b"]) == ("4", "3")
    assert changed.loc["layers.out", "a"] == "not set"
    assert "8" in changed.loc["layers.out", "b"]


def test_an_added_stage_stands_on_its_side() -> None:
    found = comparing.stage_differences(recipe(ROUND), recipe(PRUNE, ROUND))
    assert list(found["what"]) == [comparing.ONLY_B, comparing.SAME]
    assert found["b"].iloc[0] == "sparsity 0.5"


def test_layers_are_summed_over_their_tensors_and_the_largest_difference_is_first() -> None:
    a = measurement().model_copy(
        update={"tensors": (tensor("up.weight", 100), tensor("up.bias", 4), tensor("down.weight", 50, bits=4))}
    )
    b = measurement(quantization(4)).model_copy(
        update={"tensors": (tensor("up.weight", 90, zeros=50), tensor("up.bias", 4), tensor("new.weight", 30))}
    )
    table = comparing.layer_differences(a, b).set_index("layer")
    assert list(table.index) == ["down", "new", "up"]
    assert list(table["difference"]) == [-50, 30, -10]
    assert table.loc["up", "zeros_b"] == 0.25
    assert table.loc["down", "bits_a"] == 4
    assert table["bytes_b"].isna().tolist() == [True, False, False]


def test_differences_add_up_to_the_difference_of_all_tensors() -> None:
    a = measurement().model_copy(update={"tensors": tuple(tensor(f"l{i}.w", 10 * i) for i in range(5))})
    b = measurement(pruning(0.5)).model_copy(update={"tensors": tuple(tensor(f"l{i}.w", 7) for i in range(5))})
    assert comparing.layer_differences(a, b)["difference"].sum() == 35 - 100


def test_figures_are_b_minus_a_with_their_direction() -> None:
    table = comparing.figure_rows(measurement(), measurement(quantization(4), size_bytes=200_000, fid=12.0))
    rows = table.set_index("figure")
    size = rows.loc["weights file, bytes"]
    assert size["change"] == size["b"] - size["a"] < 0
    assert size["better"] == "lower"
    assert any(name.startswith("FID") for name in rows.index)


def test_other_samples_or_seeds_forbid_a_comparison() -> None:
    a = measurement()
    assert comparing.comparable(a, measurement(quantization(4))) == []
    other = a.model_copy(update={"request": a.request.model_copy(update={"seed": 7})})
    (reason,) = comparing.comparable(a, other)
    assert "seeds differ" in reason
    assert "7" in reason


def test_provenance_tells_what_agrees() -> None:
    table = comparing.provenance_rows(measurement(), measurement(quantization(4))).set_index("fact")
    assert table.loc["seed", "equal"]
    assert not table.loc["recipe signature", "equal"]


@pytest.mark.parametrize("found", [measurement(), measurement(quantization(4))])
def test_the_replay_line_asks_for_the_same_request(found: object) -> None:
    words = shlex.split(comparing.replay_command(found))  # type: ignore[arg-type]
    request = found.request  # type: ignore[attr-defined]
    assert words[words.index("--samples") + 1] == str(request.n_samples)
    assert words[words.index("--seed") + 1] == str(request.seed)
    assert ("--recipe" in words) == bool(request.recipe["stages"])
