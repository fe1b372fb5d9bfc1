"""The real app on loopback, driven in Debian's Chromium."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tools.browser import chromium, dashboard

PATIENCE_MS = 90_000  # machines that run tests are shared; how quick the app is, benchmarks/dashboard.py tells
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = chromium(play)
        if browser is None:
            pytest.skip("browser tests need Debian's chromium: apt-get install chromium")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh server with a home and store of its own; nothing has visited it yet."""
    with dashboard(tmp_path_factory.mktemp("home")) as running:
        yield running.address
    printed = running.log.read_text()  # a closed browser leaves tracebacks of the web server's own
    assert not any(f"{folder}/" in printed for folder in ("pages", "gencomp_core")), printed


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new profile."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()
