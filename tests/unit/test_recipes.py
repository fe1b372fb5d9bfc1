import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stages import STAGES
from tests.tiny import pruning, quantization, recipe

PRUNED_4_BIT = """
stages:
  - kind: magnitude-pruning
    sparsity: 0.5
  - kind: weight-quantization
    bits: 4
    group_size: 64
    layers: {"out": {bits: 8}, "time_*": {skip: true}}
"""


def line_of(text: str) -> str:
    """The message that a recipe file of `text` gives."""
    with pytest.raises(RecipeError) as caught:
        Recipe.from_text(text, source="r.yaml")
    return str(caught.value)


def stage_line(fields: str) -> str:
    return line_of(f"stages: [{{{fields}}}]")


PRUNE = "kind: magnitude-pruning, sparsity: 0.5"
QUANTIZE = "kind: weight-quantization, bits: 4"


# --- equality and signatures


@pytest.mark.parametrize(
    "other",
    [
        json.dumps(Recipe.from_text(PRUNED_4_BIT).to_dict()),
        "stages: [{sparsity: 0.5, kind: magnitude-pruning}, {layers: {out: {bits: 8}, 'time_*': {skip: true}}, "
        "group_size: 64, bits: 4, kind: weight-quantization}]",
        "stages: [{kind: magnitude-pruning, sparsity: 0.5, scope: layer, layers: {}}, {kind: weight-quantization, "
        "bits: 4, group_size: 64, granularity: group, symmetric: true, clipping: none, "
        "layers: {out: {bits: 8}, 'time_*': {skip: true}}}]",
    ],
    ids=["json", "other key order", "explicit defaults"],
)
def test_equal_recipes_have_equal_signatures(other: str) -> None:
    assert Recipe.from_text(other) == Recipe.from_text(PRUNED_4_BIT)
    assert Recipe.from_text(other).signature == Recipe.from_text(PRUNED_4_BIT).signature


def test_group_size_defaults_to_64() -> None:
    written = recipe(quantization(4, granularity="group", group_size=64))
    assert recipe(quantization(4, granularity="group")).signature == written.signature


def test_different_recipes_have_different_signatures() -> None:
    recipes = [
        recipe(),
        recipe(pruning(0.5)),
        recipe(pruning(0.25)),
        recipe(pruning(0.5, scope="global")),
        recipe(pruning(0.5, layers={"out": {"skip": True}})),
        recipe(pruning(0.5), pruning(0.5)),
        recipe(quantization(4)),
        recipe(quantization(5)),
        recipe(quantization(4, symmetric=False)),
        recipe(quantization(4, granularity="tensor")),
        recipe(quantization(4, clipping="mse")),
        recipe(quantization(4, group_size=64)),
        recipe(quantization(4, group_size=32)),
        recipe(pruning(0.5), quantization(4)),
        recipe(quantization(4), pruning(0.5)),
    ]
    assert len({each.signature for each in recipes}) == len(recipes)


def test_another_order_of_globs_has_another_signature() -> None:
    first = recipe(quantization(6, layers={"a*": {"bits": 8}, "*b": {"bits": 4}}))
    second = recipe(quantization(6, layers={"*b": {"bits": 4}, "a*": {"bits": 8}}))
    assert first.stages[0].for_layer("ab") != second.stages[0].for_layer("ab")
    assert first.signature != second.signature


def test_whole_and_decimal_zero_in_an_override_have_one_signature() -> None:
    whole = recipe(pruning(0.5, layers={"out": {"sparsity": 0}}))
    decimal = recipe(pruning(0.5, layers={"out": {"sparsity": 0.0}}))
    assert whole == decimal
    assert whole.signature == decimal.signature


layer_names = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1)
stages = st.one_of(
    st.builds(
        pruning,
        st.floats(0, 1, exclude_max=True),
        scope=st.just("layer"),
        layers=st.dictionaries(layer_names, st.just({"skip": True}) | st.just({"sparsity": 0.25}), max_size=3),
    ),
    st.builds(
        quantization,
        st.integers(2, 8),
        symmetric=st.booleans(),
        clipping=st.sampled_from(["none", "mse"]),
        group_size=st.none() | st.integers(2, 65_536),
    ),
)


@given(st.lists(stages, max_size=3))
def test_yaml_round_trip_is_exact(plain: list[dict[str, object]]) -> None:
    written = recipe(*plain)
    back = Recipe.from_text(written.to_yaml())
    assert back == written
    assert back.signature == written.signature


def test_a_layer_name_with_a_control_character_survives_yaml() -> None:
    written = recipe(pruning(0.5, layers={"a\x85b": {"skip": True}}))
    assert Recipe.from_text(written.to_yaml()) == written


def test_the_empty_recipe_is_dense() -> None:
    assert Recipe.from_text("stages: []") == Recipe()
    assert Recipe().is_dense
    assert Recipe().title() == "dense"
    assert not recipe(pruning(0.5)).is_dense


def test_title_says_what_is_done_and_marks_overrides() -> None:
    assert Recipe.from_text(PRUNED_4_BIT).title() == "50% magnitude (layer) → 4-bit g64 *"


def test_json_files_are_recipes(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"stages": [pruning(0.5)]}))
    assert Recipe.from_file(path) == recipe(pruning(0.5))


@pytest.mark.parametrize("stage", [pruning(1e-5), pruning(0.5, layers={"\U00010000": {"skip": True}})])
def test_what_json_writes_is_read_back(stage: dict[str, object]) -> None:
    assert Recipe.from_text(json.dumps({"stages": [stage]})) == recipe(stage)


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        recipe(pruning(0.5)).stages[0].sparsity = 0.9


# --- overrides


def bits_of(layer: str, layers: dict[str, dict[str, object]]) -> int | None:
    stage = recipe(quantization(6, layers=layers)).stages[0].for_layer(layer)
    return None if stage is None else stage.bits


def test_no_override_leaves_the_stage() -> None:
    assert bits_of("other", {"out": {"bits": 8}}) == 6


def test_an_exact_name_beats_a_later_glob() -> None:
    assert bits_of("out", {"out": {"bits": 8}, "*": {"bits": 2}}) == 8


def test_a_later_glob_beats_an_earlier_one() -> None:
    assert bits_of("ab", {"a*": {"bits": 8}, "*b": {"bits": 4}}) == 4
    assert bits_of("ab", {"*b": {"bits": 4}, "a*": {"bits": 8}}) == 8


def test_globs_are_case_sensitive_and_cross_dots() -> None:
    assert bits_of("up.0.Conv", {"up*conv": {"bits": 8}}) == 6
    assert bits_of("up.0.conv", {"up*conv": {"bits": 8}}) == 8


def test_a_skipped_layer_has_no_stage() -> None:
    assert bits_of("time_in", {"time_*": {"skip": True}}) is None


def test_an_exact_override_cancels_a_skip() -> None:
    assert bits_of("time_in", {"time_*": {"skip": True}, "time_in": {"bits": 8}}) == 8


def test_an_override_of_the_granularity_drops_the_group_size() -> None:
    stage = recipe(quantization(4, group_size=64, layers={"out": {"granularity": "tensor"}})).stages[0]
    assert stage.for_layer("out").group_size is None
    assert stage.for_layer("out").granularity == "tensor"


def test_an_override_keeps_the_other_fields() -> None:
    stage = recipe(quantization(4, symmetric=False, clipping="mse", layers={"out": {"bits": 8}})).stages[0]
    own = stage.for_layer("out")
    assert (own.bits, own.symmetric, own.clipping, own.layers) == (8, False, "mse", {})


def test_global_pruning_may_skip_layers() -> None:
    stage = recipe(pruning(0.5, scope="global", layers={"out": {"skip": True}})).stages[0]
    assert stage.for_layer("out") is None


def test_an_override_may_not_change_the_scope() -> None:
    assert "scope" in stage_line(PRUNE + ", layers: {out: {scope: global}}")


def test_unmatched_names_are_those_that_fit_no_layer() -> None:
    stage = recipe(quantization(4, layers={"a": {"bits": 8}, "b*": {"bits": 8}, "c": {"bits": 8}})).stages[0]
    assert stage.unmatched_names(["a", "bb"]) == ["c"]


# --- malformed recipes: the place, the rule, the value, the next step

FILES = {
    "empty": ("", ["must hold 'stages:'", "got an empty file", "Write stages: []"]),
    "number": ("42", ["must be a mapping with 'stages:'", "got a number", "Start the file with 'stages:'"]),
    "text": ("hello", ["must be a mapping", "got a text"]),
    "list": ("- kind: magnitude-pruning", ["must be a mapping", "got a list"]),
    "empty mapping": ("{}", ["must hold 'stages:'", "got an empty mapping"]),
    "misspelt stages": ("stage: []", ["must hold 'stages:'", "got stage", "below 'stages:'"]),
    "stages is a mapping": ("stages: {}", ["stages must be a list", "got {}"]),
    "stages is null": ("stages:", ["stages must be a list", "got null"]),
    "stray field": ("stages: []\nname: x", ["name is no field here", 'got "x"', "Known fields: stages"]),
    "stage is a number": ("stages: [5]", ["stages[0] must be a mapping", "got 5"]),
    "duplicate field": (
        "stages:\n  - kind: magnitude-pruning\n    sparsity: 0.5\n    sparsity: 0.6",
        ["line 4, column 5", "'sparsity' stands twice in one mapping", "Correct that line"],
    ),
    "duplicate stages": ("stages: []\nstages: []", ["line 2, column 1", "'stages' stands twice"]),
    "open bracket": ("stages: [", ["not valid YAML in line", "Correct that line"]),
    "tab": ("stages:\n\t- kind: x", ["not valid YAML in line 2, column 1", "'\\t'"]),
    "python object": ("stages: !!python/object/apply:os.system [ls]", ["not valid YAML", "could not determine"]),
    "undefined alias": ("stages: *b", ["not valid YAML", "undefined alias 'b'"]),
    "two documents": ("stages: []\n---\nstages: []", ["not valid YAML in line 2", "another document"]),
    "control character": ("stages: []\x00", ["not valid YAML", "special characters are not allowed"]),
    "too deep": ("stages: " + "[" * 2000, ["nested too deeply", "Flatten it"]),
    "second stage": (
        f"stages: [{{{PRUNE}}}, {{kind: weight-quantization, bits: 99}}]",
        ["stages[1].bits must be in [1, 8]", "got 99"],
    ),
}

STAGE_FIELDS = {
    "no kind": ("sparsity: 0.5", ["stages[0] must say its 'kind'", '{"sparsity": 0.5}', "kind: magnitude-pruning"]),
    "misspelt kind": (
        "kind: magnitude-prunning, sparsity: 0.5",
        ["stages[0].kind must be one of", "got 'magnitude-prunning'", "Did you mean 'magnitude-pruning'?"],
    ),
    "kind is a list": ("kind: [1]", ["stages[0].kind must be one of", "got '[1]'"]),
    "no sparsity": ("kind: magnitude-pruning", ["stages[0].sparsity is missing", "Add a line", "[0, 1)"]),
    "percent": (
        "kind: magnitude-pruning, sparsity: 50",
        ["stages[0].sparsity must be in [0, 1)", "got 50.", "It is a fraction: write 0.5 for 50 %."],
    ),
    "all": ("kind: magnitude-pruning, sparsity: 1.0", ["stages[0].sparsity must be in [0, 1)", "got 1.0"]),
    "negative": (
        "kind: magnitude-pruning, sparsity: -0.1",
        ["stages[0].sparsity must be in [0, 1)", "got -0.1", "Choose a value in that range"],
    ),
    "quoted": ("kind: magnitude-pruning, sparsity: '0.5'", ["must be a number", 'got "0.5"', "Remove the quotes"]),
    "nan": ("kind: magnitude-pruning, sparsity: .nan", ["sparsity must be a finite number", "got NaN"]),
    "infinite": ("kind: magnitude-pruning, sparsity: .inf", ["sparsity must be a finite number", "got Infinity"]),
    "truth value": ("kind: magnitude-pruning, sparsity: true", ["sparsity must be a number", "got true"]),
    "null": ("kind: magnitude-pruning, sparsity: null", ["sparsity must be a number", "got null"]),
    "misspelt field": (
        "kind: magnitude-pruning, sparcity: 0.5",
        ["stages[0].sparcity is no field here", "got 0.5", "Did you mean 'sparsity'?", "Known fields: kind"],
    ),
    "misspelt scope": (
        PRUNE + ", scope: globl",
        ["stages[0].scope must be 'layer', 'global', 'lamp' or 'erk'", 'got "globl"', "Did you mean 'global'?"],
    ),
    "scope is a number": (PRUNE + ", scope: 3", ["scope must be 'layer', 'global', 'lamp' or 'erk'", "got 3"]),
    "no bit": ("kind: weight-quantization, bits: 0", ["stages[0].bits must be in [1, 8]", "got 0.", "1 to 8 bits"]),
    "sixteen bits": (
        "kind: weight-quantization, bits: 16",
        ["must be in [1, 8]", "got 16", "leave the stage out"],
    ),
    "fraction of a bit": ("kind: weight-quantization, bits: 4.5", ["bits must be a whole number", "got 4.5"]),
    "quoted bits": ("kind: weight-quantization, bits: '8'", ["a whole number", 'got "8"', "Remove the quotes"]),
    "group of one": (QUANTIZE + ", group_size: 1", ["group_size must be in [2, 65536]", "got 1."]),
    "group per channel": (
        QUANTIZE + ", granularity: channel, group_size: 64",
        ["group_size must be left out when granularity is 'channel'", "got 64", "remove group_size"],
    ),
    "unknown granularity": (QUANTIZE + ", granularity: block", ["'tensor', 'channel' or 'group'", 'got "block"']),
    "ternary in four bits": (
        QUANTIZE + ", clipping: ternary",
        ["stages[0] must have 2 symmetric bits when clipping is 'ternary'", "got 4 symmetric", "Use bits: 2"],
    ),
    "binary with clipping": (
        "kind: weight-quantization, bits: 1, clipping: mse",
        ["stages[0] must have no clipping with 1 symmetric bit", "got 'mse'", "Remove clipping"],
    ),
    "act order without GPTQ": (
        QUANTIZE + ", act_order: true",
        ["stages[0] must have no act_order when rounding is 'nearest'", "Use rounding: gptq"],
    ),
    "calibration of one layer": (
        QUANTIZE + ", layers: {out: {calibration_samples: 9}}",
        ["layers.out may not change 'calibration_samples'", "Add another stage"],
    ),
    "unknown float format": ("kind: float-format, format: float8", ["format must be", 'got "float8"', "Did you mean"]),
    "symmetric is 1": (QUANTIZE + ", symmetric: 1", ["symmetric must be true or false", "got 1"]),
    "misspelt clipping": (QUANTIZE + ", clipping: mess", ["clipping must be", 'got "mess"', "Did you mean 'mse'?"]),
    "layers is a list": (QUANTIZE + ", layers: [out]", ["stages[0].layers must be a mapping", 'got ["out"]']),
    "override is a number": (QUANTIZE + ", layers: {out: 8}", ["stages[0].layers.out must be a mapping", "got 8"]),
    "override out of range": (
        QUANTIZE + ", layers: {out: {bits: 9}}",
        ["stages[0].layers.out.bits must be in [1, 8]", "got 9", "1 to 8 bits"],
    ),
    "override in percent": (
        PRUNE + ", layers: {out: {sparsity: 80}}",
        ["stages[0].layers.out.sparsity must be in [0, 1)", "got 80", "write 0.8 for 80 %"],
    ),
    "misspelt override": (
        QUANTIZE + ", layers: {out: {bitz: 8}}",
        ["stages[0].layers.out.bitz is no field here", "got 8", "Did you mean 'bits'?"],
    ),
    "skip and more": (
        QUANTIZE + ", layers: {out: {skip: true, bits: 8}}",
        ["layers.out must say skip: true and nothing else", "'bits': 8", "Remove one of them"],
    ),
    "skip: false": (QUANTIZE + ", layers: {out: {skip: false}}", ["layers.out must say skip: true", "{'skip': False}"]),
    "empty override": (QUANTIZE + ", layers: {out: {}}", ["layers.out changes nothing", "{skip: true}"]),
    "empty name": (QUANTIZE + ", layers: {'': {bits: 8}}", ["a layer name or glob", "got ''", "use '*'"]),
    "number as name": (QUANTIZE + ", layers: {3: {bits: 8}}", ["keyed by layer names", "got 3", "Quote the key"]),
    "override of the kind": (
        QUANTIZE + ", layers: {out: {kind: magnitude-pruning}}",
        ["layers.out may not change 'kind'", "Add another stage"],
    ),
    "nested overrides": (QUANTIZE + ", layers: {out: {layers: {}}}", ["layers.out may not change 'layers'"]),
    "global with a second sparsity": (
        PRUNE + ", scope: global, layers: {out: {sparsity: 0.2}}",
        ["stages[0].layers may only skip layers when scope is 'global'", "Use scope: layer"],
    ),
}

MALFORMED = FILES | {name: (f"stages: [{{{fields}}}]", parts) for name, (fields, parts) in STAGE_FIELDS.items()}


@pytest.mark.parametrize(("text", "parts"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_recipe_gives_one_line_with_place_rule_value_and_next_step(text: str, parts: list[str]) -> None:
    line = line_of(text)
    assert line.startswith("r.yaml: ")
    assert line.count("r.yaml") == 1
    assert [part for part in parts if part not in line] == []
    assert "\n" not in line
    assert line[-1] in ".?"
    assert not any(word in line for word in ("Traceback", "ValidationError", "pydantic", "Error(", "input_value"))


def test_the_first_of_several_mistakes_is_told() -> None:
    line = stage_line("kind: weight-quantization, bits: 0, clipping: mess")
    assert "stages[0].bits" in line
    assert "clipping" not in line


def test_a_misspelt_field_is_told_before_the_field_it_should_have_been() -> None:
    assert "sparcity is no field here" in stage_line("kind: magnitude-pruning, sparcity: 0.5")


BEYOND = {
    "recursive alias": "stages: &a [*a]",
    "list as key": "stages: [{? [1, 2] : 3}]",
    "mapping as key": "stages: [{? {a: 1} : 3}]",
    "impossible date": "stages: [{kind: weight-quantization, bits: 2023-99-99}]",
    "line break in a field name": 'stages: [{kind: magnitude-pruning, sparsity: 0.5, "a\\nb": 1}]',
    "line break in a layer name": 'stages: [{kind: magnitude-pruning, sparsity: 0.5, layers: {"a\\nb": {}}}]',
    "line break in a stray field": '{"a\\nb": 1}',
}


@pytest.mark.parametrize("text", BEYOND.values(), ids=BEYOND)
def test_a_far_fetched_recipe_gives_one_line_too(text: str) -> None:
    assert "\n" not in line_of(text)


@pytest.mark.parametrize("text", ["stages: [magnitude-pruning]", "stages: [{kind: magnitude-pruning, sparsity: half}]"])
def test_only_what_is_quoted_is_told_to_lose_its_quotes(text: str) -> None:
    assert "Remove the quotes" not in line_of(text)


def test_full_sparsity_is_not_taken_for_one_percent() -> None:
    assert "for 1 %" not in stage_line("kind: magnitude-pruning, sparsity: 1.0")


def test_every_stage_has_a_source_and_a_kind_of_its_own() -> None:
    for kind, stage in STAGES.items():
        assert stage.model_fields["kind"].default == kind
        assert "arXiv" in stage.source


# --- files


def file_line(path: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_file(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    line = file_line(tmp_path / "nowhere.yaml")
    assert "nowhere.yaml" in line
    assert "No such file" in line
    assert "Check the path" in line


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert "Is a directory" in file_line(tmp_path)


def test_a_binary_file_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "weights.yaml"
    path.write_bytes(bytes(range(128, 256)))
    assert "weights.yaml: is no text file in UTF-8. A recipe is YAML or JSON." in file_line(path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse: reading it would fail for lack of memory
    line = file_line(path)
    assert "must be below 1 MB" in line
    assert "got 1000000000000 bytes" in line


def test_a_message_about_a_file_names_it_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("stages: 5")
    assert file_line(path).startswith("bad.yaml: stages must be a list")
