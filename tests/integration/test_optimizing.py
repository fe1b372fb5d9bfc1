"""The guided workflow on a tiny network: from goals to an artifact that verifies, with its report."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gencomp_core.cli import app
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services.optimizing import _tuned, _with_integers
from tests.tiny import pruning, quantization, recipe

WORKLOAD = "plugin:tests.tiny:TinyVAE"
ACTIVATIONS = {"kind": "activation-quantization"}


def kinds(made: Recipe) -> list[str]:
    return [stage.kind for stage in made.stages]


def test_tuning_stands_where_it_helps() -> None:
    both = recipe(pruning(0.5), quantization(4))
    assert kinds(_tuned(both, 10)) == [
        "magnitude-pruning", "fine-tune", "weight-quantization", "quantization-aware-training",
    ]  # fmt: skip
    assert [stage.steps for stage in _tuned(both, 11).stages if hasattr(stage, "steps")] == [5, 6]
    assert kinds(_tuned(recipe(pruning(0.5)), 10)) == ["magnitude-pruning", "fine-tune"]
    assert kinds(_tuned(_with_integers(recipe(quantization(4))), 10)) == [
        "weight-quantization", "activation-quantization", "quantization-aware-training",
    ]  # fmt: skip


def run(arguments: list[str]) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def store(tmp_path: Path, home: Path) -> str:
    return str(tmp_path / "store.db")


def test_a_size_becomes_an_artifact_that_keeps_it(tmp_path: Path, store: str) -> None:
    out = tmp_path / "made"
    options = ["--max-size", "60kB", "--minutes", "0.01", "--samples", "50", "--out", str(out), "--store", store]
    code, text, error = run(["optimize", WORKLOAD, *options, "--json"])
    assert code == 0, error
    found = json.loads(text)
    assert found["met"]
    assert not found["missed"]
    assert (out / "weights.safetensors").stat().st_size == found["chosen"]["size_bytes"] <= 60_000
    assert found["verify"]["ok"]
    assert found["tried"][0]["title"] == "dense"
    assert any("tuned" in row["title"] or "QAT" in row["title"] for row in found["tried"]) or found["notes"]
    page = Path(found["report"]).read_text()
    assert "How it was found" in page
    assert all(row["signature"] for row in found["tried"])
    code, text, _ = run(["verify", str(out), "--no-latency", "--json"])
    assert code == 0
    assert json.loads(text)["ok"]


def test_goals_are_checked_before_anything_is_computed(tmp_path: Path, store: str) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("x")
    code, _, _ = run(["optimize", WORKLOAD, "--max-size", "60kB", "--out", str(full), "--store", store])
    assert code != 0
    code, _, _ = run(["optimize", WORKLOAD, "--max-size", "sixty", "--out", str(tmp_path / "a"), "--store", store])
    assert code != 0
