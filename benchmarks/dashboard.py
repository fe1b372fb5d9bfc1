"""How quick the dashboard is, in headless Chromium: criteria A1 to A5, A7 to A10 and A21.

Run as `python -m benchmarks.dashboard`; prints one Markdown table. It starts servers of its own on
loopback with a fresh store that holds the recorded demo study.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = ["Overview", "Explore", "Gallery", "Pareto", "Export"]
BUSY = "[data-testid=stStatusWidget]"


@contextmanager
def server(home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """A dashboard on a free port: address, process, seconds until it was healthy."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    environment = {**os.environ, "GENCOMP_HOME": str(home), "GENCOMP_STORE": str(home / "store.db")}
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.02)
        yield address, process, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(10)


def timed(action: Callable[[], object]) -> float:
    """Milliseconds of one action."""
    started = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - started)


def settled(page: Page) -> None:
    """Wait until no script runs."""
    page.wait_for_selector(BUSY, state="detached", timeout=60_000)


def first_text(browser: Browser, address: str) -> float:
    """Milliseconds from a new profile's request to the first heading."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    spent = timed(lambda: (page.goto(address), page.wait_for_selector("h1")))
    context.close()
    return spent


def warm_text(page: Page, address: str) -> float:
    """Milliseconds of a reload in a profile that has the files."""
    return timed(lambda: (page.goto(address), page.wait_for_selector("h1")))


def switch(page: Page, name: str) -> float:
    """Milliseconds from a click in the navigation to the other page's heading, all of it drawn."""
    heading = page.locator("h1").first.inner_text()

    def act() -> None:
        page.get_by_role("link", name=name, exact=True).click()
        page.wait_for_function("before => document.querySelector('h1')?.innerText !== before", arg=heading)

    spent = timed(act)
    settled(page)
    return spent


def new_picture(page: Page, act: Callable[[], object]) -> float:
    """Milliseconds until the last picture of the page has another source."""
    before = page.locator("[data-testid=stImage] img").last.get_attribute("src")

    def wait() -> None:
        act()
        page.wait_for_function(
            "before => { const all = document.querySelectorAll('[data-testid=stImage] img');"
            " return all.length && all[all.length - 1].src !== before && all[all.length - 1].complete; }",
            arg=page.evaluate("path => new URL(path, location.href).href", before),
        )

    return timed(wait)


def slide(page: Page, label: str, key: str) -> None:
    """Press an arrow key on a slider."""
    page.get_by_role("slider", name=label).press(key)


def loads_torch(process: subprocess.Popen[bytes]) -> bool:
    """Whether the server has loaded torch's library."""
    return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()


def row(criterion: str, what: str, values: list[float], unit: str, aim: str) -> None:
    """Print one row: median, p95 where there are enough values, count."""
    ordered = sorted(values)
    p95 = f"{ordered[int(0.95 * (len(ordered) - 1))]:,.0f}" if len(ordered) >= 20 else "–"
    print(
        f"| {criterion} | {what} | {statistics.median(values):,.0f} | {p95} | {len(values)} | {unit} | {aim} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    print("| # | what | median | p95 | n | unit | aim |\n|---|---|---|---|---|---|---|")
    starts = []
    for _ in range(7):
        with tempfile.TemporaryDirectory() as home, server(Path(home)) as (_, _, seconds):
            starts.append(1000 * seconds)
    row("A1", "server start to healthy", starts, "ms", "≤ 5000")
    with tempfile.TemporaryDirectory() as home, server(Path(home)) as (address, process, _), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        first_text(browser, address)  # the very first visit also makes the store
        row("A2", "first text, new profile", [first_text(browser, address) for _ in range(7)], "ms", "≤ 2500")
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        foreign: list[str] = []
        page.on(
            "request", lambda r: foreign.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None
        )
        frames: list[int] = []
        page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(len(data))))
        warm_text(page, address)
        row("A2", "first text, warm", [warm_text(page, address) for _ in range(7)], "ms", "≤ 1000")
        settled(page)
        spent = [switch(page, PAGES[turn % 5]) for turn in range(1, 25) if PAGES[turn % 5] != "Explore"]
        row("A3", "page switch on stored data", spent, "ms", "≤ 800")
        print(
            f"| A10 | torch in the server after browsing | {'loaded' if loads_torch(process) else 'not loaded'} | – | 1 | – | not loaded |"
        )
        pareto(page, address, frames)
        stored_slider(page, address)
        computed_slider(page, address)
        print(f"| A21 | requests to third parties | {len(foreign)} | – | 1 | requests | 0 |")
        browser.close()


def pareto(page: Page, address: str, frames: list[int]) -> None:
    """A7 on the frontier, and A8 on the page with the most points there is."""
    page.goto(f"{address}/pareto?workload=fashion-vae")
    page.wait_for_selector(".scatterlayer .point")
    settled(page)
    clicks, sizes = [], []
    for turn in range(7):
        point = page.locator(".scatterlayer .trace .points path").nth(2 + 3 * turn)
        heading = page.locator("h2, h3").last.inner_text() if page.locator("h3").count() else ""
        frames.clear()

        def click(point=point, heading=heading) -> None:  # type: ignore[no-untyped-def]
            point.click(force=True)
            page.wait_for_function(
                "before => { const all = document.querySelectorAll('h3'); return all.length && "
                "all[all.length - 1].innerText !== before; }",
                arg=heading,
                timeout=10_000,
            )

        clicks.append(timed(click))
        settled(page)
    row("A7", "chart click to detail", clicks, "ms", "≤ 500")
    reruns = []
    for _ in range(7):
        frames.clear()
        reruns.append(
            timed(lambda: (page.get_by_text("Only the frontier").click(), page.wait_for_timeout(20), settled(page)))
        )
        sizes.append(sum(frames) / 1000)
    row("A8", "rerun of the Pareto page (64 points; no heatmap page yet)", reruns, "ms", "≤ 600")
    row("A8", "of that over the socket", sizes, "kB", "≤ 50")


def stored_slider(page: Page, address: str) -> None:
    """A4: bits from 8 to 2 per channel are all on record; A9 on the picture."""
    page.goto(f"{address}/explore?workload=fashion-vae&explore.bits=8")
    page.wait_for_selector("[data-testid=stImage] img")
    settled(page)
    pictures: list[int] = []
    page.on("response", lambda r: pictures.append(len(r.body())) if "/media/" in r.url else None)
    spent = []
    for turn in range(24):
        spent.append(
            new_picture(
                page,
                lambda turn=turn: slide(page, "Bits per weight", "ArrowRight" if turn // 6 % 2 == 0 else "ArrowLeft"),
            )
        )
        settled(page)
    row("A4", "slider to stored picture", spent, "ms", "≤ 350 p50, ≤ 700 p95")
    row("A9", "one 64-sample panel", [size / 1000 for size in pictures], "kB", "≤ 150")


def computed_slider(page: Page, address: str) -> None:
    """A5: 15 % sparsity and its odd neighbours are not on record, so every picture is made anew."""
    for workload, what in (
        ("fashion-vae", "64 samples of the VAE"),
        ("fashion-diffusion", "16 samples, 4 steps, of the diffusion model"),
    ):
        page.goto(f"{address}/explore?workload={workload}&explore.bits=7&explore.sparsity=15&explore.affine=true")
        page.wait_for_selector("[data-testid=stImage] img", timeout=60_000)
        page.wait_for_timeout(20_000 if workload == "fashion-diffusion" else 5_000)  # what fills in behind
        spent = []
        for _ in range(9):
            spent.append(new_picture(page, lambda: slide(page, "Sparsity", "ArrowRight")))
            page.wait_for_timeout(500)
        row("A5", f"slider to picture computed anew: {what}", spent, "ms", "≤ 600")


if __name__ == "__main__":
    main()
