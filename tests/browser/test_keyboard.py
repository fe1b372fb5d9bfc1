"""Without a mouse (A19), and a first visit with few clicks (A22), down to the files that come out."""

import io
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from gencomp_core.recipes.recipe import Recipe
from tools.browser import settled

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MOST_TABS = 60


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until an element, or what it holds, has the focus."""
    expect(wanted).to_be_visible()
    for _ in range(MOST_TABS):
        if wanted.evaluate("own => own === document.activeElement || own.contains(document.activeElement)"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{MOST_TABS} presses of Tab did not reach {wanted}")


def go(page: Page, name: str) -> None:
    """Go to another page by Tab and Enter."""
    tab_to(page, page.get_by_test_id("stSidebarNavItems").get_by_role("link", name=name, exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("stSidebarNavItems").locator("[aria-current=page]")).to_contain_text(name)
    settled(page)


def test_a_layer_a_sparsity_a_point_and_an_export_by_keyboard(page: Page, address: str, tmp_path: Path) -> None:
    page.goto(f"{address}/sensitivity?workload=fashion-vae")
    layers = page.get_by_role("combobox", name="Layer (click a bar")
    expect(layers).to_be_visible()
    settled(page)
    tab_to(page, layers)
    before = layers.input_value()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(layers).not_to_have_value(before)
    settled(page)

    go(page, "Explore")
    slider = page.get_by_role("slider", name="Sparsity")
    tab_to(page, slider)
    for value in ("5", "10"):
        page.keyboard.press("ArrowRight")
        expect(slider).to_have_value(value)
    settled(page)

    go(page, "Pareto")
    points = page.get_by_role("combobox", name="Configuration (click a point")
    tab_to(page, points)
    page.keyboard.type("4-bit g64")
    page.keyboard.press("Enter")
    expect(page.locator("h3").first).to_contain_text("4-bit g64")
    settled(page)

    go(page, "Export")
    tab_to(page, page.get_by_role("button", name="Download recipe"))
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    download.value.save_as(tmp_path / "recipe.yaml")
    assert "4-bit g64" in Recipe.from_file(tmp_path / "recipe.yaml").title()


def test_a_first_visit_ends_with_a_tested_artifact_in_few_clicks_and_goes_round(
    page: Page, address: str, tmp_path: Path
) -> None:
    clicks = 0

    def click(place: Locator) -> None:
        nonlocal clicks
        place.click()
        clicks += 1

    page.goto(address)
    settled(page)
    export = page.get_by_role("link", name="Export this configuration")
    before = str(export.get_attribute("href"))
    click(page.get_by_role("combobox", name="Workload"))
    click(page.get_by_role("option", name="fashion-vae", exact=True))
    expect(page.get_by_role("heading", name="How small can Fashion VAE become?")).to_be_visible()
    expect(export).not_to_have_attribute("href", before)
    settled(page)
    click(export)
    expect(page.get_by_role("heading", name="Export", exact=True)).to_be_visible()
    settled(page)
    click(page.get_by_role("button", name="Make the artifact"))
    made = page.get_by_role("button", name="Download", exact=False).filter(has_text="MB")
    expect(made).to_be_visible()
    with page.expect_download() as download:
        click(made)
    assert clicks <= 8
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        name = next(name for name in archive.namelist() if Path(name).name.startswith("recipe."))
        (tmp_path / Path(name).name).write_bytes(archive.read(name))
    recipe = Recipe.from_file(tmp_path / Path(name).name)
    expect(page.get_by_text(f"signature {recipe.signature}")).to_be_visible()

    page.goto(f"{address}/export?workload=fashion-vae")
    expect(page.get_by_role("heading", name="Export", exact=True)).to_be_visible()
    page.locator("[data-testid=stFileUploader] input[type=file]").set_input_files(tmp_path / Path(name).name)
    expect(page.get_by_text(f"signature {recipe.signature}")).to_be_visible()
