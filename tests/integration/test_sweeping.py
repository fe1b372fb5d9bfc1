"""Sweeps: in one process, in several, on a cluster; what fails is kept as failed."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gencomp_core import cli
from gencomp_core.analysis.grid import Grid
from gencomp_core.errors import EvaluationError, GridError, JobError, UnknownNameError
from gencomp_core.records import Measurement, Progress
from gencomp_core.services import library, sweeps
from gencomp_core.services.sweeping import sweep
from gencomp_core.store import Failures, Store, Studies
from tests.tiny import pruning, quantization

VAE = "plugin:tests.tiny_plugin:vae"
DEADLY = "plugin:tests.tiny_plugin:deadly"
GRID = {"stages": [pruning(0.3) | {"sparsity": ["skip", 0.3]}, quantization(8) | {"bits": ["skip", 4]}], "samples": 60}
DEADLY_GRID = {"stages": [pruning(0.3) | {"sparsity": ["skip", 0.3, 0.5, 0.7]}], "samples": 60}


@pytest.fixture
def store(no_demo: None) -> Iterator[Store]:
    opened = library.open_store()
    yield opened
    opened.engine.dispose()


def run(
    store: Store, grid: dict[str, Any], workload: str = VAE, **options: Any
) -> tuple[dict[str, Any], list[Progress]]:
    steps, told = sweep(store, {"workload": workload, "grid": grid, **options}), []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as finished:
            return finished.value, told


def figures(store: Store) -> dict[str, Any]:
    """What may not depend on who measured it."""
    found = [store.measurement(row["signature"]) for row in store.rows()]
    return {one.signature: (one.size_bytes, one.quality, one.quality_change, one.fidelity) for one in found if one}


def counts(result: dict[str, Any]) -> tuple[int, int, int, int]:
    return tuple(result[f"n_{name}"] for name in ("configurations", "measured", "stored", "failed"))  # type: ignore[return-value]


def test_a_sweep_measures_each_configuration_once_whoever_does_it(store: Store, tmp_path: Path) -> None:
    result, told = run(store, GRID)
    assert counts(result) == (4, 4, 0, 0)
    assert [one.fraction for one in told] == sorted(one.fraction for one in told)
    assert told[-1].fraction == 1
    assert any(one.within and one.within.what == "sampling compressed" for one in told)
    study = Studies(store).get(result["study"])
    assert study is not None
    assert set(study.signatures) == {row["signature"] for row in store.rows()}
    before = {row["signature"]: row["measured_at"] for row in store.rows()}
    assert counts(run(store, GRID)[0]) == (4, 0, 4, 0)
    assert {row["signature"]: row["measured_at"] for row in store.rows()} == before
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    assert counts(run(other, GRID | {"runtimes": ["eager"]}, workers=2)[0]) == (4, 4, 0, 0)
    assert figures(other) == figures(store)
    assert len(other.latency_rows()) == 4
    assert all(other.picture(signature, library.SAMPLES) for signature in before)
    other.engine.dispose()


def test_timings_are_taken_and_only_those_that_are_missing(store: Store) -> None:
    small = {"stages": [quantization(8) | {"bits": ["skip", 8]}], "samples": 60, "runtimes": ["eager"]}
    assert counts(run(store, small)[0]) == (2, 2, 0, 0)
    assert len(store.latency_rows()) == 2
    assert counts(run(store, small | {"batches": [1, 2]})[0]) == (2, 2, 0, 0)
    assert sorted(row["batch"] for row in store.latency_rows()) == [1, 1, 2, 2]
    assert store.count() == 2


def test_what_can_not_be_measured_is_failed_with_its_reason_and_tried_again_on_request_only(store: Store) -> None:
    tame = {"stages": [pruning(0.3) | {"sparsity": ["skip", 0.3, 0.5]}], "samples": 60}
    result, told = run(store, tame, DEADLY)
    assert counts(result) == (3, 2, 0, 1)
    assert told[-1].fraction == 1
    report = sweeps.report(store, result)
    (failed,) = report["failures"]
    assert (failed["status"], failed["reason"]) == ("failed", "Half of the weights are zero. Keep more.")
    assert failed["quality"] is failed["size_bytes"] is None
    assert [one["title"] for one in report["measurements"]] == ["dense", "30% magnitude (layer)"]
    assert counts(run(store, tame, DEADLY)[0]) == (3, 0, 2, 1)
    Failures(store).forget([failed["signature"]])
    assert counts(run(store, tame, DEADLY)[0]) == (3, 0, 2, 1)


def test_a_process_that_dies_is_one_failed_configuration(store: Store) -> None:
    result, _ = run(store, DEADLY_GRID, DEADLY, workers=2)
    assert counts(result) == (4, 2, 0, 2)
    reasons = {one["title"]: one["reason"] for one in sweeps.report(store, result)["failures"]}
    assert reasons["70% magnitude (layer)"].startswith("The process that measured it died")
    assert reasons["50% magnitude (layer)"] == "Half of the weights are zero. Keep more."


def test_a_dask_cluster_measures_the_same(store: Store, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    small = {"stages": [quantization(8) | {"bits": ["skip", 8, 4]}], "samples": 60}
    run(store, small)
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False)
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    try:
        assert counts(run(other, small, scheduler=cluster.scheduler_address)[0]) == (3, 3, 0, 0)
    finally:
        cluster.close()
    assert figures(other) == figures(store)
    other.engine.dispose()


def test_a_scheduler_that_is_not_there_is_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("gencomp_core.analysis.executors.CONNECT_WITHIN_S", 1)
    with pytest.raises(JobError, match="--scheduler tcp://127.0.0.1:9 does not answer") as raised:
        run(store, GRID, scheduler="tcp://127.0.0.1:9")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"settings": {"steps": [8]}}, EvaluationError, "has no sampling option 'steps'"),
        ({"samples": 3}, EvaluationError, "--samples must be in"),
        ({"runtimes": ["openvin"]}, UnknownNameError, "Did you mean 'openvino'?"),
        ({"workloads": ["fashion-vea"]}, UnknownNameError, "Did you mean 'fashion-vae'?"),
        ({"stages": [pruning(0) | {"sparsity": [0.5, 50]}]}, GridError, "got 50"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused_before_anything_is_measured(
    change: dict[str, Any], error: type[Exception], message: str, store: Store
) -> None:
    with pytest.raises(error, match=message):
        run(store, GRID | change)
    assert store.count() == 0
    assert Studies(store).all() == []


# What it costs


def test_the_cost_is_told_from_what_was_measured_before(store: Store) -> None:
    grid = Grid.from_dict(GRID)
    unknown = sweeps.cost_of(store, grid, VAE)
    assert unknown.sentence() == "4 configurations: the first one is timed, then the time left is known."
    first = GRID | {"stages": [quantization(8) | {"bits": ["skip"]}]}
    run(store, first)
    (row,) = store.rows()
    found = store.measurement(row["signature"])
    assert isinstance(found, Measurement)
    cost = sweeps.cost_of(store, grid, VAE, workers=2)
    assert (cost.n, cost.n_stored, cost.n_timed) == (4, 1, 1)
    assert cost.minutes == pytest.approx(3 * found.seconds / 2 / 60)
    assert cost.sentence().startswith("4 configurations, 1 of them stored already: about ")
    assert "by 2 workers" in cost.sentence()
    twice = sweeps.cost_of(store, grid, VAE, samples=120)
    assert (twice.n_stored, twice.seconds_each) == (0, pytest.approx(2 * found.seconds))


# The command


def test_the_command_measures_a_grid_and_prints_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_demo: None
) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(json.dumps(DEADLY_GRID | {"stages": [pruning(0.3) | {"sparsity": ["skip", 0.5]}]}))

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gencomp", *map(str, arguments)])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
        return (code, *capsys.readouterr())

    code, out, err = call("sweep", DEADLY, "--grid", grid, "--json")
    document = json.loads(out)
    assert (code, counts(document)) == (0, (2, 1, 0, 1))
    assert document["measurements"][0]["quality"]["n_samples"] == 60
    assert "2 configurations: the first one is timed" in err
    code, out, _ = call("jobs")
    assert document["job"] in out
    assert "done" in out
    listed = json.loads(call("jobs", "--json")[1])
    assert [one["id"] for one in listed] == [document["job"]]
    assert json.loads(call("sweep", DEADLY, "--grid", grid, "--retry", "--json")[1])["n_failed"] == 1
    code, out, _ = call("sweep", DEADLY, "--grid", grid)
    assert "Half of the weights are zero" in out
    code, out, err = call("sweep", VAE, "--grid", "quik")
    assert (code, out) == (1, "")
    assert "--grid must be a file or one of quick, standard, thorough, got 'quik'. Did you mean 'quick'?" in err
