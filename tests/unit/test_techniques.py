"""What the Methods page and `gencomp techniques` list."""

import re
from pathlib import Path

import pytest

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stages import STAGES
from gencomp_core.services.techniques import WHEN, example, technique_table


@pytest.mark.parametrize("kind", STAGES)
def test_every_example_is_a_valid_stage_of_its_kind(kind: str) -> None:
    (row,) = [row for row in technique_table() if row["kind"] == kind]
    (stage,) = Recipe.from_text(row["example"], source="example").stages
    assert stage.kind == kind
    assert Recipe.from_dict({"stages": [example(kind)]}).stages == (stage,)


def test_every_field_is_explained() -> None:
    for row in technique_table():
        assert {field["field"] for field in row["fields"]} == row["schema"]["properties"].keys() - {"kind", "layers"}
        assert all(field["meaning"] for field in row["fields"]), row["kind"]
        assert "arXiv" in row["source"]


DOCS = Path(__file__).parents[2] / "docs"
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*\.\d+")


def test_every_stage_says_when_it_helps_with_figures_and_their_conditions() -> None:
    assert WHEN.keys() == STAGES.keys()
    for kind, when in WHEN.items():
        assert NUMBER.search(when), kind
        assert re.search(r"`(verses|fashion)-\w+`", when), kind
        assert re.search(r"n = [\d,]+", when), kind


@pytest.mark.parametrize("kind", WHEN)
def test_figures_of_a_sentence_stand_in_our_own_tables(kind: str) -> None:
    measured = set(NUMBER.findall((DOCS / "benchmarks.md").read_text() + (DOCS / "order.md").read_text()))
    assert set(NUMBER.findall(WHEN[kind])) <= measured


def test_a_default_that_is_made_anew_is_shown_as_its_value() -> None:
    (row,) = [row for row in technique_table() if row["kind"] == "block-removal"]
    assert {field["field"]: field["default"] for field in row["fields"]}["blocks"] == "[]"
