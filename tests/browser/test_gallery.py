"""The Gallery as people use it: modes, order, several configurations, and links that open the same view."""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from tools.browser import settled

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PICTURES = "[data-testid=stImage] img"


def choose(page: Page, name: str) -> None:
    page.get_by_test_id("stMain").get_by_role("radio", name=name, exact=True).click()
    settled(page)


def test_a_second_configuration_joins_and_every_mode_shows_both(page: Page, browser: Browser, address: str) -> None:
    page.goto(f"{address}/gallery?workload=fashion-vae")
    expect(page.locator(PICTURES)).to_have_count(2)
    settled(page)
    page.get_by_role("combobox", name="Configurations").click()
    page.get_by_role("option").nth(1).click()
    expect(page.locator(PICTURES)).to_have_count(3)
    page.keyboard.press("Escape")
    settled(page)
    choose(page, "worst first")
    expect(page.get_by_text("Changed most of the same seeds")).to_be_visible()
    choose(page, "difference")
    expect(page.locator(PICTURES)).to_have_count(2)
    choose(page, "drag handle")
    expect(page.get_by_text("Drag the handle")).to_be_visible()
    choose(page, "flip")
    expect(page.locator(PICTURES)).to_have_count(1)
    settled(page)
    before = page.locator(PICTURES).get_attribute("src")
    page.get_by_role("button", name="Flip").click()
    expect(page.locator(PICTURES)).not_to_have_attribute("src", str(before))

    settled(page)
    context = browser.new_context()
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator(PICTURES)).to_have_attribute("src", str(page.locator(PICTURES).get_attribute("src")))
    expect(other.get_by_role("radio", name="flip", exact=True)).to_be_checked()
    context.close()


def test_a_link_opens_a_step_of_the_denoising(page: Page, address: str) -> None:
    query = urlencode({"workload": "fashion-diffusion", "gallery.mode": "denoising", "gallery.step": 4})
    page.goto(f"{address}/gallery?{query}")
    expect(page.locator(PICTURES)).to_have_count(2)
    slider = page.get_by_role("slider", name="Steps done")
    expect(slider).to_have_value("4")
    before = str(page.locator(PICTURES).last.get_attribute("src"))
    slider.press("ArrowRight")
    expect(page.locator(PICTURES).last).not_to_have_attribute("src", before)
    expect(page.get_by_text("After step 5:")).to_be_visible()


def test_a_malformed_link_opens_the_gallery_as_it_is(page: Page, address: str) -> None:
    query = urlencode({"workload": "fashion-vae", "gallery.mode": "upside down", "gallery.configurations": "nothing"})
    page.goto(f"{address}/gallery?{query}")
    expect(page.locator(PICTURES)).to_have_count(2)
    expect(page.get_by_role("radio", name="side by side", exact=True)).to_be_checked()
