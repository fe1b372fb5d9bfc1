"""Grids of configurations: what they stand for, and one line for every mistake."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.analysis.grid import MOST_CONFIGURATIONS, Grid
from gencomp_core.errors import GridError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services.sweeps import PRESETS, preset_grid
from gencomp_core.workloads import CATALOG
from tests.tiny import pruning, quantization, recipe

ROOT = Path(__file__).parents[2]


def grid(**plain: Any) -> Grid:
    return Grid.from_dict(plain)


def recipes(made: Grid) -> list[Recipe]:
    return [one.recipe for one in made.configurations("fashion-vae")]


def test_every_combination_is_a_configuration_the_last_axis_fastest() -> None:
    made = grid(stages=[pruning(0.5) | {"sparsity": [0.3, 0.5]}, quantization(8) | {"bits": [8, 4]}])
    assert made.axes == {"stages[0].sparsity": (0.3, 0.5), "stages[1].bits": (8, 4)}
    assert recipes(made) == [recipe(pruning(s), quantization(b)) for s in (0.3, 0.5) for b in (8, 4)]


def test_a_recipe_is_a_grid_of_one() -> None:
    plain = recipe(pruning(0.5), quantization(4, layers={"out": {"bits": 8}})).to_dict()
    assert recipes(Grid.from_dict(plain)) == [Recipe.from_dict(plain)]


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=4), st.lists(st.integers(1, 8), min_size=1))
def test_the_number_of_configurations_is_the_product_of_the_different_values(
    sparsities: list[float], bits: list[int]
) -> None:
    made = grid(stages=[pruning(0) | {"sparsity": sparsities}, quantization(8) | {"bits": bits}])
    found = made.configurations("fashion-vae")
    assert len(found) == len(set(sparsities)) * len(set(bits))
    assert len({one.identity for one in found}) == len(found)


def test_skip_leaves_a_stage_out_and_null_a_field() -> None:
    made = grid(stages=[pruning(0) | {"sparsity": ["skip", 0.5]}, quantization(4) | {"group_size": [None, 16]}])
    assert recipes(made) == [
        recipe(quantization(4)), recipe(quantization(4, group_size=16)),
        recipe(pruning(0.5), quantization(4)), recipe(pruning(0.5), quantization(4, group_size=16)),
    ]  # fmt: skip


def test_what_comes_out_equal_is_one() -> None:
    made = grid(stages=[{"kind": ["magnitude-pruning", "wanda-pruning"], "sparsity": ["skip", 0.5]}])
    assert [one.title() for one in recipes(made)] == ["dense", "50% magnitude (layer)", "50% Wanda"]


def test_kinds_overrides_and_lists_can_be_varied() -> None:
    made = grid(
        stages=[
            {"kind": "block-removal", "blocks": [["a"], ["a", "b"]]},
            quantization(4) | {"layers": {"out": {"bits": [8, "skip"]}}},
        ]
    )
    assert [one.to_dict()["stages"] for one in recipes(made)] == [
        [{"kind": "block-removal", "blocks": blocks}, quantization(4) | {"layers": {"out": out}}]
        for blocks in (["a"], ["a", "b"])
        for out in ({"bits": 8}, {"skip": True})
    ]


def test_places_can_share_an_axis() -> None:
    made = grid(
        axes={"width": [8, 4]},
        stages=[quantization(8) | {"bits": "$width"}, {"kind": "activation-quantization", "bits": "$width"}],
        settings={"steps": [8, 16]},
    )
    found = made.configurations("fashion-diffusion")
    assert len(found) == 4
    assert [{getattr(stage, "bits", None) for stage in one.recipe.stages} for one in found] == [{8}, {8}, {4}, {4}]
    assert [one.settings["steps"] for one in found] == [8, 16, 8, 16]


def test_siblings_runtimes_batches_and_counts_reach_every_configuration() -> None:
    made = grid(workloads=["b", "a"], runtimes=["eager"], batches=[1, 16], samples=60, seed=3, extractor="fashion")
    first, second = made.configurations("a")
    assert (first.workload, second.workload) == ("a", "b")
    assert first.recipe.is_dense
    assert (first.runtimes, first.batches, first.n_samples, first.seed) == (("eager",), (1, 16), 60, 3)
    (other, _) = made.configurations("a", samples=70, seed=4)
    assert (other.n_samples, other.seed) == (70, 4)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("workload", CATALOG)
def test_presets_fit_every_workload_and_begin_with_dense(name: str, workload: str) -> None:
    found = preset_grid(name, workload).configurations(workload)
    assert found[0].recipe.is_dense
    assert 6 <= len(found) <= 250
    assert found[0].n_samples is not None
    assert found[0].n_samples >= 50


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "grids").glob("*.yaml")), ids=lambda path: path.name)
def test_the_grids_of_the_documentation_can_be_read(path: Path) -> None:
    assert len(Grid.from_file(path).configurations("fashion-vae")) > 2


def test_there_are_grids_in_the_documentation() -> None:
    assert len(list((ROOT / "docs" / "grids").glob("*.yaml"))) >= 3


MISTAKES = [
    (None, "grid: a grid must be a mapping with 'stages:', got an empty file. Start with 'stages:'."),
    ([1], "grid: a grid must be a mapping with 'stages:', got a list. Start with 'stages:'."),
    ({"stage": []}, "grid: stage is no part of a grid. Did you mean 'stages'? Known parts: stages, settings, "
     "workloads, runtimes, batches, samples, seed, extractor, axes."),
    ({"stages": {}}, "grid: stages must be a list of stages, as in a recipe, got {}. Correct it."),
    ({"stages": [pruning(0) | {"sparsity": []}]}, "grid: stages[0].sparsity is an empty list. Write at least one "
     "value."),
    ({"stages": [pruning(0) | {"sparsity": [0.5, 50]}]}, "grid: stages[0].sparsity must be in [0, 1), got 50. It is a "
     "fraction: write 0.5 for 50 %."),
    ({"stages": [{"kind": ["magnitude-prunning"], "sparsity": 0.5}]}, "grid: stages[0].kind must be one of *Did you "
     "mean 'magnitude-pruning'?"),
    ({"stages": [{"sparsity": 0.5}]}, "grid: stages[0] must say its 'kind'*"),
    ({"stages": [quantization(8) | {"bits": "$width"}]}, "grid: $width is no axis. Add it below 'axes:'."),
    ({"stages": [quantization(8) | {"bits": "$widht"}], "axes": {"width": [4]}}, "grid: $widht is no axis. Did you "
     "mean 'width'? Add it below 'axes:'."),
    ({"axes": {"width": [4]}}, "grid: axes.width is used nowhere. Write $width where its values belong."),
    ({"axes": {"width": 4}}, "grid: axes.width must be a list, got 4. Put the value in brackets."),
    ({"settings": [8]}, "grid: settings must be a mapping, got [8]. Write 'name: values'."),
    ({"batches": [0]}, "grid: batches must be a list of whole numbers, got [0]. Correct it."),
    ({"runtimes": "eager"}, "grid: runtimes must be a list of runtime names, got eager. Correct it."),
    ({"samples": "many"}, "grid: samples must be a whole number from 1, got 'many'. Correct it."),
    ({"seed": -1}, "grid: seed must be a whole number from 0, got -1. Correct it."),
    ({"samples": True}, "grid: samples must be a whole number from 1, got True. Correct it."),
    ({"extractor": 3}, "grid: extractor must be a name, got 3. Correct it."),
    ({"settings": {"a": list(range(200)), "b": list(range(200))}}, f"grid: 40,000 combinations are more than "
     f"{MOST_CONFIGURATIONS:,}. Shorten an axis."),
]  # fmt: skip


@pytest.mark.parametrize(("plain", "message"), MISTAKES)
def test_a_mistake_is_one_line_with_place_value_and_next_step(plain: Any, message: str) -> None:
    with pytest.raises(GridError) as raised:
        Grid.from_dict(plain).configurations("fashion-vae")
    told = str(raised.value)
    assert "\n" not in told
    begin, _, end = message.partition("*")
    assert told.startswith(begin), told
    assert told.endswith(end), told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [", "g.yaml: is not valid YAML in line 1"),
        ("stages: []\nstages: []\n", "g.yaml: is not valid YAML in line 2"),
        ("", "g.yaml: a grid must be a mapping"),
    ],
)
def test_a_file_that_is_no_grid_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(text)
    with pytest.raises(GridError) as raised:
        Grid.from_file(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(GridError, match="can't be read"):
        Grid.from_file(tmp_path / "none.yaml")
