"""What a search promises for every kind of workload, also those that only a plugin knows."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gencomp_core.errors import GenCompError
from gencomp_core.records import Estimate, Progress, Screening
from gencomp_core.services.searching import search
from gencomp_core.store import Screenings, Store, Studies

GRID = {
    "stages": [
        {"kind": "magnitude-pruning", "sparsity": ["skip", 0.5]},
        {"kind": "weight-quantization", "bits": ["skip", 8, 4, 2]},
    ]
}
TINY = ("TinyDiffusion", "TinyGAN", "TinyVAE", "TinyVerses")


def searched(store: Store, **parameters: Any) -> tuple[list[Progress], dict[str, Any]]:
    steps = search(store, {"workload": "plugin:tests.tiny:TinyGAN", "trials": 5, "samples": 50, **parameters})
    told = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as finished:
            return told, finished.value


def without_time(report: Mapping[str, Any]) -> dict[str, Any]:
    """What does not depend on when and how fast."""
    plain = json.loads(json.dumps(report))
    del plain["seconds"], plain["evaluations"]
    return plain


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'store.db'}")


@pytest.mark.parametrize("name", TINY)
def test_every_workload_can_be_searched_and_what_is_measured_is_kept(store: Store, name: str) -> None:
    workload = f"plugin:tests.tiny:{name}"
    settings = {"steps": 2} if name == "TinyDiffusion" else None
    n = 20 if name == "TinyVerses" else 50
    told, report = searched(store, workload=workload, grid=GRID, samples=n, set=settings, trials=4)
    assert len(report["trials"]) == 4
    assert report["trials"][0]["title"] == "dense"
    assert report["frontier"]
    assert told[-1].done == told[-1].total
    for row in report["frontier"]:
        kept = store.measurement(row["signature"])
        assert kept is not None
        assert kept.size_bytes == row["size_bytes"]
        assert kept.quality is not None
        assert kept.quality.value == row["quality"]["value"]
    study = Studies(store).get(report["signature"])
    assert study is not None
    assert {row["signature"] for row in report["frontier"]} <= set(study.signatures)
    sizes = [row["size_bytes"] for row in report["frontier"]]
    assert sizes == sorted(sizes)


def test_asking_again_measures_nothing_and_answers_the_same(store: Store) -> None:
    _, first = searched(store, grid=GRID)
    _, again = searched(store, grid=GRID)
    assert without_time(again) == without_time(first)
    for own in again["evaluations"]:
        assert (own["n_known"], own["seconds"]) == (own["n_asked"], 0.0)
    assert searched(store, grid=GRID, seed=1)[1]["signature"] != first["signature"]


def test_a_search_that_was_stopped_goes_on_where_it_was(store: Store, tmp_path: Path) -> None:
    steps = search(store, {"workload": "plugin:tests.tiny:TinyGAN", "grid": GRID, "trials": 5, "samples": 50})
    list(itertools.islice(steps, 5))
    steps.close()
    _, resumed = searched(store, grid=GRID)
    assert sum(own["n_known"] for own in resumed["evaluations"]) >= 3
    _, whole = searched(Store(f"sqlite:///{tmp_path / 'other.db'}"), grid=GRID)
    assert without_time(resumed) == without_time(whole) | {"frontier": without_time(resumed)["frontier"]}


def test_every_configuration_tells_what_each_rung_found(store: Store) -> None:
    _, report = searched(store, grid=GRID, samples=1200, trials=3)
    for trial in report["trials"]:
        counts = [rung["n_samples"] for rung in trial["rungs"]]
        assert counts == ([60, 1200] if trial["verdict"] == "full" else [60])


@pytest.mark.parametrize("x", ["macs", "latency_ms:eager:2"])
def test_other_costs_can_be_searched_with_a_space_of_their_own(store: Store, x: str) -> None:
    _, report = searched(store, x=x, trials=5, samples=50)
    name = x.split(":")[0]
    assert report["x"] == x
    assert all(row[name] > 0 for row in report["frontier"])
    assert report["hypervolume"]["reference"][name] > 0
    if name == "macs":
        titles = {trial["title"] for trial in report["trials"]}
        assert any("removed" in title or "factored" in title for title in titles)


def test_time_that_is_up_ends_the_search_with_what_there_is(store: Store) -> None:
    _, report = searched(store, grid=GRID, minutes=1e-6)
    assert [trial["title"] for trial in report["trials"]] == ["dense"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"x": "bytes"}, "--x must be one of size_bytes, macs"),
        ({"x": "peak_memory_mb"}, "--x of a search must be one of size_bytes, macs, latency_ms, got 'peak_memory_mb'"),
        ({"grid": {"stages": [], "settings": {"steps": [1, 2]}}}, "a search varies stages and nothing else, got"),
        ({"grid": {"stages": 3}}, "stages must be a list of stages"),
        ({"grid": {"stages": []}}, "a search must have a choice, got none."),
        ({"grid": {"stages": [{"kind": "nonsense", "bits": [4]}]}}, "stages[0].kind must be one of "),
        ({"samples": 3}, "--samples must be in [50, 50000], got 3."),
        ({"set": {"stepz": 3}}, "stepz"),
        ({"workload": "fashion-gam"}, "No workload named 'fashion-gam'. Did you mean 'fashion-gan'?"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_computed(
    store: Store, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(GenCompError) as refused:
        searched(store, **parameters)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert store.count() == 0


def test_a_screening_comes_back_equal_and_a_newer_one_replaces_it(store: Store) -> None:
    damage = Estimate(value=0.5, low=0.4, high=0.6)
    own = Screening(
        signature="a" * 16,
        workload="made",
        title="4-bit",
        n_samples=20,
        costs={"size_bytes": 9},
        damage=damage,
        seconds=1,
    )
    kept = Screenings(store)
    assert kept.get(own.signature) is None
    kept.save(own)
    assert kept.get(own.signature) == own
    newer = own.model_copy(update={"seconds": 2.0})
    kept.save(newer)
    assert kept.get(own.signature) == newer
