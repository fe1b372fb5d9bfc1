"""What every store promises."""

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

from gencomp_core.errors import StoreError
from gencomp_core.records import Estimate, Measurement
from gencomp_core.store import Store
from gencomp_core.store.schema import metadata
from gencomp_core.store.store import HEAD, KNOWN_VERSIONS, MIGRATIONS
from tests import postgres
from tests.made import latency, measurement, runtime_quality
from tests.tiny import pruning, quantization

WITH_LISTED_COLUMNS = set(metadata.tables["measurements"].columns.keys()) - {"document"}


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_what_was_saved_comes_back_equal(store: Store) -> None:
    saved = [
        measurement(),
        measurement(quantization(4), size_bytes=200_000, fid=11.0),
        measurement(fid=None, seconds=2),
    ]
    for found in saved[:2]:
        store.save(found)
    assert [store.measurement(found.signature) for found in saved[:2]] == saved[:2]
    assert store.measurement("0" * 16) is None
    assert store.count() == 2


def test_a_failed_measurement_comes_back_with_its_reason(store: Store) -> None:
    failed = measurement(quantization(2), fid=None)
    store.save(failed)
    back = store.measurement(failed.signature)
    assert back == failed
    assert back is not None
    assert (back.status, back.quality) == ("failed", None)
    assert back.reason


def test_saving_again_replaces(store: Store) -> None:
    first, second = measurement(seconds=1.0), measurement(seconds=9.0)
    assert first.signature == second.signature
    store.save(first)
    store.save(second)
    assert store.count() == 1
    assert store.measurement(first.signature) == second


def test_latencies_of_other_machines_batches_and_runtimes_are_kept_beside(store: Store) -> None:
    store.save(measurement())
    signature = measurement().signature
    others = [latency(machine="elsewhere"), latency(batch=8), latency(runtime="other"), latency(threads=2)]
    for other in others:
        store.save_latency(signature, other)
    back = store.measurement(signature)
    assert back is not None
    assert sorted(back.latency, key=repr) == sorted([latency(), *others], key=repr)
    assert len(store.latency_rows("fashion-vae")) == 5


def test_a_newer_latency_of_the_same_kind_replaces(store: Store) -> None:
    store.save(measurement())
    newer = latency(median_ms=7.0)
    store.save_latency(measurement().signature, newer)
    back = store.measurement(measurement().signature)
    assert back is not None
    assert back.latency == (newer,)


def test_quality_in_other_runtimes_and_on_other_machines_is_kept_beside(store: Store) -> None:
    shipped = [runtime_quality(), runtime_quality(runtime="other")]
    store.save(measurement(runtime_quality=tuple(shipped)))
    signature = measurement().signature
    store.save_runtime_quality(signature, runtime_quality(machine="elsewhere"))
    store.save_runtime_quality(signature, runtime_quality(ran="newer"))
    back = store.measurement(signature)
    assert back is not None
    wanted = [runtime_quality(ran="newer"), shipped[1], runtime_quality(machine="elsewhere")]
    assert sorted(back.runtime_quality, key=repr) == sorted(wanted, key=repr)
    store.forget([signature])
    store.save(measurement())
    again = store.measurement(signature)
    assert again is not None
    assert again.runtime_quality == ()


@pytest.mark.parametrize("version", KNOWN_VERSIONS[:-1])
def test_a_store_of_an_older_schema_keeps_what_it_has(version: str, url: str, tmp_path: Path) -> None:
    newest = tmp_path / "newest.db"
    Store(f"sqlite:///{newest}").save(measurement())
    path_of(url).parent.mkdir()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with create_engine(url).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    with sqlite3.connect(path_of(url)) as connection:
        connection.execute("ATTACH ? AS newest", [str(newest)])
        for table in ("measurements", "latencies"):
            connection.execute(f"INSERT INTO {table} SELECT * FROM newest.{table}")
    store = Store(url)
    assert not store.is_new
    assert store.measurement(measurement().signature) == measurement()
    assert set(inspect(store.engine).get_table_names()) - {"alembic_version"} == set(metadata.tables)


def test_a_latency_of_nothing_is_refused(store: Store) -> None:
    with pytest.raises(Exception, match="(?i)foreign key"):
        store.save_latency("0" * 16, latency())


def test_rows_hold_figures_and_no_documents(store: Store) -> None:
    later = measurement(pruning(0.5), measured_at="2026-02-01T00:00:00+00:00")
    store.save_many([later, measurement(), measurement(workload="fashion-diffusion")], {}, origin="demo")
    rows = store.rows("fashion-vae")
    assert [row["title"] for row in rows] == ["dense", later.title]
    assert all(set(row) == WITH_LISTED_COLUMNS for row in rows)
    assert {row["origin"] for row in rows} == {"demo"}
    assert len(store.rows()) == 3
    assert store.rows("nothing") == []
    assert store.latency_rows("nothing") == []
    first = rows[0]
    dense = measurement()
    assert dense.quality is not None
    assert (first["size_bytes"], first["quality"], first["quality_low"]) == (
        dense.size_bytes,
        dense.quality.value,
        dense.quality.low,
    )


def test_conditions_tell_apart_what_may_not_be_compared(store: Store) -> None:
    store.save_many([measurement(), measurement(pruning(0.5)), measurement(n_samples=60)], {}, origin="local")
    conditions = [row["conditions"] for row in store.rows()]
    assert len(set(conditions)) == 2


def test_pictures_are_kept_by_kind(store: Store) -> None:
    store.save_picture("a" * 16, "samples", b"one")
    store.save_picture("a" * 16, "worst", b"two")
    store.save_picture("a" * 16, "samples", b"three")
    assert store.picture("a" * 16, "samples") == b"three"
    assert store.picture("a" * 16, "worst") == b"two"
    assert store.picture("b" * 16, "samples") is None


def test_one_same_seed_figure_of_all_measurements_is_found_without_their_documents(store: Store) -> None:
    drift = Estimate(value=20.5, low=20.0, high=21.0)
    found = [measurement(quantization(4), fidelity={"kid": drift}), measurement(quantization(2))]
    for own in found:
        store.save(own)
    (row,) = store.fidelity_rows("fashion-vae", "kid")
    assert row == {"signature": found[0].signature, **drift.model_dump()}
    assert store.fidelity_rows("fashion-vae", "kl_nats") == []
    assert store.fidelity_rows("fashion-gan", "kid") == []


def test_a_latency_without_peak_memory_has_none(store: Store) -> None:
    store.save(measurement(latency=(latency(),)))
    (row,) = store.latency_rows("fashion-vae")
    assert (row["median_ms"], row["peak_memory_mb"]) == (2.0, None)


def test_forgetting_takes_latencies_and_pictures_along(store: Store) -> None:
    kept, gone = measurement(), measurement(pruning(0.5))
    pictures = {found.signature: {"samples": b"picture"} for found in (kept, gone)}
    store.save_many([kept, gone], pictures, origin="local")
    store.forget([gone.signature, "0" * 16])
    assert store.measurement(gone.signature) is None
    assert store.picture(gone.signature, "samples") is None
    assert [row["signature"] for row in store.latency_rows()] == [kept.signature]
    assert store.measurement(kept.signature) == kept
    assert store.picture(kept.signature, "samples") == b"picture"


def test_many_are_saved_together_or_not_at_all(store: Store) -> None:
    broken = measurement(pruning(0.5)).model_copy(update={"title": None})
    with pytest.raises(Exception, match="(?i)not.null"):
        store.save_many([measurement(), broken], {}, origin="local")
    assert store.count() == 0


def test_a_store_is_new_once_and_keeps_what_it_has(url: str) -> None:
    first = Store(url)
    assert first.is_new
    first.save(measurement())
    again = Store(url)
    assert not again.is_new
    assert again.measurement(measurement().signature) == measurement()


def test_readers_and_a_writer_work_at_once(url: str) -> None:
    store = Store(url)
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    with store.engine.begin() as writing:
        writing.exec_driver_sql("CREATE TABLE lock_me (x)")
        assert Store(url).rows() == []


def described(url: str) -> dict[str, object]:
    """Tables with columns, keys and indexes, as the database itself tells them."""
    inspector = inspect(create_engine(url))
    tables = sorted(set(inspector.get_table_names()) - {"alembic_version"})
    return {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"], column["primary_key"])
                for column in inspector.get_columns(table)
            ],
            "foreign": [
                (key["constrained_columns"], key["referred_table"], key["referred_columns"], key["options"])
                for key in inspector.get_foreign_keys(table)
            ],
            "indexes": [
                (index["name"], index["column_names"], index["unique"]) for index in inspector.get_indexes(table)
            ],
        }
        for table in tables
    }


def test_migrations_make_exactly_the_tables_of_the_schema(url: str, tmp_path: Path) -> None:
    Store(url)
    plain = f"sqlite:///{tmp_path / 'plain.db'}"
    metadata.create_all(create_engine(plain))
    assert described(url) == described(plain)
    assert set(described(url)) == set(metadata.tables)


def one_line(error: StoreError) -> str:
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_a_text_file_is_refused_and_left_as_it_was(url: str) -> None:
    path = path_of(url)
    path.parent.mkdir()
    path.write_text("groceries: milk, bread\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="can't be opened.*not a database") as raised:
        Store(url)
    assert str(path) in one_line(raised.value)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_left_as_it_was(url: str) -> None:
    path = path_of(url)
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    with pytest.raises(StoreError) as raised:
        Store(url)
    assert str(path) in one_line(raised.value)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]


def test_a_table_of_ours_with_other_columns_is_refused(url: str) -> None:
    path = path_of(url)
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE measurements (kelvin REAL)")
    with pytest.raises(StoreError) as raised:
        Store(url)
    assert str(path) in one_line(raised.value)


def test_a_newer_schema_is_refused(url: str) -> None:
    Store(url).save(measurement())
    with sqlite3.connect(path_of(url)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=f"newer GenComp .schema 9999, this one knows {HEAD}.. Update") as raised:
        Store(url)
    one_line(raised.value)


def test_a_store_of_another_alembic_project_is_not_called_newer(url: str) -> None:
    path = path_of(url)
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('ab12cd34ef56')")
    with pytest.raises(StoreError) as raised:
        Store(url)
    assert str(path) in one_line(raised.value)


@pytest.mark.parametrize("place", ["a_file/store.db", "a_folder"])
def test_a_place_that_can_hold_no_file_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "a_file").write_text("")
    (tmp_path / "a_folder").mkdir()
    with pytest.raises(StoreError, match="can't be opened") as raised:
        Store(f"sqlite:///{tmp_path / place}")
    assert "--store" in one_line(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(StoreError, match="can't be opened") as raised:
        Store(f"sqlite:///{folder / 'store.db'}")
    one_line(raised.value)


@pytest.mark.parametrize("url", ["nonsense", "sqlite", "mysql+nodriver://x/y", "postgres://x/y"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="--store must be a URL such as sqlite:///store.db") as raised:
        Store(url)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["postgresql+nodriver://me:hunter2@localhost/x", "sqlite://me:hunter2@localhost/x.db"])
def test_a_password_is_never_shown(url: str) -> None:
    with pytest.raises(StoreError) as raised:
        Store(url)
    assert "hunter2" not in one_line(raised.value)


def test_a_damaged_document_is_one_clear_line(store: Store) -> None:
    store.save(measurement())
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE measurements SET document = '{\"workload\": '")
    assert len(store.rows()) == 1
    with pytest.raises(StoreError) as raised:
        store.measurement(measurement().signature)
    assert measurement().signature in one_line(raised.value)


N_AT_ONCE = 6


def test_threads_that_make_the_same_store_at_once_all_get_it(shared_url: str) -> None:
    barrier = Barrier(N_AT_ONCE)

    def open_and_save(number: int) -> Measurement:
        barrier.wait()
        found = measurement(pruning(number / 10))
        Store(shared_url).save(found)
        return found

    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        saved = list(pool.map(open_and_save, range(N_AT_ONCE)))
    store = Store(shared_url)
    assert [store.measurement(found.signature) for found in saved] == saved


OPEN_AND_SAVE = """
import sys
import alembic.command
from gencomp_core.store import Store
from tests.made import measurement
from tests.tiny import pruning
print("ready", flush=True)
for url in sys.stdin:
    Store(url.strip()).save(measurement(pruning(float(sys.argv[1]))))
    print("saved", flush=True)
"""


@pytest.mark.parametrize(("kind", "n"), [("file", 8), ("postgresql", 2)])
def test_processes_that_make_the_same_store_at_once_all_get_it(
    kind: str, n: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "file":
        urls = [f"sqlite:///{tmp_path / f'{number}.db'}" for number in range(n)]
    else:
        urls = [postgres.new_database(request.getfixturevalue("postgresql")) for _ in range(n)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_SAVE, f"0.{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    answers = []
    try:
        for question in ["", *urls]:
            for process in started:
                assert process.stdin is not None
                if question and process.poll() is None:
                    process.stdin.write(f"{question}\n")
                    process.stdin.flush()
            for process in started:
                assert process.stdout is not None
                answers.append(process.stdout.readline().strip())
    finally:
        errors = [process.communicate()[1] for process in started]
    assert [error for error in errors if error] == []
    assert answers == ["ready"] * 3 + ["saved"] * 3 * len(urls)
    assert [Store(url).count() for url in urls] == [3] * len(urls)
