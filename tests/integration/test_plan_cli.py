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


def test_scan_plan_and_evaluate_are_jobs_like_the_others(run) -> None:  # type: ignore[no-untyped-def]
    def listed() -> list[tuple[str, str]]:
        return [(own["kind"], own["state"]) for own in json.loads(run("jobs", "--json")[1])]

    scan = ("scan", NAME, "--samples", "2", "--levels", "bits=8,4", "--axis", "bits", "--json")
    first = json.loads(run(*scan)[1])
    assert first["n_new"] > 0
    assert listed() == [("scan", "done")]
    again = json.loads(run(*scan)[1])
    assert (again["n_new"], again["signature"]) == (0, first["signature"])
    evaluate = ("evaluate", NAME, "--samples", "50", "--json")
    measured = json.loads(run(*evaluate)[1])
    assert listed()[0] == ("evaluate", "done")
    n_jobs = len(listed())
    assert json.loads(run(*evaluate)[1]) == measured
    assert len(listed()) == n_jobs  # what the store has is read, and is no job
    assert run("plan", NAME, "--max-size", "1kB")[0] == 1
    assert listed()[0] == ("plan", "failed")
    command = json.loads(run("jobs", "--json")[1])[0]["command"]
    assert command.endswith(f"plan {NAME} --max-size 1kB")


def test_a_plan_under_operations_names_what_it_removes(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("plan", NAME, "--max-macs", "90%")
    assert (code, out) == (1, "")
    dense = json.loads(run("plan", NAME, "--max-macs", "1G", "--json")[1])["predicted"]["macs"]
    code, out, _ = run("plan", NAME, "--max-macs", str(int(0.7 * dense)))
    assert code == 0
    assert "groups that share them" in out
    assert "--max-macs binds" in out
