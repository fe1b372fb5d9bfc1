"""A recovery study on a tiny network: what was lost, what came back, curves and samples along the way."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gencomp_core.analysis.recovery_curves import gap_of
from gencomp_core.cli import app
from gencomp_core.records.recovery import RecoveryRun
from gencomp_core.recovery.kept import Folder
from gencomp_core.services import library, recoveries
from gencomp_core.services.job_kinds import KINDS
from tests.tiny import pruning, recipe

WORKLOAD = "plugin:tests.tiny:TinyVAE"
TUNED = {"kind": "fine-tune", "steps": 12, "checks": 6, "batch_size": 8}


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, str(done.exception or "") + done.stderr


@pytest.fixture
def chosen(tmp_path: Path) -> str:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe(pruning(0.7), TUNED).to_dict()))
    return str(path)


def test_a_study_keeps_what_was_lost_what_came_back_and_the_way(chosen: str, no_demo: None) -> None:
    code, text, error = run("recover", WORKLOAD, "--recipe", chosen, "--samples", "50", "--json")
    assert code == 0, error
    found = RecoveryRun.model_validate({k: v for k, v in json.loads(text).items() if k in RecoveryRun.model_fields})
    assert (found.damage_title, found.damaged_by, found.rung) == ("70% magnitude (layer)", "pruned", "everything")
    assert [point.step for point in found.points] == [0, 2, 4, 6, 8, 10, 12]
    assert found.points[0].held_out == pytest.approx(found.damaged_held_out)
    assert found.damaged
    store = library.open_store()
    assert [own.id for own in recoveries.runs_of(store, found.workload)] == [found.id]
    assert store.measurement(found.signature).recipe == found.recipe
    gap = gap_of(found)
    row = recoveries.overview([found]).iloc[0]
    assert row["gap"] == (gap.value if gap else None)
    assert recoveries.picture(store, found)[:4] == b"RIFF"
    assert list(recoveries.curve_table([found])["step"]) == [0, 2, 4, 6, 8, 10, 12]
    assert recoveries.latest_of(store, found.workload, found.recipe) == found


def test_samples_are_kept_at_the_start_and_at_four_looks(chosen: str, home: Path, no_demo: None) -> None:
    assert run("recover", WORKLOAD, "--recipe", chosen, "--samples", "50")[0] == 0
    (folder,) = (path.parent for path in home.rglob("curve.json"))
    samples = Folder(folder).samples()
    assert list(samples) == [0, 4, 6, 8, 12] or list(samples) == [0, 2, 6, 8, 12]
    assert all(len(own) == 10 for own in samples.values())


def test_a_recipe_that_trains_nothing_is_refused_before_there_is_a_job(tmp_path: Path, no_demo: None) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe(pruning(0.5)).to_dict()))
    code, _, error = run("recover", WORKLOAD, "--recipe", str(path))
    assert code == 1
    assert "needs a stage that trains, got 50% magnitude (layer)" in error
    assert "recover" in KINDS


def test_a_plan_is_told_for_minutes() -> None:
    code, text, error = run("recovery-plan", "fashion-vae", "--minutes", "0.5", "--json")
    assert code == 0, error
    rows = json.loads(text)["rungs"]
    assert len(rows) >= 4
    assert all(-1 <= row["gap_low"] <= row["gap"] <= row["gap_high"] <= 1 for row in rows)
    assert rows == sorted(rows, key=lambda row: -row["gap"])
