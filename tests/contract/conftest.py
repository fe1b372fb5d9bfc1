"""Stores that every contract about stores runs over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gencomp_core.store import Store
from tests import postgres


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Socket folder of a PostgreSQL server."""
    if postgres.missing():
        pytest.skip("needs a server and a driver: apt-get install postgresql, pip install 'psycopg[binary]'")
    with postgres.server() as socket:
        yield socket


@pytest.fixture
def url(tmp_path: Path) -> str:
    """URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'folder' / 'store.db'}"


@pytest.fixture(params=["file", "postgresql"])
def shared_url(request: pytest.FixtureRequest, url: str) -> str:
    """URL of a store that several processes can open."""
    return url if request.param == "file" else postgres.new_database(request.getfixturevalue("postgresql"))


@pytest.fixture(params=["file", "memory", "postgresql"])
def store(request: pytest.FixtureRequest, url: str) -> Iterator[Store]:
    """An empty store of each kind."""
    urls = {"file": url, "memory": "sqlite:///:memory:"}
    opened = Store(urls.get(request.param) or postgres.new_database(request.getfixturevalue("postgresql")))
    yield opened
    opened.engine.dispose()
