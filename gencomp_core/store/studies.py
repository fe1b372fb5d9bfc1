"""Studies in the store, and the measurements of them that failed."""

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, select

from gencomp_core.records import Failure, Study
from gencomp_core.store.schema import failures, studies, study_members
from gencomp_core.store.store import Store


class Studies:
    """The studies of a store."""

    def __init__(self, store: Store) -> None:
        self.engine = store.engine

    def save(self, study: Study) -> None:
        """Keep a study with its members; one of the same id is replaced."""
        with self.engine.begin() as connection:
            connection.execute(delete(study_members).where(study_members.c.study == study.id))
            connection.execute(delete(studies).where(studies.c.id == study.id))
            fields = study.model_dump(exclude={"signatures"}) | {"parameters": json.dumps(study.parameters)}
            connection.execute(studies.insert().values(**fields))
            rows = [
                {"study": study.id, "signature": signature, "position": position}
                for position, signature in enumerate(dict.fromkeys(study.signatures))
            ]
            if rows:
                connection.execute(study_members.insert(), rows)

    def get(self, study_id: str) -> Study | None:
        """A study with its members, or None."""
        found = self._read(study_id)
        return found[0] if found else None

    def all(self) -> list[Study]:
        """Every study, newest first."""
        return self._read()

    def _read(self, study_id: str | None = None) -> list[Study]:
        query = select(studies).order_by(studies.c.created_at.desc(), studies.c.id)
        query = query if study_id is None else query.where(studies.c.id == study_id)
        with self.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            return [
                Study(**row | {"parameters": json.loads(row["parameters"])}, signatures=_members(connection, row["id"]))
                for row in rows
            ]


class Failures:
    """Measurements of a store that could not be made."""

    def __init__(self, store: Store) -> None:
        self.engine = store.engine

    def save(self, failure: Failure) -> None:
        """Keep a failure; a newer one of the same request replaces it."""
        with self.engine.begin() as connection:
            connection.execute(delete(failures).where(failures.c.signature == failure.signature))
            row = failure.model_dump(include={"signature", "workload", "reason", "failed_at"})
            connection.execute(failures.insert().values(**row, document=failure.model_dump_json()))

    def of(self, signatures: Iterable[str]) -> dict[str, Failure]:
        """Failures of these requests, by signature."""
        chosen = list(signatures)
        found: dict[str, Failure] = {}
        with self.engine.connect() as connection:
            for part in _parts(chosen):
                query = select(failures.c.signature, failures.c.document).where(failures.c.signature.in_(part))
                for signature, document in connection.execute(query):
                    found[signature] = Failure.model_validate_json(document)
        return found

    def forget(self, signatures: Iterable[str]) -> None:
        """Remove failures, so that what failed is tried again."""
        with self.engine.begin() as connection:
            for part in _parts(list(signatures)):
                connection.execute(delete(failures).where(failures.c.signature.in_(part)))


def _members(connection: Connection, study_id: str) -> tuple[str, ...]:
    query = (
        select(study_members.c.signature).where(study_members.c.study == study_id).order_by(study_members.c.position)
    )
    return tuple(connection.scalars(query))


def _parts(values: Sequence[str], size: int = 500) -> Iterable[Sequence[str]]:
    """Databases limit the number of values in one statement."""
    return [values[start : start + size] for start in range(0, len(values), size)]
