"""The store: measurements by signature, with their latencies and pictures."""

import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError
from sqlalchemy import Connection, Engine, Table, create_engine, delete, event, func, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from gencomp_core.errors import StoreError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Latency, Measurement, RuntimeQuality
from gencomp_core.store.documents import number_at
from gencomp_core.store.schema import latencies, measurements, pictures, runtime_qualities

KNOWN_VERSIONS = ("0001", "0003", "0004", "0005", "0006", "0007")
HEAD = KNOWN_VERSIONS[-1]
MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x67656E63  # any number that other programs on the server don't use
_migrating = threading.Lock()
LISTED = [column for column in measurements.columns if column.name != "document"]


class Store:
    """Measurements, latencies and pictures behind an SQLAlchemy URL.

    Args:
        url: such as `sqlite:///store.db`; tables are made or migrated as needed.

    Raises:
        StoreError: the database can't be opened, or is no GenComp store.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.engine = _engine(url)
            self.is_new = _migrate(self.engine)
        except (SQLAlchemyError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise StoreError(
                f"The store {_shown(url)} can't be opened ({reason}). Move the file away, or name another with --store."
            ) from None

    @property
    def shown_url(self) -> str:
        """The URL without its password, for messages."""
        return _shown(self.url)

    def save(self, measurement: Measurement, *, origin: str = "local") -> None:
        """Keep a measurement under its signature, with its latencies."""
        self.save_many([measurement], {}, origin=origin)

    def save_many(
        self, found: Sequence[Measurement], images: Mapping[str, Mapping[str, bytes]], *, origin: str
    ) -> None:
        """Keep measurements and pictures (by signature and kind) in one transaction."""
        with self.engine.begin() as connection:
            for measurement in found:
                _replace(connection, measurements, {"signature": measurement.signature}, _row(measurement, origin))
                for latency in measurement.latency:
                    _replace(connection, latencies, *_latency_row(measurement.signature, latency))
                for quality in measurement.runtime_quality:
                    _replace(connection, runtime_qualities, *_quality_row(measurement.signature, quality))
            for signature, by_kind in images.items():
                for kind, content in by_kind.items():
                    _replace(connection, pictures, {"signature": signature, "kind": kind}, {"content": content})

    def save_latency(self, signature: str, latency: Latency) -> None:
        """Keep one latency of a stored measurement; a newer one of the same kind replaces it."""
        with self.engine.begin() as connection:
            _replace(connection, latencies, *_latency_row(signature, latency))

    def save_runtime_quality(self, signature: str, quality: RuntimeQuality) -> None:
        """Keep the quality in one runtime of a stored measurement; a newer one of the same kind replaces it."""
        with self.engine.begin() as connection:
            _replace(connection, runtime_qualities, *_quality_row(signature, quality))

    def measurement(self, signature: str) -> Measurement | None:
        """A measurement with all its latencies and its quality in other runtimes, or None.

        Raises:
            StoreError: what is kept of it can't be read.
        """
        with self.engine.connect() as connection:
            document = connection.scalar(select(measurements.c.document).where(measurements.c.signature == signature))
            if document is None:
                return None
            timed = connection.scalars(select(latencies.c.document).where(latencies.c.signature == signature))
            documents = list(timed)
            judged = select(runtime_qualities.c.document).where(runtime_qualities.c.signature == signature)
            judgements = list(connection.scalars(judged))
        try:
            found = {
                "latency": tuple(Latency.model_validate_json(text) for text in documents),
                "runtime_quality": tuple(RuntimeQuality.model_validate_json(text) for text in judgements),
            }
            return Measurement.model_validate_json(document).model_copy(update=found)
        except ValidationError:
            raise StoreError(
                f"Measurement {signature} in the store {_shown(self.url)} is damaged or of another version. "
                "Remove it and measure again; all others can still be used."
            ) from None

    def rows(self, workload: str | None = None) -> list[dict[str, Any]]:
        """Figures of all measurements as plain rows, oldest first, without their documents."""
        query = select(*LISTED).order_by(measurements.c.measured_at, measurements.c.signature)
        if workload:
            query = query.where(measurements.c.workload == workload)
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def fidelity_rows(self, workload: str, name: str) -> list[dict[str, Any]]:
        """One figure of `Measurement.fidelity` as plain rows: signature, value, low, high; none where it is missing."""
        dialect = self.engine.dialect.name
        parts = {
            part: number_at(measurements.c.document, ("fidelity", name, part), dialect=dialect)
            for part in ("value", "low", "high")
        }
        query = select(measurements.c.signature, *(own.label(part) for part, own in parts.items())).where(
            measurements.c.workload == workload, parts["value"].is_not(None)
        )
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def latency_rows(self, workload: str | None = None) -> list[dict[str, Any]]:
        """Median latencies and peak memories as plain rows, with the signature that they belong to."""
        columns: list[Any] = [column for column in latencies.columns if column.name != "document"]
        memory = number_at(latencies.c.document, ("peak_memory_mb",), dialect=self.engine.dialect.name)
        columns.append(memory.label("peak_memory_mb"))
        query = select(*columns).join(measurements, measurements.c.signature == latencies.c.signature)
        if workload:
            query = query.where(measurements.c.workload == workload)
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def count(self) -> int:
        """How many measurements there are."""
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(measurements)) or 0

    def save_picture(self, signature: str, kind: str, content: bytes) -> None:
        """Keep a picture (WEBP) of a measurement's samples."""
        with self.engine.begin() as connection:
            _replace(connection, pictures, {"signature": signature, "kind": kind}, {"content": content})

    def picture(self, signature: str, kind: str) -> bytes | None:
        """A stored picture, or None."""
        query = select(pictures.c.content).where(pictures.c.signature == signature, pictures.c.kind == kind)
        with self.engine.connect() as connection:
            return connection.scalar(query)

    def forget(self, signatures: Iterable[str]) -> None:
        """Remove measurements with their latencies and pictures."""
        chosen = list(signatures)
        with self.engine.begin() as connection:
            for table in (latencies, runtime_qualities, pictures, measurements):
                connection.execute(delete(table).where(table.c.signature.in_(chosen)))


def conditions_of(measurement: Measurement) -> str:
    """What must be equal for two measurements of a workload to be compared, in words."""
    request = measurement.request
    settings = ", ".join(f"{name} {value}" for name, value in sorted(request.settings.items()))
    return f"n={request.n_samples}, seed {request.seed}, {settings}, {request.extractor}, {request.weights_hash[:8]}"


def _row(measurement: Measurement, origin: str) -> dict[str, Any]:
    quality, change = measurement.quality, measurement.quality_change
    return {
        "workload": measurement.workload,
        "conditions": conditions_of(measurement),
        "title": measurement.title,
        "stage_kinds": ",".join(stage["kind"] for stage in measurement.recipe["stages"]),
        "recipe_signature": Recipe.from_dict(measurement.recipe).signature,
        "status": measurement.status,
        "origin": origin,
        "size_bytes": measurement.size_bytes,
        "dense_size_bytes": measurement.dense_size_bytes,
        "sparsity": measurement.sparsity,
        "effective_bits": measurement.effective_bits,
        "macs": measurement.macs,
        "metric": quality.metric if quality else None,
        "quality": quality.value if quality else None,
        "quality_low": quality.low if quality else None,
        "quality_high": quality.high if quality else None,
        "quality_change": change.value if change else None,
        "change_low": change.low if change else None,
        "change_high": change.high if change else None,
        "n_samples": measurement.request.n_samples,
        "measured_at": measurement.measured_at,
        "document": measurement.model_dump_json(exclude={"latency", "runtime_quality"}),
    }


def _latency_row(signature: str, latency: Latency) -> tuple[dict[str, Any], dict[str, Any]]:
    key = {
        "signature": signature,
        "machine": latency.machine,
        "runtime": latency.runtime,
        "batch": latency.batch,
        "threads": latency.threads,
    }
    return key, {"median_ms": latency.median_ms, "document": latency.model_dump_json()}


def _quality_row(signature: str, quality: RuntimeQuality) -> tuple[dict[str, Any], dict[str, Any]]:
    key = {"signature": signature, "machine": quality.machine, "runtime": quality.runtime}
    return key, {"quality": quality.quality.value, "document": quality.model_dump_json()}


def _replace(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Update the row with this key, or insert it."""
    matches = [table.c[name] == value for name, value in key.items()]
    if connection.execute(table.update().where(*matches).values(**values)).rowcount == 0:
        connection.execute(table.insert().values(**key, **values))


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        engine = create_engine(parsed)
    except ModuleNotFoundError as error:
        raise StoreError(f"The store {_shown(url)} needs a driver: run 'pip install {error.name}'.") from None
    except (ArgumentError, NoSuchModuleError):
        raise StoreError(f"--store must be a URL such as sqlite:///store.db, got {_shown(url)!r}.") from None
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: sqlite3.Connection, _: object) -> None:
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(engine: Engine) -> bool:
    """Bring the tables to the newest version; True when there were none before."""
    with _one_at_a_time(engine):
        found = _version(engine)
        if found == HEAD:
            return False
        tables = inspect(engine).get_table_names()
        if found is None and tables:
            raise StoreError(
                f"The store {_shown(str(engine.url))} is the database of another program (it has the table "
                f"{tables[0]!r}). Name another file with --store or GENCOMP_STORE."
            )
        if found is not None and found not in KNOWN_VERSIONS:
            raise StoreError(
                f"The store {_shown(str(engine.url))} was written by a newer GenComp (schema {found}, this one knows "
                f"{HEAD}). Update GenComp, or name another store."
            )
        _upgrade(engine)
        return found is None


def _version(engine: Engine) -> str | None:
    """Schema version of the database, or None where it has none."""
    if not inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)


@contextmanager
def _one_at_a_time(engine: Engine) -> Iterator[None]:
    """Alembic's context is one global per process, and two processes may open a new store together.

    Changing a file to WAL needs it alone and does not wait for others, so that even looking at it is taken in turn.
    """
    with _migrating, _alone(engine):
        yield


def _alone(engine: Engine) -> AbstractContextManager[object]:
    """What keeps other processes from making the same tables now."""
    database = engine.url.database
    if engine.url.get_backend_name() == "postgresql":
        return _advisory_lock(engine)
    on_disk = engine.url.get_backend_name() == "sqlite" and database and database != ":memory:"
    return FileLock(f"{database}.lock") if on_disk else nullcontext()


@contextmanager
def _advisory_lock(engine: Engine) -> Iterator[None]:
    """A lock of the server's, held for as long as this connection's transaction."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        yield


def _shown(url: str) -> str:
    """URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return " ".join(re.sub(r"://[^@/]*@", "://***@", url).split())
