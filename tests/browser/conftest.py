"""The real app on loopback, driven in Debian's Chromium: one server for all browser tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gencomp_core.services import jobs
from gencomp_core.store import Store
from tools.browser import ROOT, chromium, dashboard

PATIENCE_MS = int(
    os.environ.get("GENCOMP_PATIENCE_MS", "90_000")
)  # machines that run tests are shared; how quick the app is, benchmarks/dashboard.py tells
SCREENS = ROOT / "screens" / "tests"
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = chromium(play)
        if browser is None:
            pytest.skip("browser tests need Debian's chromium: apt-get install chromium")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its store."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def address(browser: Browser, home: Path) -> Iterator[str]:
    """A server with a home and store of its own; before the first test nothing has visited it."""
    with dashboard(home) as running:
        yield running.address
    store = Store(f"sqlite:///{home}/store.db")
    for job in jobs.everyone(store):
        if job.is_active:  # a job outlives its server
            jobs.cancel(store, job.id)
    printed = running.log.read_text()  # a closed browser leaves tracebacks of the web server's own
    assert not any(f"{folder}/" in printed for folder in ("pages", "gencomp_core")), printed


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A new profile; what it showed in the end is kept as a picture."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    yield page
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{request.node.name.replace('/', '-')[:100]}.jpg", type="jpeg", quality=70)
    context.close()
