"""The way from dense to shipped: what is done, and what is next."""

from pathlib import Path

import pytest

from gencomp_core.services import recoveries
from gencomp_core.services.guided import guided_path, optimize_parameters
from gencomp_core.store import Store
from tests.made import measurement
from tests.tiny import pruning, quantization

WORKLOAD = "fashion-vae"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(recoveries, "recorded", lambda: ())
    return Store(f"sqlite:///{tmp_path / 'store.db'}")


def states(store: Store) -> dict[str, str]:
    return {step.title: step.state for step in guided_path(store, WORKLOAD)}


def test_an_empty_store_begins_with_dense(store: Store) -> None:
    found = states(store)
    assert list(found) == ["Dense", "Scan", "Plan", "Prune", "Tune", "Quantize", "QAT", "Evaluate", "Export"]
    assert found.pop("Dense") == "next"
    assert set(found.values()) == {"open"}


def test_the_next_step_is_the_first_that_nothing_was_found_of(store: Store) -> None:
    store.save_many([measurement(), measurement(pruning(0.5)), measurement(quantization(4))], {}, origin="local")
    found = states(store)
    assert [name for name, state in found.items() if state == "next"] == ["Scan"]
    assert found["Prune"] == found["Quantize"] == "done"
    assert found["Tune"] == found["QAT"] == "open"


def test_recorded_trainings_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    tuned = {step.title: step.found for step in guided_path(store, WORKLOAD)}["Tune"]
    assert tuned == f"{len(recoveries.runs_of(store, WORKLOAD))} trainings"


def test_each_job_gets_a_folder_of_its_own(home: Path) -> None:
    first = optimize_parameters(WORKLOAD, max_size="100kB", minutes=1)["out"]
    Path(first).mkdir(parents=True)
    assert Path(first).parent.parent == home
    assert optimize_parameters(WORKLOAD, max_size="100kB", minutes=1)["out"] != first
