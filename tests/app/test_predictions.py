"""Predictions and goal-seeking on Explore, over a real scan of the VAE."""

import shutil
from pathlib import Path

import pytest

from gencomp_core.analysis.measurement import now
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import LayerOption
from gencomp_core.services import library, predictions
from gencomp_core.services.planning import prepare
from gencomp_core.store import Store
from gencomp_core.workloads import load_workload
from tests.app.test_pages import WORKLOAD, _running_server, fine, measured, open_page, path, text_of
from tests.made_scores import finished
from tests.tiny import quantization, recipe

__all__ = ["_running_server", "measured", "path"]
OPTIONS = [
    LayerOption(sparsity=0.3), LayerOption(sparsity=0.6), LayerOption(bits=8), LayerOption(bits=4, group_size=16),
    LayerOption(bits=2, group_size=16),
]  # fmt: skip


@pytest.fixture(scope="module")
def scanned_study(real_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("scanned") / "store.db"
    shutil.copy(real_study, made)
    store = Store(f"sqlite:///{made}")
    finished(prepare(store, load_workload(WORKLOAD), options=OPTIONS))
    store.engine.dispose()
    return made


@pytest.fixture
def scanned(path: Path, scanned_study: Path) -> Path:
    shutil.copy(scanned_study, path)
    return path


def test_without_a_scan_the_next_step_is_named(measured: Path) -> None:
    at = fine(open_page("explore"))
    assert at.button(key="explore.scan").label == "Scan the layers"
    assert f"plan {WORKLOAD} --max-size 1MB" in text_of(at)


def test_what_was_not_measured_is_predicted_before_it_is_simulated(scanned: Path) -> None:
    at = fine(open_page("explore"))
    at.select_slider(key="explore.bits").set_value("8")
    at = fine(at.run())
    sizes = [tile for tile in at.metric if tile.label == "Weights file ↓"]
    assert len(sizes) == 2  # predicted and simulated
    assert sizes[0].value == sizes[1].value
    assert "Bytes are exact. From a scan of single layers; nothing was sampled for it." in text_of(at)
    ledger = predictions.ledger(library.open_store(f"sqlite:///{scanned}"), WORKLOAD)
    assert ledger["recipe_signature"].tolist() == [recipe(quantization(8)).signature]


def test_a_budget_gives_a_plan_that_can_be_picked(scanned: Path) -> None:
    at = fine(open_page("explore"))
    at.text_input(key="explore.max_size").set_value("400kB")
    at.button(key="explore.find_plan").click()
    at = fine(at.run())
    found = at.session_state["explore.plan"]
    assert found.predicted.size_bytes <= 400_000
    assert "--max-size binds" in text_of(at)
    at.button(key="explore.pick_plan").click()
    at = fine(at.run())
    assert f"The picked configuration ({Recipe.from_dict(found.recipe).title()}) is beyond these sliders" in text_of(at)
    planned = Recipe.from_dict(found.recipe).to_yaml().strip()
    assert [shown.value for shown in at.code].count(planned) == 2  # of the controls, and of the plan below
    at.slider(key="explore.sparsity").set_value(30)
    at = fine(at.run())
    assert [shown.value for shown in at.code].count(planned) == 1  # a slider that moves starts anew


@pytest.mark.parametrize(
    ("budget", "line"), [("much", "--max-size must be an amount"), ("1kB", "--max-size must be at least")]
)
def test_a_budget_that_can_t_be_kept_is_told_in_one_line(scanned: Path, budget: str, line: str) -> None:
    at = fine(open_page("explore"))
    at.text_input(key="explore.max_size").set_value(budget)
    at.button(key="explore.find_plan").click()
    at = fine(at.run())
    assert line in text_of(at)


def test_the_ledger_tells_how_far_predictions_were_off(scanned: Path) -> None:
    store = library.open_store(f"sqlite:///{scanned}")
    at = open_page("pareto")
    at.session_state["pareto.ledger"] = True
    at = fine(at.run())
    assert "none was measured since" in text_of(at)
    chosen = recipe(quantization(8))
    predictions.predicted(store, WORKLOAD, chosen)
    found = store.measurement(store.rows(WORKLOAD)[0]["signature"])
    assert found is not None
    request = found.request.model_copy(update={"recipe": chosen.to_dict()})
    fields = {"recipe": chosen.to_dict(), "request": request, "signature": request.signature, "measured_at": now()}
    size = int(predictions.ledger(store, WORKLOAD)["size_predicted"][0])
    store.save(found.model_copy(update=fields | {"size_bytes": size}))
    at = open_page("pareto")
    at.session_state["pareto.ledger"] = True
    at = fine(at.run())
    assert "**1** predictions were measured afterwards. Exact bytes were off by 0 at most." in text_of(at)
