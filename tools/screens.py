"""One picture of each page, for the documentation and for looking at: `make screens`.

`python -m tools.screens` writes the pictures of docs/screens/. With `--all` every page is taken at three widths,
light and dark, into the git-ignored folder `screens/`.
"""

import argparse
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tools.browser import ROOT, chromium, dashboard, settled

DOCUMENTED = ROOT / "docs" / "screens"
LOOKED_AT = ROOT / "screens"
LARGEST_BYTES = 150_000
VIEWS = {
    "overview": "?workload=fashion-diffusion",
    "sensitivity": "sensitivity?workload=fashion-diffusion",
    "explore": "explore?workload=fashion-diffusion&explore.bits=4",
    "gallery": "gallery?workload=fashion-diffusion",
    "gallery-texts": "gallery?workload=verses-transformer",
    "pareto": "pareto?workload=fashion-diffusion",
    "compare": "compare?workload=fashion-diffusion",
    "studies": "studies?workload=fashion-vae",
    "recover": "recover?workload=fashion-diffusion",
    "train": "train?workload=fashion-diffusion",
    "export": "export?workload=fashion-vae",
    "lessons": "lessons",
    "methods": "methods",
}
Theme = Literal["light", "dark"]


@dataclass(frozen=True)
class Size:
    """Pixels of a window."""

    width: int
    height: int


SIZES = (Size(1280, 720), Size(1920, 1080), Size(390, 844))


def take(browser: Browser, url: str, *, size: Size, theme: Theme = "light", whole: bool = False) -> bytes:
    """WEBP of a page after everything on it was drawn.

    Args:
        whole: as long as the page is, instead of what the window shows.
    """
    context = browser.new_context(
        viewport={"width": size.width, "height": size.height}, color_scheme=theme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("h1", timeout=90_000)
    drawn(page)
    if whole:
        height = page.evaluate("document.querySelector('.stMainBlockContainer').scrollHeight")
        page.set_viewport_size({"width": size.width, "height": min(int(height) + 80, 4000)})
        page.wait_for_timeout(800)
    content = page.screenshot()
    context.close()
    stream = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(stream, "WEBP", quality=82, method=6)
    return stream.getvalue()


def drawn(page: Page) -> None:
    """Wait until scripts have ended, and the page has stood still for a while."""
    before = ""
    for _ in range(20):
        settled(page)
        page.wait_for_timeout(1500)
        now = page.locator(".stMain").inner_text()
        if now == before:
            return
        before = now


def main(arguments: Sequence[str] | None = None) -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="page", help=f"of {', '.join(VIEWS)}; all without one")
    parser.add_argument("--all", action="store_true", help="three widths, light and dark, whole pages")
    chosen = parser.parse_args(arguments)
    names = chosen.pages or list(VIEWS)
    folder = LOOKED_AT if chosen.all else DOCUMENTED
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, dashboard(Path(home)) as running, sync_playwright() as play:
        browser = chromium(play)
        if browser is None:
            raise SystemExit("pictures need Debian's chromium: apt-get install chromium")
        for name in names:
            url = f"{running.address}/{VIEWS[name].removeprefix('?') and VIEWS[name]}"
            if not chosen.all:
                content = take(browser, url, size=SIZES[0])
                if len(content) > LARGEST_BYTES:
                    raise SystemExit(f"{name} has {len(content):,} bytes; at most {LARGEST_BYTES:,} may be committed")
                (folder / f"{name}.webp").write_bytes(content)
                continue
            for size in SIZES:
                for theme in ("light", "dark"):
                    content = take(browser, url, size=size, theme=theme, whole=True)  # type: ignore[arg-type]
                    (folder / f"{name}-{size.width}-{theme}.webp").write_bytes(content)
        browser.close()


if __name__ == "__main__":
    main()
