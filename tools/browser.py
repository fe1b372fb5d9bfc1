"""A dashboard of one's own on loopback, and Debian's Chromium to drive it: for tests and benchmarks."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, Playwright

ROOT = Path(__file__).parents[1]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HEALTHY_WITHIN_S = 90


@dataclass(frozen=True)
class Dashboard:
    """A running server.

    Attributes:
        address: where it listens.
        process: that serves it.
        seconds: from its start until it was healthy.
        log: what it printed.
    """

    address: str
    process: subprocess.Popen[bytes]
    seconds: float
    log: Path


@contextmanager
def dashboard(home: Path) -> Iterator[Dashboard]:
    """Start the app on a free port with a home and store of its own, and stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "GENCOMP_HOME": str(home), "GENCOMP_STORE": f"sqlite:///{home}/store.db"}
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "app.py",
        "--server.port",
        str(port),
        "--server.headless",
        "true",
    ]
    log = home / "server.log"
    started = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_healthy(address)
        yield Dashboard(address, process, time.perf_counter() - started, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # a thread that computes keeps the server from stopping
            process.kill()
            process.wait()


def chromium(play: Playwright) -> Browser | None:
    """Headless Chromium, or None where it is not installed."""
    path = shutil.which("chromium")
    return play.chromium.launch(executable_path=path, args=FLAGS) if path else None


def settled(page: Page) -> None:
    """Wait until no script runs."""
    page.wait_for_selector("[data-testid=stStatusWidget]", state="detached", timeout=60_000)


def click_point(page: Page, point: Locator) -> None:
    """Click a point of a Plotly chart as a hand does: the chart answers to the pointer that came near it."""
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + 3, y + 3)
    page.mouse.move(x, y)
    page.mouse.click(x, y)


def _wait_until_healthy(address: str) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while True:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
