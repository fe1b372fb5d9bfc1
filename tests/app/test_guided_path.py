"""The guided path on Overview, and a configuration with training on Explore."""

import pytest

from gencomp_core.analysis.recovery_curves import trains
from gencomp_core.services import jobs, library, recoveries
from gencomp_core.store import Store
from pages._widgets import PICKED
from tests.app.test_pages import WORKLOAD, _running_server, fine, open_page, text_of
from tests.made import measurement
from tests.tiny import pruning, quantization, recipe

__all__ = ["_running_server"]


@pytest.fixture
def store(no_demo: None) -> Store:
    opened = library.open_store()
    opened.save_many([measurement(), measurement(quantization(4), size_bytes=200_000)], {}, origin="local")
    return opened


def test_the_path_tells_what_is_next_and_starts_the_whole_way_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, object]] = []

    def start(_: Store, kind: str, parameters: dict[str, object]) -> None:
        started.append((kind, parameters["max_size"]))
        raise jobs.JobError("No process is started in this test.")

    monkeypatch.setattr(jobs, "start", start)
    at = fine(open_page("overview"))
    assert "Next: **Scan**" in text_of(at)
    at.text_input(key="overview.size").set_value("90kB")
    at = fine(at.run())
    assert "python -m gencomp_core optimize fashion-vae" in text_of(at)
    at.button(key="overview.optimize").click()
    fine(at.run())
    assert started == [("optimize", "90kB")]


def test_a_size_that_cannot_be_read_is_one_line(store: Store) -> None:
    at = fine(open_page("overview"))
    at.text_input(key="overview.size").set_value("ninety")
    at.button(key="overview.optimize").click()
    at = fine(at.run())
    assert any("ninety" in error.value for error in at.error)
    assert not jobs.everyone(store)


def test_a_picked_configuration_that_trains_is_not_tuned_on_the_page(store: Store) -> None:
    run = recoveries.runs_of(store, WORKLOAD)[0]
    chosen = recipe(*run.recipe["stages"])
    assert trains(chosen)
    at = open_page("explore")
    at.session_state[PICKED] = {WORKLOAD: chosen}
    at = fine(at.run())
    assert "it is tuned as a job" in text_of(at)
    assert "Last tuned" in text_of(at)


def test_one_that_was_never_tuned_says_so(store: Store) -> None:
    at = open_page("explore")
    at.session_state[PICKED] = {WORKLOAD: recipe(pruning(0.3), {"kind": "fine-tune", "steps": 7})}
    assert "It was not tuned yet." in text_of(fine(at.run()))
