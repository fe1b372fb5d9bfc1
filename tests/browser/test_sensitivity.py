"""Sensitivity as people use it: a cell of the heatmap opens the card of its layer, and other pages keep the pick."""

import re

import pytest
from playwright.sync_api import Page, expect

from tools.browser import settled

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

CELL = """
(wanted) => {
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {
    if (!plot.data.some(trace => trace.type === 'heatmap')) continue;
    const markers = plot.data.find(trace => trace.customdata);
    const layers = [...markers.customdata].map(own => own[0] ?? own);
    const number = layers.findIndex(layer => layer !== wanted);
    const {xaxis, yaxis} = plot._fullLayout;
    plot.scrollIntoView({block: 'center'});
    const moved = plot.querySelector('.nsewdrag').getBoundingClientRect();
    const x = moved.x + xaxis.d2p(markers.x[number]), y = moved.y + yaxis.d2p(markers.y[number]);
    return {layer: layers[number], x, y};
  }
  return null;
}
"""
"""Where the cell of some layer but the wanted one is on the screen, in the first heatmap."""


def test_a_click_on_a_cell_opens_the_card_of_its_layer(page: Page, address: str) -> None:
    page.goto(f"{address}/sensitivity?workload=fashion-vae&sensitivity.axis=bits")
    settled(page)
    card = page.get_by_text(re.compile(r": damage .* at "))
    expect(card).to_have_count(1)
    shown = card.inner_text().split(",")[0].split(":")[0]
    expect(page.locator(".js-plotly-plot .heatmaplayer").first).to_be_attached()
    page.wait_for_function(f"({CELL})('{shown}') !== null")
    cell = page.evaluate(CELL, shown)
    assert cell["layer"] != shown
    page.mouse.click(cell["x"], cell["y"])
    expect(card).to_have_text(re.compile(rf"^{re.escape(cell['layer'])}\b"))
    page.get_by_role("link", name="Try this level on all layers in Explore").click()
    expect(page).to_have_url(re.compile(r"/explore\?.*explore\.bits="))
