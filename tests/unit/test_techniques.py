"""What the Methods page and `gencomp techniques` list."""

import pytest

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stages import STAGES
from gencomp_core.services.techniques import example, technique_table


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
