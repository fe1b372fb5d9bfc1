"""A PostgreSQL server of one's own, started from Debian's package, for the tests of the store."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

try:
    import psycopg
except ImportError:  # the driver is optional
    psycopg = None  # type: ignore[assignment]

USER = "postgres"
PATIENCE_S = 60.0


def missing() -> bool:
    """Whether there is no server to start, or no driver to reach it with."""
    return psycopg is None or binary("postgres") is None


def binary(name: str) -> str | None:
    """A program of the newest installed server, or None. Debian keeps them away from the path."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(kept[-1]) if kept else shutil.which(name)


@contextmanager
def server() -> Iterator[str]:
    """Folder of the socket of a running server; it ends, and is gone, with the block."""
    folder = Path(tempfile.mkdtemp(prefix="gencomp-pg-"))
    as_user = {"user": USER} if os.geteuid() == 0 else {}  # the server refuses root
    if as_user:
        shutil.chown(folder, USER)
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **as_user}
    options = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50"]
    try:
        subprocess.run([str(binary("initdb")), "-D", data, "-A", "trust", "-U", USER], check=True, **quiet)  # type: ignore[call-overload]
        process = subprocess.Popen([str(binary("postgres")), "-D", data, *options], **quiet)  # type: ignore[call-overload]
        try:
            _wait_until_it_answers(str(folder))
            yield str(folder)
        finally:
            process.send_signal(signal.SIGQUIT)  # at once, whoever is connected
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(socket: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            psycopg.connect(host=socket, user=USER, dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def new_database(socket: str) -> str:
    """URL of a fresh database on a server."""
    name = f"gencomp_{uuid4().hex[:8]}"
    with psycopg.connect(host=socket, user=USER, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql+psycopg://{USER}@/{name}?host={socket}"
