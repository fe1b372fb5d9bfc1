"""A report is one page that opens offline, says the numbers of the store, and lets nothing through unescaped."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner

from gencomp_core.cli import app
from gencomp_core.errors import EvaluationError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.reports.page import Report, Section, Tile, cell, render
from gencomp_core.services import library
from gencomp_core.services.exporting import export
from gencomp_core.services.reporting import report_of, write_report
from gencomp_core.store import Store
from gencomp_core.workloads import CATALOG
from tests.tiny import quantization, recipe

EVIL = "<script>alert(1)</script>&\"'"
MOST_BYTES = 6_000_000


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('demo') / 'store.db'}")
    library.add_demo(store)
    return store


class Addresses(HTMLParser):
    """Everything that a browser would fetch for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def fetched(page: str) -> list[str]:
    parser = Addresses()
    parser.feed(re.sub(r"<script.*?</script>", "", page, flags=re.S))
    scripts = re.findall(r"<script[^>]*\ssrc=[^>]*>", page)
    return [address for address in parser.found if not address.startswith("data:")] + scripts


@pytest.mark.parametrize("workload", list(CATALOG))
def test_the_report_of_a_workload_is_one_file_that_opens_offline(demo: Store, workload: str) -> None:
    report = report_of(demo, workload)
    page = render(report)
    assert fetched(page) == []
    assert len(page.encode()) <= MOST_BYTES
    best = library.recommended(comparable(demo, workload), workload)
    title = demo.measurement(best).title if best else "None of"
    assert html.escape(title, quote=False) in html.unescape(page)


def comparable(store: Store, workload: str) -> pd.DataFrame:
    table = library.figures(store, workload)
    return table[table["conditions"] == library.conditions(table)[0]]


@pytest.mark.parametrize("workload", ["fashion-gan", "verses-transformer"])
def test_a_configuration_has_the_numbers_of_its_measurement(demo: Store, workload: str) -> None:
    signature = library.recommended(comparable(demo, workload), workload)
    found = demo.measurement(signature)
    page = html.unescape(render(report_of(demo, signature)))
    assert f"{found.size_bytes:,} (dense {found.dense_size_bytes:,})" in page
    assert f"{found.quality.value:.2f}" in page
    assert f"[{found.quality.low:.2f}, {found.quality.high:.2f}]" in page
    assert library.recipe_of(found).to_yaml() in page
    for latency in found.latency:
        assert f"{latency.median_ms:.1f} ms" in page
    assert found.machine["processor"] in page
    assert ("data:image/webp" in page) == (workload == "fashion-gan")
    assert ("<mark" in page) == (workload == "verses-transformer")


def test_nothing_gets_through_unescaped() -> None:
    figure = go.Figure(go.Scatter(x=[1], y=[1], text=[EVIL], name=EVIL))
    section = Section(
        EVIL, text=[EVIL], figure=figure, alt=EVIL, table=pd.DataFrame({EVIL: [EVIL]}), code={EVIL: EVIL},
        pictures={EVIL: b"RIFF"},
    )  # fmt: skip
    page = render(Report(EVIL, EVIL, [Tile(EVIL, EVIL, EVIL, EVIL)], [section], {EVIL: EVIL}))
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert f'alt="{EVIL}' not in page


def test_a_page_without_charts_has_no_script() -> None:
    page = render(Report("t", "a", [], [Section("s", text=["x"])], {}))
    assert "<script" not in page
    assert len(page) < 10_000


def test_cells_are_for_people() -> None:
    assert [cell(x) for x in (1234567, 0.123456, 12345.6, float("nan"), None, True, "a")] == [
        "1,234,567", "0.1235", "12,346", "", "", "yes", "a",
    ]  # fmt: skip


def test_what_was_not_measured_says_what_to_do(tmp_path: Path) -> None:
    empty = Store(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(EvaluationError, match="Run 'gencomp evaluate fashion-vae'"):
        report_of(empty, "fashion-vae")
    with pytest.raises(EvaluationError, match="--recipe FILE"):
        report_of(empty, "fashion-vae", recipe=recipe(quantization(3)))
    with pytest.raises(EvaluationError, match="can't be written"):
        write_report(Report("t", "a", [], [], {}), tmp_path / "no" / "such" / "folder.html")


def test_an_artifact_is_reported_with_its_self_test(demo: Store, tmp_path: Path) -> None:
    chosen = recipe(quantization(8))
    known = library.stored_for(demo, "fashion-vae", chosen)
    assert known is not None
    folder = tmp_path / "artifact"
    export("fashion-vae", chosen, folder, measurement=known)
    page = html.unescape(render(report_of(demo, str(folder))))
    assert "self-test" in page
    assert f"{known.size_bytes:,}" in page
    with (folder / "weights.safetensors").open("ab") as weights:
        weights.write(b"x")
    with pytest.raises(Exception, match=r"weights\.safetensors changed"):
        report_of(demo, str(folder))


def test_the_command_writes_a_page_and_says_where(tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    out = tmp_path / "r.html"
    done = CliRunner().invoke(app, ["report", "fashion-gan", "--out", str(out), "--store", store, "--json"])
    assert done.exit_code == 0, done.output
    assert out.read_text().startswith("<!doctype html>")
    assert '"answer"' in done.stdout
    assert Recipe().title() == "dense"
