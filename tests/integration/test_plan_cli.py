"""`gencomp plan`, as users start it: one JSON document, a recipe that `compress` takes, errors in one line."""

import json
import sys
from pathlib import Path

import pytest

from gencomp_core import cli
from gencomp_core.artifact.packing import pack
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload

NAME = "plugin:tests.tiny:TinyGAN"
KEYS = {
    "workload", "budgets", "recipe", "layers", "predicted", "binding", "shadow_prices", "mip_gap", "solve_seconds",
    "signature",
}  # fmt: skip


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_demo: None):  # type: ignore[no-untyped-def]
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gencomp", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        out, err = capfd.readouterr()  # of the process, so that what C prints is seen
        return code, out, err

    return call


def test_a_plan_is_one_document_and_a_recipe_whose_file_has_the_told_length(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "recipe.yaml"
    code, out, _ = run("plan", NAME, "--max-size", "40kB", "--out", file, "--json")
    assert code == 0
    document = json.loads(out)
    assert document.keys() >= KEYS
    told = document["predicted"]
    assert told.keys() >= {"size_bytes", "macs", "latency_ms", "damage", "quality"}
    assert told["size_bytes"] <= 40_000
    assert document["binding"] == ["size_bytes"]
    assert document["shadow_prices"][0]["damage"] > 0
    chosen = Recipe.from_file(file)
    assert chosen.to_dict() == document["recipe"]
    variant = compress(load_workload(NAME), chosen)
    assert pack(variant.model, variant.quantized).size_bytes == told["size_bytes"]
    code, out, _ = run("plan", NAME, "--max-size", "40kB")
    assert code == 0
    assert "predicted, not measured" in out
    assert "--max-size binds: 4kB more would buy" in out
    code, out, err = run("plan", NAME, "--max-size", "1kB", "--json")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("gencomp: --max-size must be at least ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "A plan needs a budget"),
        (["--max-size", "much"], "--max-size must be an amount above 0 such as 500kB, got 'much'."),
        (["--max-loss", "0.1"], "--max-loss must be a part of the dense quality such as 10%"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_scanned(run, arguments: list[str], line: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("plan", NAME, *arguments, "--json")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert line in err
