"""What holds of each page: nothing serious for axe in light and dark, no sideways scroll on a phone, no third party.

A18, A20 and A21 of UX.md. One visit a page, so that it stays quick.
"""

import pytest
from playwright.sync_api import Page, expect

from tools.browser import settled

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PAGES = {
    "": "fashion-diffusion", "sensitivity": "fashion-gan", "explore": "fashion-vae", "gallery": "verses-transformer",
    "pareto": "fashion-diffusion", "compare": "fashion-gan", "studies": "fashion-vae", "recover": "fashion-vae",
    "train": "fashion-vae", "export": "fashion-gan", "lessons": "fashion-vae", "methods": "fashion-vae",
}  # fmt: skip
LOOKS = 4
PHONE = {"width": 390, "height": 844}
OF_STREAMLIT = [["[data-testid=stSidebarNavItems]"]]
"""Its navigation puts the headings of sections into a list, which axe minds (`list`, `listitem`)."""


def serious(page: Page) -> list[str]:
    """Serious and critical findings of axe, as lines."""
    found = axe.Axe().run(page, context={"exclude": OF_STREAMLIT}, options={"resultTypes": ["violations"]})
    return [
        f"{own['id']}: {node['html'][:200]}"
        for own in found.response["violations"]
        if own["impact"] in ("serious", "critical")
        for node in own["nodes"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible_fits_a_phone_and_asks_nobody_else(page: Page, address: str, name: str) -> None:
    foreign: list[str] = []
    page.on("request", lambda r: foreign.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None)
    page.goto(f"{address}/{name}?workload={PAGES[name]}")
    expect(page.locator("h1")).to_be_visible()
    settled(page)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        found = ["not looked yet"]
        for _ in range(LOOKS):  # colours fade while the theme changes
            page.wait_for_timeout(300)
            if not (found := serious(page)):
                break
        assert found == [], theme
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("document.querySelector('.stMain').scrollWidth") <= PHONE["width"]
    expect(page.get_by_text("Traceback")).to_have_count(0)
    assert foreign == []
