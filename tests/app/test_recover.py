"""The page Recover: recorded trainings, a plan for minutes, and a tuning job from start to cancel."""

from collections.abc import Iterator

import pytest

from gencomp_core.services import jobs, library, recoveries, recovery_jobs
from gencomp_core.store import Store
from tests.app.test_pages import WORKLOAD, _running_server, fine, open_page, text_of
from tests.app.test_studies import click

__all__ = ["_running_server"]


@pytest.fixture
def store(no_demo: None) -> Iterator[Store]:
    """An empty store; no job outlives its test."""
    opened = library.open_store()
    yield opened
    for made in jobs.everyone(opened):
        if made.is_active:
            jobs.cancel(opened, made.id)


def test_recorded_trainings_are_compared_and_one_is_shown_in_full(store: Store) -> None:
    at = fine(open_page("recover"))
    runs = recoveries.runs_of(store, WORKLOAD)
    assert len(runs) >= 6
    assert "back in" in at.markdown[0].value
    assert [metric.label for metric in at.metric][:4] == [
        "FID ↓",
        "Without training",
        "Gap recovered ↑",
        "A minute gives",
    ]
    at.selectbox(key="recover.compare").set_value("cheap rungs or everything")
    at.selectbox(key="recover.y").set_value("sparsity")
    at.selectbox(key="recover.run").set_value(list(recoveries.labels(runs).values())[-1])
    fine(at.run())
    assert not at.error


def test_the_plan_follows_the_minutes(store: Store) -> None:
    at = fine(open_page("recover"))
    assert f"python -m gencomp_core recovery-plan {WORKLOAD} --minutes 1" in text_of(at)
    at.slider(key="recover.minutes").set_value(4.0)
    at = fine(at.run())
    assert f"python -m gencomp_core recovery-plan {WORKLOAD} --minutes 4" in text_of(at)


def test_a_workload_without_studies_names_the_command(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recoveries, "recorded", lambda: ())
    at = fine(open_page("recover"))
    assert f"python -m gencomp_core recover {WORKLOAD} --recipe recipe.yaml" in text_of(at)
    assert at.button(key="recover.start").label == "Tune as a job"


def test_a_tuning_is_started_once_watched_and_cancelled(store: Store) -> None:
    at = fine(open_page("recover"))
    at.number_input(key="recover.steps").set_value(5000)
    click(at, "recover.start")
    (job,) = recovery_jobs.of_workload(store, WORKLOAD)
    assert job.is_active
    at = fine(at.run())
    assert at.button(key="recover.start").disabled
    click(at, "studies.cancel")
    assert jobs.get(store, job.id).cancel_requested or not jobs.get(store, job.id).is_active


@pytest.mark.parametrize("name", list(recovery_jobs.RECIPES))
def test_every_preset_trains_with_the_steps_that_are_asked_for(name: str) -> None:
    made = recovery_jobs.preset(name, 17)
    assert recovery_jobs.tunes(made)
    assert made.stages[-1].steps == 17
