"""What few samples said of a recipe, by signature: a search that is asked again does not ask that again."""

from sqlalchemy import delete, select

from gencomp_core.records import Screening
from gencomp_core.store.schema import screenings
from gencomp_core.store.store import Store


class Screenings:
    """Screenings in a store.

    Args:
        store: that holds them.
    """

    def __init__(self, store: Store) -> None:
        self.engine = store.engine

    def save(self, screening: Screening) -> None:
        """Keep a screening; one with the same signature is replaced."""
        row = {"workload": screening.workload, "document": screening.model_dump_json()}
        with self.engine.begin() as connection:
            connection.execute(delete(screenings).where(screenings.c.signature == screening.signature))
            connection.execute(screenings.insert().values(signature=screening.signature, **row))

    def get(self, signature: str) -> Screening | None:
        """A screening, or None."""
        query = select(screenings.c.document).where(screenings.c.signature == signature)
        with self.engine.connect() as connection:
            document = connection.scalar(query)
        return Screening.model_validate_json(document) if document else None
