"""The dashboard after many moves and with many measurements: criteria A23 and A24.

Run as `python -m benchmarks.dashboard_many`; prints one Markdown table, as `benchmarks.dashboard` does.
"""

import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.dashboard import fact, row, slide
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services import library
from gencomp_core.store import Store
from tools.browser import chromium, dashboard, settled

N_MOVES = 200
N_MEASUREMENTS = 10_000


def many_moves(page: Page, address: str, pid: int) -> None:
    """A23: memory of the server before and after."""
    page.goto(f"{address}/explore?workload=fashion-vae&explore.bits=8")
    page.wait_for_selector("[data-testid=stImage] img")
    settled(page)
    for turn in range(24):  # there and back twice, so that all pictures were shown once
        _there_and_back(page, turn)
    before = psutil.Process(pid).memory_info().rss
    for turn in range(N_MOVES):
        _there_and_back(page, turn)
    grown = (psutil.Process(pid).memory_info().rss - before) / 1e6
    fact("A23", f"server memory after {N_MOVES} more moves", f"{grown:+.0f} MB", "≤ 100 MB")


def _there_and_back(page: Page, turn: int) -> None:
    slide(page, "Bits per weight", "ArrowRight" if turn // 6 % 2 == 0 else "ArrowLeft")
    page.wait_for_timeout(30)
    settled(page)


def many_measurements(browser: Browser) -> None:
    """A24: one measurement under ten thousand seeds and qualities, all under the same conditions."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store = Store(f"sqlite:///{home}/store.db")
        library.add_demo(store)
        rows = [own for own in store.rows("fashion-vae") if own["recipe_signature"] != Recipe().signature]
        source = store.measurement(rows[0]["signature"])
        assert source is not None
        copies = [
            source.model_copy(update={"signature": f"{number:016x}", "size_bytes": source.size_bytes + number})
            for number in range(N_MEASUREMENTS)
        ]
        store.save_many(copies, {}, origin="local")
        with dashboard(home) as running:
            page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
            address = f"{running.address}/pareto?workload=fashion-vae"
            spent = []
            for _ in range(8):
                started = time.perf_counter()
                page.goto(address)
                page.wait_for_selector(".scatterlayer .points path", timeout=120_000)
                spent.append(1000 * (time.perf_counter() - started))
                settled(page)
            row("A24", f"frontier page with {store.count():,} measurements", spent[1:], "ms", "≤ 1500")


def main() -> None:
    """Print the table."""
    print("| # | what | median | p95 | n | unit | aim |\n|---|---|---|---|---|---|---|")
    with sync_playwright() as play:
        browser = chromium(play)
        if browser is None:
            raise SystemExit("this benchmark needs Debian's chromium: apt-get install chromium")
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home, dashboard(Path(home)) as running:
            page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
            page.goto(running.address)
            page.wait_for_selector("h1")
            settled(page)
            many_moves(page, running.address, running.process.pid)
        many_measurements(browser)
        browser.close()


if __name__ == "__main__":
    main()
