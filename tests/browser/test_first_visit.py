"""What a new user does: follow a link, move a slider, see samples and bytes change, export."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from gencomp_core.recipes.recipe import Recipe
from tools.browser import click_point, settled

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PAGES = ["Overview", "Explore", "Gallery", "Pareto", "Compare", "Studies", "Export"]
PICTURES = "[data-testid=stImage] img"


def tile(page: Page, label: str) -> str:
    """Value of a metric tile."""
    return (
        page.locator("[data-testid=stMetric]")
        .filter(has_text=label)
        .locator("[data-testid=stMetricValue]")
        .inner_text()
    )


def test_a_deep_link_on_a_fresh_server_opens_that_view_inside_the_app(page: Page, address: str) -> None:
    page.goto(f"{address}/explore?workload=fashion-vae&explore.bits=4&explore.sparsity=30")
    expect(page.get_by_role("heading", name="Explore")).to_be_visible()
    for name in PAGES:
        expect(page.get_by_test_id("stSidebarNavItems").get_by_role("link", name=name, exact=True)).to_be_visible()
    expect(page.get_by_role("slider", name="Sparsity")).to_have_value("30")
    expect(page.locator(PICTURES)).to_have_count(2)


def test_a_slider_changes_samples_and_bytes_and_the_recipe_is_exported(
    page: Page, address: str, tmp_path: Path
) -> None:
    page.goto(f"{address}/explore?workload=fashion-vae")
    expect(page.locator(PICTURES)).to_have_count(2)
    settled(page)
    bytes_before, picture_before = tile(page, "Weights file"), page.locator(PICTURES).last.get_attribute("src")
    slider = page.get_by_role("slider", name="Bits per weight")
    for bits in ("8", "7", "6", "5"):
        slider.press("ArrowRight")
        expect(page.get_by_test_id("stExpander").first).to_be_visible()
        settled(page)
        expect(slider).to_have_attribute("aria-valuetext", bits)
    expect(page.locator(PICTURES).last).not_to_have_attribute("src", picture_before)
    expect(page.locator("[data-testid=stMetricValue]").first).not_to_have_text(bytes_before)
    chosen = Recipe.from_text("stages: [{kind: weight-quantization, bits: 5}]")
    expect(page.get_by_test_id("stCaptionContainer").filter(has_text=f"{chosen.title()}, ")).to_be_visible()
    settled(page)
    page.get_by_role("link", name="Export this configuration").click()
    expect(page.get_by_role("heading", name="Export", exact=True)).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download recipe").click()
    download.value.save_as(tmp_path / "recipe.yaml")
    recipe = Recipe.from_file(tmp_path / "recipe.yaml")
    assert recipe == chosen
    assert recipe.signature in page.get_by_text("signature").first.inner_text()
    assert "Fashion VAE" in page.get_by_text("signature").first.inner_text()


def test_a_configuration_beyond_the_record_is_simulated_and_says_so(page: Page, address: str) -> None:
    page.goto(f"{address}/explore?workload=fashion-vae&explore.bits=7&explore.sparsity=85&explore.affine=true")
    expect(page.get_by_text("simulated", exact=True).first).to_be_visible()
    expect(page.locator(PICTURES)).to_have_count(2)
    expect(page.get_by_role("button", name="Measure it")).to_be_enabled()


def test_malformed_values_in_the_address_give_the_defaults(page: Page, address: str) -> None:
    page.goto(f"{address}/explore?workload=nothing&explore.sparsity=abc&explore.bits=99&explore.scope=%00")
    expect(page.get_by_role("slider", name="Sparsity")).to_have_value("0")
    expect(page.get_by_text("How much can be taken from Fashion diffusion")).to_be_visible()


def test_two_visitors_never_share_choices(browser: Browser, page: Page, address: str) -> None:
    page.goto(f"{address}/explore?workload=fashion-vae&explore.bits=8")
    expect(page.locator(PICTURES)).to_have_count(2)
    context = browser.new_context()
    other = context.new_page()
    other.goto(f"{address}/explore?workload=fashion-vae&explore.bits=3")
    expect(other.locator(PICTURES)).to_have_count(2)
    settled(page)
    settled(other)
    assert tile(page, "Weights file") != tile(other, "Weights file")
    context.close()


def test_a_click_on_the_frontier_shows_that_configuration(page: Page, address: str) -> None:
    page.goto(f"{address}/pareto?workload=fashion-vae")
    page.wait_for_selector(".scatterlayer .points path")
    settled(page)
    click_point(page, page.locator(".scatterlayer .trace .points path").nth(4))
    expect(page.locator("h3")).to_have_count(1)
    expect(page.get_by_text("What it really bought.")).to_be_visible()
