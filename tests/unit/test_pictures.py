"""The recorded pictures: there for every stage, of the weights that ship, and showing what the stage promises."""

import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from gencomp_core.charts.methods import VIEWS
from gencomp_core.errors import DataError
from gencomp_core.recipes.stages import STAGES
from gencomp_core.services import pictures as reading
from gencomp_core.services.pictures import Picture, Recording, path_of, recorded_pictures
from gencomp_core.workloads import load_workload

PICTURE = {
    "view": "lines",
    "title": "A line",
    "x_title": "x",
    "caption": "It rises.",
    "conditions": "fashion-vae, seed 0",
    "columns": {"series": ["a", "a"], "x": [0, 1], "value": [1.0, 2.0]},
}


@cache
def shipped_hash(name: str) -> str:
    return load_workload(name).weights_hash


def table_of(kind: str, view: str) -> pd.DataFrame:
    return next(picture for picture in recorded_pictures(kind) if picture.view == view).table


def panel(kind: str, name: str) -> pd.DataFrame:
    cells = table_of(kind, "map")
    return cells[cells["series"] == name].pivot(index="row", columns="column", values="value")


@pytest.mark.parametrize("kind", STAGES)
def test_every_stage_has_pictures_that_can_be_drawn(kind: str) -> None:
    found = recorded_pictures(kind)
    assert found, f"record them: {reading.COMMAND} {kind}"
    for picture in found:
        figure = VIEWS[picture.view](picture.table, x_title=picture.x_title, y_title=picture.y_title)
        assert figure.data
        assert re.search(r"\d", picture.caption + picture.title), "a caption tells a figure"


@pytest.mark.parametrize("path", sorted(reading.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_pictures_were_recorded_from_the_weights_that_ship(path: Path) -> None:
    recording = Recording.model_validate_json(path.read_bytes())
    assert path.stem in STAGES
    assert recording.weights
    for name, recorded in recording.weights.items():
        assert recorded == shipped_hash(name), f"record anew: {reading.COMMAND} {path.stem}"
    for picture in recording.pictures:
        assert any(picture.conditions.startswith(name) for name in recording.weights)


# What they show


def test_magnitude_keeps_what_is_large() -> None:
    dense, pruned = panel("magnitude-pruning", "dense").abs(), panel("magnitude-pruning", "50 %, anywhere")
    gone = dense.where(pruned == 0).max().max()
    left = dense.where(pruned != 0).min().min()
    assert gone <= left * 1.001  # four digits are recorded
    assert 0.3 < (pruned == 0).mean().mean() < 0.7


def test_two_of_every_four_neighbours_are_left() -> None:
    kept = panel("magnitude-pruning", "2:4").ne(0).to_numpy()
    assert (kept.reshape(len(kept), -1, 4).sum(2) == 2).all()


def test_sparsegpt_changes_what_stays_and_magnitude_does_not() -> None:
    dense = panel("sparsegpt-pruning", "dense")
    for name, changes in (("60 % magnitude", False), ("60 % SparseGPT", True)):
        after = panel("sparsegpt-pruning", name)
        assert bool((after.where(after != 0) - dense.where(after != 0)).abs().max().max() > 0) == changes, name


def test_sparsegpt_moves_every_output_less_than_magnitude() -> None:
    errors = table_of("sparsegpt-pruning", "dots").pivot(index="name", columns="series", values="value")
    assert (errors["SparseGPT"] < errors["magnitude"]).all()


@pytest.mark.parametrize(
    ("kind", "n_levels"), [("weight-quantization", [7, 7]), ("float-format", [15, 16])], ids=["integers", "floats"]
)
def test_histograms_have_as_many_levels_as_the_bits_allow(kind: str, n_levels: list[int]) -> None:
    bars = table_of(kind, "histograms")
    assert bars.groupby("series", sort=False)["value"].sum().tolist() == pytest.approx([1] * 3, abs=0.01)
    found = bars.groupby("series", sort=False).size().tolist()[1:]
    assert all(n <= most for n, most in zip(found, n_levels, strict=True))


def test_in_each_attention_the_smaller_heads_go() -> None:
    sizes = table_of("head-pruning", "dots")
    sizes["attention"] = sizes["name"].str.partition(",")[0]
    for attention, heads in sizes.groupby("attention"):
        by_fate = heads.groupby("series")["value"]
        assert by_fate.max()["removed"] <= by_fate.min()["kept"], attention


def test_a_correction_leaves_no_shift_and_equalization_equal_sides() -> None:
    shifts = table_of("bias-correction", "lines").groupby("series")["value"].agg(lambda own: own.abs().max())
    assert shifts["bias corrected"] < 1e-4 * shifts["rounded"]
    sides = table_of("cross-layer-equalization", "points")
    after = sides[sides["series"] == "after"]
    assert (after["x"] / after["value"]).tolist() == pytest.approx([1] * len(after), rel=0.01)


def test_a_low_rank_branch_takes_the_largest_directions() -> None:
    spectrum = table_of("low-rank-correction", "lines").pivot(index="x", columns="series", values="value")
    with_branch = spectrum["with a branch of rank 8"]
    assert with_branch.iloc[0] == pytest.approx(spectrum["rounded"].iloc[8], rel=0.05)


def test_ranges_of_all_steps_hold_every_input_and_those_of_the_last_do_not() -> None:
    ends = table_of("activation-quantization", "lines").groupby("series")["value"].agg(["min", "max"])
    inputs, whole, last = (ends.loc[name] for name in ("inputs", "all steps, min-max", "last step"))
    step = (whole["max"] - whole["min"]) / 255  # the zero point is a whole number of steps
    assert whole["min"] <= inputs["min"] + step
    assert whole["max"] >= inputs["max"] - step
    assert last["max"] < 0.8 * inputs["max"]


# Files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reading, "FOLDER", tmp_path)
    return tmp_path


def test_a_recording_is_read_as_it_was_written(folder: Path) -> None:
    made = Recording(weights={"fashion-vae": "0"}, pictures=(Picture.model_validate(PICTURE),))
    path_of("wanda-pruning").write_text(made.model_dump_json())
    (picture,) = recorded_pictures("wanda-pruning")
    assert picture.table.to_dict("list") == PICTURE["columns"]


def test_a_stage_that_was_not_recorded_has_no_pictures(folder: Path) -> None:
    assert recorded_pictures("wanda-pruning") == ()


@pytest.mark.parametrize("content", ["{", "{}", '{"weights": {}, "pictures": [{"view": "pie"}]}'])
def test_a_damaged_recording_is_named_with_the_command_that_makes_it(folder: Path, content: str) -> None:
    path_of("wanda-pruning").write_text(content)
    told = r"wanda-pruning.json holds no pictures .* tools.record_methods wanda-pruning"
    with pytest.raises(DataError, match=told) as raised:
        recorded_pictures("wanda-pruning")
    assert "\n" not in str(raised.value)


def test_columns_of_a_picture_fit_its_view_and_are_equally_long() -> None:
    for columns in ({"series": ["a"], "x": [0.0]}, {"series": ["a"], "x": [0.0], "value": [1.0, 2.0]}):
        with pytest.raises(ValueError, match="equally long columns"):
            Picture.model_validate({**PICTURE, "columns": columns})
