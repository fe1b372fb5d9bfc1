"""What every store promises of sensitivity scans."""

import math
from pathlib import Path

import pytest

from gencomp_core.errors import StoreError
from gencomp_core.records import Estimate, LayerOption, LayerScore, Scan, ScanRequest
from gencomp_core.store import Store
from gencomp_core.store.scores import (
    forget_scans,
    kept_positions,
    kept_scan,
    kept_scans,
    kept_scores,
    plain_scan,
    restore_scan,
    save_scan,
)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'store.db'}" if request.param == "file" else "sqlite:///:memory:")


def scan(seed: int = 0, **changes: object) -> Scan:
    request = ScanRequest(workload="fashion-gan", weights_hash="0" * 16, method="fisher", n_samples=4, seed=seed)
    fields = {"unit": "nats", "allowance": 0.1, "measured_at": f"2026-01-0{seed + 1}T00:00:00+00:00"}
    return Scan(request=request, signature=request.signature, **(fields | changes))


def score(layer: str = "a.b", position: str | None = None, damage: float = 0.5, **option: object) -> LayerScore:
    return LayerScore(
        layer=layer,
        option=LayerOption(**(option or {"bits": 4})),
        method="fisher",
        position=position,
        damage=Estimate(value=damage, low=damage / 2, high=damage * 2),
        size_bytes=10,
        dense_size_bytes=40,
    )


def test_what_was_saved_comes_back_equal(store: Store) -> None:
    scores = [score(), score(position="t=1"), score(bits=8, group_size=16), score(layer="c", damage=math.inf)]
    save_scan(store, scan(layers=("a.b", "c"), untouchable={"d": "is tied"}), scores)
    assert kept_scan(store, scan().signature) == scan(layers=("a.b", "c"), untouchable={"d": "is tied"})
    assert set(kept_scores(store, scan().signature, positions=True)) == set(scores)
    assert set(kept_scores(store, scan().signature)) == {own for own in scores if own.position is None}
    assert kept_scan(store, "0" * 16) is None
    assert kept_scores(store, "0" * 16) == []


def test_more_scores_join_those_that_are_there_and_newer_ones_replace(store: Store) -> None:
    save_scan(store, scan(seconds=1.0), [score(bits=4), score(bits=4, position="t=1")])
    save_scan(store, scan(seconds=3.0), [score(bits=3), score(bits=4, damage=9.0)])
    found = kept_scores(store, scan().signature, positions=True)
    assert set(found) == {score(bits=3), score(bits=4, damage=9.0), score(bits=4, position="t=1")}
    kept = kept_scan(store, scan().signature)
    assert kept is not None
    assert kept.seconds == 3.0


def test_scans_of_a_workload_are_listed_newest_first(store: Store) -> None:
    for seed in (0, 2, 1):
        save_scan(store, scan(seed))
    assert [own.request.seed for own in kept_scans(store, "fashion-gan")] == [2, 1, 0]
    assert kept_scans(store, "other") == []


def test_a_scan_goes_through_plain_values(store: Store) -> None:
    save_scan(store, scan(), [score(), score(position="t=1", damage=math.inf), score(layer="c")])
    before = set(kept_scores(store, scan().signature, positions=True))
    plain = plain_scan(store, scan().signature)
    other = Store("sqlite:///:memory:")
    for _ in range(2):
        restore_scan(other, plain, origin="demo")
    assert set(kept_scores(other, scan().signature, positions=True)) == before
    assert kept_scans(other, "fashion-gan") == [scan()]


def test_forgetting_takes_the_scores_along(store: Store) -> None:
    for seed in (0, 1):
        save_scan(store, scan(seed), [score()])
    forget_scans(store, [scan(0).signature])
    assert kept_scores(store, scan(0).signature) == []
    assert kept_scores(store, scan(1).signature) == [score()]
    assert [own.request.seed for own in kept_scans(store, "fashion-gan")] == [1]


@pytest.mark.parametrize("table", ["scans", "layer_scores"])
def test_what_is_damaged_is_one_clear_line(store: Store, table: str) -> None:
    save_scan(store, scan(), [score()])
    with store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET document = '[{{'")
    with pytest.raises(StoreError, match=f"Scan {scan().signature} in the store .* is damaged") as raised:
        kept_scan(store, scan().signature)
        kept_scores(store, scan().signature)
    assert "\n" not in str(raised.value)


def test_positions_of_one_option_are_read_alone(store: Store) -> None:
    wanted = [score(position="t=1", sparsity=0.3), score(layer="c", position="t=2", sparsity=0.3)]
    save_scan(store, scan(), [*wanted, score(sparsity=0.3), score(position="t=1", sparsity=0.3, bits=4)])
    found = kept_positions(store, scan().signature, LayerOption(sparsity=0.3))
    assert set(found) == set(wanted)
