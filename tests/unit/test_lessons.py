"""Every lesson is answered by the recorded measurements, and its notebook runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from gencomp_core.errors import EvaluationError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtime_env import command_environment
from gencomp_core.services import library
from gencomp_core.services.lessons import LESSONS, ChoiceGuess, NumberGuess, recovering, verdict
from gencomp_core.services.lessons.notebook import notebook
from gencomp_core.store import Store
from gencomp_core.workloads import CATALOG


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('demo') / 'store.db'}")
    library.add_demo(store)
    return store


@pytest.mark.parametrize("key", LESSONS)
def test_a_lesson_is_answered_by_recorded_measurements(demo: Store, key: str) -> None:
    lesson = LESSONS[key]
    reveal = lesson.reveal(demo)
    if isinstance(lesson.guess, NumberGuess):
        assert isinstance(reveal.truth, float)
        assert lesson.guess.low <= reveal.truth <= lesson.guess.high
    else:
        assert isinstance(reveal.truth, tuple)
        assert set(reveal.truth) <= set(lesson.guess.options)
        assert 0 < len(reveal.truth) < len(lesson.guess.options)
    assert re.search(r"\d", reveal.sentence)
    assert reveal.figure is not None
    assert reveal.alt
    assert reveal.table is not None
    assert reveal.signature is None or demo.measurement(reveal.signature) is not None
    assert lesson.workload in CATALOG
    Recipe.from_dict({"stages": list(lesson.recipe)})


def test_figures_in_a_question_are_those_of_the_model(demo: Store) -> None:
    dense = library.stored_for(demo, "fashion-vae", Recipe())
    assert f"{dense.n_params:,} numbers" in LESSONS["weight"].question


def test_there_are_seven_first_steps_and_then_more() -> None:
    levels = [lesson.level for lesson in LESSONS.values()]
    assert levels[:7] == ["first steps"] * 7
    assert set(levels[7:]) == {"going on"}
    assert [lesson.key for lesson in LESSONS.values()] == list(LESSONS)


def test_an_answer_is_judged_with_its_tolerance() -> None:
    number = NumberGuess("%", 0, 100, 1, 50, "%", near=10)
    assert verdict(number, 55, 60.0) == (True, "You said 55 %; measured: 60 %, so close enough.")
    assert verdict(number, 80, 60.0) == (False, "You said 80 %; measured: 60 %, so too high.")
    assert verdict(number, 20, 60.0)[1].endswith("too low.")
    choice = ChoiceGuess("which", ("a", "b", "c"))
    assert verdict(choice, "a", ("a", "b"))[0]
    assert not verdict(choice, "c", ("a", "b"))[0]


def test_a_store_without_the_evidence_says_what_is_missing(tmp_path: Path) -> None:
    empty = Store(f"sqlite:///{tmp_path / 'empty.db'}")
    for lesson in LESSONS.values():
        with pytest.raises(EvaluationError, match="Load the recorded demo study"):
            lesson.reveal(empty)


def test_lessons_need_no_torch() -> None:
    code = "import sys, gencomp_core.services.lessons; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=command_environment(), check=False).returncode == 0


@pytest.mark.parametrize("key", LESSONS)
def test_a_notebook_is_valid_and_always_the_same(key: str) -> None:
    text = notebook(LESSONS[key])
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert text == notebook(LESSONS[key])
    assert LESSONS[key].question in json.dumps(json.loads(text), ensure_ascii=False)


@pytest.mark.parametrize("key", ["budget", "zeros"])
def test_a_notebook_runs_from_top_to_bottom(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = nbformat.reads(notebook(LESSONS[key]), as_version=4).cells
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    monkeypatch.setenv("GENCOMP_STORE", str(tmp_path / "store.db"))
    done = subprocess.run(
        [sys.executable, str(script)], env=command_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "measured" in done.stdout


def test_one_cut_and_rounds_took_equally_many_steps_and_a_tie_is_no_win(demo: Store) -> None:
    for sparsity in (recovering.MILD, recovering.HARSH):
        steps = [sum(stage.get("steps", 0) for stage in stages) for stages in recovering.ways(sparsity).values()]
        assert steps == [recovering.STEPS] * 2
    tied = [{"change_low": 0.0, "change_high": 2.0}, {"change_low": 1.0, "change_high": 3.0}]
    assert recovering._winners(tied) == (recovering.CUT, recovering.ROUNDS)
    apart = [{"change_low": 4.0, "change_high": 5.0}, {"change_low": 1.0, "change_high": 3.0}]
    assert recovering._winners(apart) == (recovering.ROUNDS,)
