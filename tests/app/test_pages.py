"""Every page with every state of the store: no traceback, and the next step is named (UX.md, A10, A16, A17)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test

from gencomp_core.charts.tiles import tile, to_webp
from gencomp_core.recipes.stages import STAGES
from gencomp_core.services import ablations as reading
from gencomp_core.services import library, pictures
from gencomp_core.services.pictures import recorded_pictures
from gencomp_core.store import Store
from gencomp_core.training.ablations import ABLATIONS
from tests.made import latency, measurement, runtime_quality
from tests.made_ablations import RECORDED, recorded_ablations
from tests.tiny import pruning, quantization

ROOT = Path(__file__).parents[2]
PAGES = (
    "overview",
    "sensitivity",
    "explore",
    "gallery",
    "pareto",
    "compare",
    "studies",
    "recover",
    "train",
    "lessons",
    "methods",
    "export",
)
WORKLOAD = "fashion-vae"
TEXT_WORKLOAD = "verses-transformer"
SECONDS = 60

Fill = Callable[[Path], None]


def empty(path: Path) -> None:
    store_of(path)


def dense_only(path: Path) -> None:
    store_of(path).save(measurement())


def thirty(path: Path) -> None:
    rows = [measurement()]
    rows += [
        measurement(pruning(number / 40), size_bytes=900_000 - 20_000 * number, fid=10 + number / 3)
        for number in range(1, 30)
    ]
    store_of(path).save_many(rows, {}, origin="local")


def failed_only(path: Path) -> None:
    store_of(path).save(measurement(quantization(2), fid=None))


def failed_among_others(path: Path) -> None:
    thirty(path)
    store_of(path).save(measurement(quantization(2), size_bytes=50_000, fid=None))


def without_latency(path: Path) -> None:
    found = [measurement(), measurement(quantization(4), size_bytes=200_000)]
    bare = [one.model_copy(update={"latency": ()}) for one in found]
    store_of(path).save_many(bare, {}, origin="local")


def damaged(path: Path) -> None:
    thirty(path)
    with store_of(path).engine.begin() as connection:
        connection.exec_driver_sql("UPDATE measurements SET document = '{\"workload\": '")


def no_database(path: Path) -> None:
    path.write_text("this is no database, but a longer text\n" * 30)


def newer(path: Path) -> None:
    with store_of(path).engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")


def demo(path: Path) -> None:
    store = store_of(path)
    if not library.add_demo(store):
        pytest.skip("the demo study is not recorded yet")


STATES: dict[str, Fill] = {
    fill.__name__: fill
    for fill in (
        empty,
        dense_only,
        thirty,
        failed_only,
        failed_among_others,
        without_latency,
        damaged,
        no_database,
        newer,
        demo,
    )
}
UNREADABLE = ("no_database", "newer")
WITHOUT_STORE = ("train", "methods")


def store_of(path: Path) -> Store:
    return Store(f"sqlite:///{path}")


class Navigated(PagesManager):
    """AppTest forgets before every run that `st.navigation` was called, which a server does not.

    The pages would then start over through app.py, and a click would be lost on the way.
    """

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        PagesManager.uses_pages_directory = False


@pytest.fixture(autouse=True)
def _running_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_test, "PagesManager", Navigated)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File of the store that the pages will open."""
    made = tmp_path / "pages.db"
    monkeypatch.setenv("GENCOMP_STORE", str(made))
    return made


@pytest.fixture
def measured(path: Path, real_study: Path) -> Path:
    """A store with real measurements and their pictures."""
    shutil.copy(real_study, path)
    return path


def open_page(page: str, *, workload: str = WORKLOAD, **query: str) -> AppTest:
    """The app, gone to a page as a person would."""
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SECONDS)
    at.session_state["workload"] = workload
    for name, value in query.items():
        at.query_params[name] = value
    if page != "overview":
        at.switch_page(f"pages/{page}.py")
    return at.run()


def text_of(at: AppTest) -> str:
    parts = [*at.title, *at.markdown, *at.info, *at.warning, *at.error, *at.caption, *at.code]
    return "\n".join(str(part.value) for part in parts)


def fine(at: AppTest) -> AppTest:
    assert not at.exception, [f"{error.message}\n{error.stack_trace}" for error in at.exception]
    assert len(at.title) == 1
    assert "Traceback" not in text_of(at)
    return at


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("state", STATES)
def test_a_page_never_shows_a_traceback(page: str, state: str, path: Path, no_demo_unless: None) -> None:
    STATES[state](path)
    at = fine(open_page(page))
    if state in UNREADABLE and page not in WITHOUT_STORE:
        (error,) = at.error
        assert str(path) in error.value
        assert "\n" not in error.value
        assert "GENCOMP_STORE" in text_of(at)


@pytest.fixture
def no_demo_unless(request: pytest.FixtureRequest) -> None:
    """Empty new stores, except for the state that is about the demo study."""
    if request.node.callspec.params["state"] != "demo":
        request.getfixturevalue("no_demo")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("workload", [WORKLOAD, TEXT_WORKLOAD])
def test_a_page_shows_real_measurements(page: str, workload: str, measured: Path) -> None:
    at = fine(open_page(page, workload=workload))
    assert not at.error
    assert "yet" not in text_of(at) or page in ("explore", "export", "studies", "recover", "sensitivity")


# Empty states


@pytest.mark.parametrize("page", ["overview", "gallery", "pareto"])
def test_an_empty_store_names_the_command_and_offers_the_demo_study(page: str, path: Path, no_demo: None) -> None:
    at = fine(open_page(page))
    assert "Load the recorded demo study" in labels(at)
    assert f"python -m gencomp_core evaluate {WORKLOAD}" in text_of(at)
    assert "yet" in at.info[0].value


def test_the_button_of_an_empty_store_brings_the_demo_study(path: Path, tmp_path: Path, no_demo: None) -> None:
    at = open_page("overview")
    library.DEMO_FOLDER.mkdir()
    found = [measurement(), measurement(quantization(4), size_bytes=200_000)]
    (library.DEMO_FOLDER / "measurements.jsonl").write_text("\n".join(one.model_dump_json() for one in found) + "\n")
    at.button[labels(at).index("Load the recorded demo study")].click()
    fine(at.run())
    assert "5.0 × smaller" in text_of(at)
    assert store_of(path).count() == 2


def test_a_new_store_starts_with_the_demo_study_where_it_is_recorded(path: Path) -> None:
    if not (library.DEMO_FOLDER / "measurements.jsonl").exists():
        pytest.skip("the demo study is not recorded yet")
    at = fine(open_page("overview"))
    assert "× smaller" in text_of(at)
    assert at.get("image")


@pytest.mark.parametrize("page", ["explore", "pareto", "export"])
def test_the_account_of_what_was_bought_is_the_same_on_every_page(page: str, path: Path, no_demo: None) -> None:
    found = measurement(
        pruning(0.5),
        size_bytes=600_000,
        transport_bytes=550_000,
        latency=(latency(), latency(runtime="openvino", ran="float × 4", median_ms=1.25)),
        runtime_quality=(runtime_quality(),),
    )
    store = store_of(path)
    store.save_many([measurement(), found], {}, origin="local")
    pictures = {one.signature: {library.SAMPLES: sheet()} for one in (measurement(), found)}
    store.save_many([], pictures, origin="local")
    at = fine(open_page(page, pick=found.signature))
    if page == "pareto":
        chosen = at.selectbox(key="pareto.chosen")
        chosen.select(next(one for one in chosen.options if "50%" in one))
        at = fine(at.run())
    shown = text_of(at)
    assert "What it really bought" in shown
    assert "600 kB written, 550 kB after zstd; dense 1 MB" in shown
    assert "| speed in openvino | 1 M multiplications, as many as dense | 1.25 ms a sample" in shown
    assert "| FID in openvino | simulated 10.00 | 10.00 [9.50, 10.50], the same by its own samples" in shown


def sheet() -> bytes:
    """A picture of 64 black samples, as it is kept."""
    return to_webp(tile(np.zeros((64, 1, 28, 28), np.uint8)))


def test_export_without_a_pick_offers_the_recommended_one(path: Path, no_demo: None) -> None:
    thirty(path)
    at = fine(open_page("export"))
    assert at.info[0].value == "No configuration is picked yet."
    (take,) = [button for button in at.button if button.label.startswith("Take the recommended one")]
    take.click()
    fine(at.run())
    assert [button.label for button in at.button if button.key == "export.make"] == ["Make the artifact"]
    assert "magnitude-pruning" in text_of(at)


def test_export_without_anything_to_recommend_leads_to_the_frontier(path: Path, no_demo: None) -> None:
    at = fine(open_page("export"))
    assert labels(at) == []
    assert at.info


# What pages say


def test_the_overview_recommends_the_smallest_that_is_surely_good_enough(path: Path, no_demo: None) -> None:
    rows = [
        measurement(),
        measurement(quantization(6), size_bytes=250_000, fid=10.5),
        measurement(quantization(4), size_bytes=100_000, fid=11.0),  # its interval reaches beyond 10 %
    ]
    store_of(path).save_many(rows, {}, origin="local")
    at = fine(open_page("overview"))
    assert "**6-bit per channel** makes it **4.0 × smaller**" in text_of(at)
    assert [metric.label for metric in at.metric][:3] == ["Weights file ↓", "FID ↓", "Latency ↓"]


def test_the_overview_says_so_when_nothing_is_good_enough(path: Path, no_demo: None) -> None:
    store_of(path).save(measurement(quantization(2), size_bytes=100_000, fid=90.0))
    at = fine(open_page("overview"))
    assert "None of the 1 measured configurations is surely within 10%" in at.warning[0].value


def test_pareto_counts_what_it_hides(path: Path, no_demo: None) -> None:
    failed_among_others(path)
    at = fine(open_page("pareto"))
    assert "1 hidden: no weights file, bytes" in text_of(at)


def test_gallery_shows_a_pair_for_a_measured_configuration(measured: Path) -> None:
    at = fine(open_page("gallery"))
    assert len(at.get("image")) == 2
    assert any("same seeds" in caption.value for caption in at.caption)


def test_gallery_shows_four_configurations_in_every_mode(path: Path) -> None:
    demo(path)
    at = fine(open_page("gallery"))
    chosen = at.multiselect(key="gallery.configurations")
    for option in chosen.options[-3:]:
        chosen.select(option)
    fine(at.run())
    assert len(at.get("image")) == 5
    assert len(at.dataframe[0].value) == 5
    for mode, n_pictures in (("difference", 4), ("flip", 1)):
        at.segmented_control(key="gallery.mode").set_value(mode)
        assert len(fine(at.run()).get("image")) == n_pictures
    at.segmented_control(key="gallery.order").set_value("worst first")
    assert any(caption.value.startswith("Changed most") for caption in fine(at.run()).caption)


def test_gallery_without_a_choice_asks_for_one(path: Path) -> None:
    demo(path)
    at = fine(open_page("gallery"))
    at.multiselect(key="gallery.configurations").set_value([])
    assert "Choose a configuration" in fine(at.run()).info[0].value


def test_compare_tells_stages_layers_and_where_both_come_from(path: Path) -> None:
    demo(path)
    at = fine(open_page("compare"))
    names = at.selectbox(key="compare.a").options
    at.selectbox(key="compare.a").select(next(name for name in names if name.startswith("4-bit g64 ·")))
    at.selectbox(key="compare.b").select(next(name for name in names if name.startswith("4-bit g16 ·")))
    at = fine(at.run())
    assert "× smaller" in text_of(at)
    assert len(at.get("plotly_chart")) == 1
    assert list(at.dataframe[0].value["field"]) == ["group_size"]
    assert "group_size: 16" in text_of(at)


def test_compare_follows_a_link_and_forgets_a_malformed_one(path: Path) -> None:
    demo(path)
    at = fine(open_page("compare", **{"compare.a": "nothing · 000000"}))
    assert at.selectbox(key="compare.a").value.startswith("dense")


def texts_of(at: AppTest) -> str:
    return "\n".join(part.proto.body for part in at.get("html"))


def test_gallery_marks_the_words_that_changed_and_shows_source_and_reference(measured: Path) -> None:
    at = fine(open_page("gallery", workload=TEXT_WORKLOAD))
    assert any(metric.label == "BLEU ↑" for metric in at.metric)
    assert any(metric.label == "KL to dense ↓" for metric in at.metric)
    shown = texts_of(at)
    assert all(
        f'<th scope="col">{name}</th>' in shown for name in ("source", "reference", "dense", "3-bit per channel")
    )
    assert "<mark title=" in shown
    assert shown.count('<th scope="row">') == 10
    at.segmented_control(key="gallery.order").set_value("in order")
    assert texts_of(fine(at.run())).index('<th scope="row">1</th>') < texts_of(at).index('<th scope="row">2</th>')


def test_the_frontier_of_texts_shows_what_needs_no_model(measured: Path) -> None:
    at = fine(open_page("pareto", workload=TEXT_WORKLOAD))
    (chart,) = at.get("plotly_chart")
    assert "word table" in chart.proto.spec
    assert "source copied" in chart.proto.spec
    assert "BLEU (higher is better)" in chart.proto.spec


def test_the_frontier_can_be_drawn_against_any_figure_that_was_measured(measured: Path) -> None:
    at = fine(open_page("pareto", workload=TEXT_WORKLOAD))
    chosen = at.selectbox(key="pareto.y")
    assert "KL to dense, nats a piece" in chosen.options
    chosen.select("kl_nats")
    (chart,) = fine(at.run()).get("plotly_chart")
    assert "KL to dense, nats a piece (lower is better)" in chart.proto.spec
    assert "word table" not in chart.proto.spec  # a BLEU, which is no KL


def test_explore_simulates_texts_that_were_not_measured(measured: Path) -> None:
    at = fine(open_page("explore", workload=TEXT_WORKLOAD))
    at.select_slider(key="explore.bits").set_value("2")
    fine(at.run())
    assert any(metric.label == "KL to dense ↓" for metric in at.metric)
    assert "<mark title=" in texts_of(at)


def test_explore_shows_a_stored_measurement_as_measured_and_says_what_it_bought(measured: Path) -> None:
    at = fine(open_page("explore"))
    at.slider(key="explore.sparsity").set_value(50)
    fine(at.run())
    assert "What it really bought" in text_of(at)
    assert any(metric.label == "FID ↓" for metric in at.metric)
    assert len(at.get("image")) == 2


def test_explore_simulates_what_was_not_measured(measured: Path) -> None:
    at = fine(open_page("explore"))
    at.slider(key="explore.sparsity").set_value(30)
    fine(at.run())
    assert any(label.startswith("Measure it over") for label in labels(at))
    assert any(metric.label == "Same-seed PSNR ↑" for metric in at.metric)
    assert f"evaluate {WORKLOAD}" in text_of(at)


def test_a_pick_on_one_page_reaches_the_others(path: Path, no_demo: None) -> None:
    thirty(path)
    at = fine(open_page("pareto"))
    chosen = at.selectbox(key="pareto.chosen")
    label = next(option for option in chosen.options if "20%" in option)
    chosen.select(label)
    fine(at.run())
    fine(at.switch_page("pages/export.py").run())
    assert "**20% magnitude (layer)**" in text_of(at)
    fine(at.switch_page("pages/explore.py").run())
    assert at.slider(key="explore.sparsity").value == 20


def test_two_sessions_share_no_choices(measured: Path) -> None:
    first, second = open_page("explore"), open_page("explore")
    first.slider(key="explore.sparsity").set_value(50)
    fine(first.run())
    fine(second.run())
    assert (first.slider(key="explore.sparsity").value, second.slider(key="explore.sparsity").value) == (50, 0)
    assert "No configuration is picked yet." not in text_of(fine(first.switch_page("pages/export.py").run()))
    assert "50% magnitude" not in text_of(fine(second.switch_page("pages/export.py").run()))


@pytest.mark.parametrize(
    "query",
    [
        {"pareto.cost": "milliseconds"},
        {"pareto.cost": "milliseconds", "pareto.timing": "eager:1"},
        {"pareto.cost": "MACs"},
        {"pareto.cost": "memory"},
        {"pareto.only_frontier": "true"},
        {"pareto.beside": "milliseconds"},
        {"pareto.beside": "nonsense", "pareto.families": "nonsense"},
    ],
)
@pytest.mark.parametrize("fill", [dense_only, thirty, without_latency])
def test_the_frontier_is_shown_whatever_is_on_its_axes(
    fill: Fill, query: dict[str, str], path: Path, no_demo: None
) -> None:
    fill(path)
    at = fine(open_page("pareto", **query))
    assert at.get("plotly_chart")


def test_methods_are_filtered_and_marks_reach_both_charts_and_the_table(path: Path) -> None:
    demo(path)
    at = fine(open_page("pareto", **{"pareto.beside": "milliseconds"}))
    at.multiselect(key="pareto.families").set_value(["quantization"])
    fine(at.run())
    shown = at.dataframe[0].value
    assert set(shown["family"]) == {"dense", "quantization"}
    assert len(at.get("plotly_chart")) == 2
    assert "of other methods hidden" in text_of(at)
    signatures = [label.rpartition(" · ")[2] for label in at.selectbox(key="pareto.chosen").options[:3]]
    full = [row["signature"] for row in store_of(path).rows(WORKLOAD) if row["signature"][:6] in signatures]
    at.session_state["pareto.marked"] = full
    assert len(fine(at.run()).dataframe[0].value) == len(full)
    at.button(key="pareto.clear").click()
    assert len(fine(at.run()).dataframe[0].value) == len(shown)


# Train


@pytest.fixture
def ablations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of recorded ablations; empty at first."""
    monkeypatch.setattr(reading, "FOLDER", tmp_path / "ablations")
    return tmp_path / "ablations"


def test_train_tells_how_the_baseline_was_made_before_any_ablation(ablations: Path, path: Path) -> None:
    at = fine(open_page("train", workload="fashion-gan"))
    assert "was trained for **12,000 steps**" in text_of(at)
    assert "r1: 0.5" in text_of(at)
    assert "There are no recorded ablations yet" in text_of(at)
    assert reading.COMMAND in text_of(at)
    assert "python -m gencomp_core train fashion-gan --config my.yaml --out runs/my" in text_of(at)
    assert at.get("plotly_chart")


@pytest.mark.parametrize("workload", [WORKLOAD, "fashion-diffusion-w50", TEXT_WORKLOAD])
def test_train_shows_each_strategy_with_its_verdict(workload: str, ablations: Path, path: Path) -> None:
    recorded_ablations(ablations)
    at = fine(open_page("train", workload=workload))
    assert not at.error
    network = workload.removesuffix("-w50")
    picks = at.selectbox(key="train.ablation")
    assert picks.options == [name for name in RECORDED if ABLATIONS[name].network == network]
    for name in picks.options:
        at.selectbox(key="train.ablation").select(name)
        text = text_of(fine(at.run()))
        assert ABLATIONS[name].question in text
        assert "after 600 steps, 2 seeds." in text
        assert f"{reading.COMMAND} {name}" in text
        assert len(at.metric) == 4
    at.toggle(key="train.everywhere").set_value(True)
    assert at.run().selectbox(key="train.ablation").options == list(RECORDED)


def test_train_follows_a_link_to_a_strategy(ablations: Path, path: Path) -> None:
    recorded_ablations(ablations)
    at = fine(open_page("train", **{"train.ablation": "beta"}))
    assert at.selectbox(key="train.ablation").value == "beta"
    at = fine(open_page("train", **{"train.ablation": "nonsense"}))
    assert at.selectbox(key="train.ablation").value == "depth"


def test_train_names_a_damaged_table_and_goes_on(ablations: Path, path: Path) -> None:
    recorded_ablations(ablations)
    (ablations / "verdicts.parquet").write_bytes(b"PAR1")
    at = fine(open_page("train"))
    assert "verdicts.parquet is damaged" in at.error[0].value
    assert "was trained for" in text_of(at)
    assert "--config my.yaml" in text_of(at)


# The address


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("overview", {"workload": "nonsense"}),
        ("explore", {"workload": WORKLOAD, "explore.sparsity": "many", "explore.bits": "99", "explore.sharing": "x"}),
        ("explore", {"workload": WORKLOAD, "explore.sparsity": "1000", "explore.affine": "perhaps"}),
        (
            "gallery",
            {"workload": WORKLOAD, "gallery.mode": "upside down", "gallery.size": "9", "gallery.configurations": "x"},
        ),
        (
            "pareto",
            {"workload": WORKLOAD, "pareto.cost": "euros", "pareto.conditions": "x", "pareto.only_frontier": "2"},
        ),
        ("pareto", {"workload": WORKLOAD, "pareto.chosen": "nothing · 000000"}),
    ],
)
def test_a_malformed_address_gives_the_defaults(page: str, query: dict[str, str], measured: Path) -> None:
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SECONDS)
    for name, value in query.items():
        at.query_params[name] = value
    if page != "overview":
        at.switch_page(f"pages/{page}.py")
    at.run()
    fine(at)
    if page == "explore":
        assert at.slider(key="explore.sparsity").value == 0
    if page == "pareto":
        assert at.selectbox(key="pareto.chosen").value is None
        assert at.toggle(key="pareto.only_frontier").value is False


def test_the_address_opens_the_same_view(measured: Path) -> None:
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SECONDS)
    at.query_params["workload"] = WORKLOAD
    at.query_params["explore.sparsity"] = "50"
    at.switch_page("pages/explore.py").run()
    fine(at)
    assert at.sidebar.selectbox(key="workload").value == WORKLOAD
    assert at.slider(key="explore.sparsity").value == 50


def test_a_deep_link_to_a_new_server_goes_through_the_app(path: Path, no_demo: None) -> None:
    thirty(path)
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SECONDS)
    at.session_state["workload"] = WORKLOAD
    PagesManager.uses_pages_directory = True
    at.switch_page("pages/pareto.py").run()
    assert fine(at).title[0].value == "Pareto frontier"
    assert PagesManager.uses_pages_directory is False


def test_methods_shows_every_stage_and_finds_one_by_a_word(path: Path) -> None:
    at = fine(open_page("methods"))
    assert len(at.expander) == len(STAGES)
    at.text_input(key="methods.search").set_value("hessian gptq nothing-like-this")
    assert len(fine(at.run()).expander) == 0
    at.text_input(key="methods.search").set_value("SparseGPT")
    assert [part.label.split("*")[2] for part in fine(at.run()).expander] == ["sparsegpt-pruning"]


def test_methods_draws_a_stage_when_it_is_opened_and_nothing_before(path: Path) -> None:
    assert not fine(open_page("methods")).get("plotly_chart")
    at = fine(open_page("methods", **{"methods.magnitude-pruning": "true"}))
    assert len(at.get("plotly_chart")) == len(recorded_pictures("magnitude-pruning")) > 0
    assert "When it helps." in at.info[0].value
    assert "kind: magnitude-pruning" in text_of(at)


def test_methods_tells_from_which_width_a_format_pays_and_whose_timings_they_are(path: Path) -> None:
    at = fine(open_page("methods", **{"methods.machine": "true"}))
    assert any("pays" in text.value and "channels" in text.value for text in at.markdown)
    assert any("AMD EPYC" in text.value and "one thread" in text.value for text in at.caption)
    assert at.get("plotly_chart")


def test_methods_names_the_command_for_a_stage_without_pictures(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    at = fine(open_page("methods", **{"methods.head-pruning": "true"}))
    assert "There are no recorded pictures of head-pruning yet" in text_of(at)
    assert "python -m tools.record_methods head-pruning" in text_of(at)


def test_methods_names_damaged_pictures_and_goes_on(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    (tmp_path / "head-pruning.json").write_text("{")
    at = fine(open_page("methods", **{"methods.head-pruning": "true"}))
    assert "head-pruning.json holds no pictures" in at.error[0].value
    assert "kind: head-pruning" in text_of(at)


# Speed


BROWSE = """
import sys
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test
class Navigated(PagesManager):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        PagesManager.uses_pages_directory = False
app_test.PagesManager = Navigated
for page in ("overview", "gallery", "pareto", "compare", "studies", "recover", "train", "methods", "export"):
    at = AppTest.from_file("app.py", default_timeout=60)
    at.session_state["workload"] = "fashion-vae"
    if page != "overview":
        at.switch_page(f"pages/{page}.py")
    at.run()
    assert not at.exception, (page, at.exception)
    assert len(at.title) == 1, page
    if page == "export":
        at.button[0].click().run()
        assert at.button(key="export.make"), "nothing was picked"
    heavy = {"torch", "torchvision", "torchmetrics", "accelerate", "alembic"} & sys.modules.keys()
    assert not heavy, (page, heavy)
print("browsed")
"""


def test_browsing_never_imports_torch(measured: Path) -> None:
    environment = {**os.environ, "GENCOMP_STORE": str(measured)}
    done = subprocess.run(
        [sys.executable, "-c", BROWSE], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.stdout.endswith("browsed\n"), done.stderr[-2000:]


def test_a_lesson_shows_nothing_before_the_guess_and_judges_it_then(path: Path) -> None:
    demo(path)
    at = fine(open_page("lessons", lesson="Who shares a scale?"))
    assert not at.get("plotly_chart")
    (button,) = at.button
    assert button.disabled
    at.radio(key="lessons.guess.scales").set_value("64 weights")
    fine(at.run())
    at.button[0].click()
    fine(at.run())
    assert at.success[0].value.startswith("You said “64 weights”, and that is right")
    assert len(at.get("plotly_chart")) == 1


def test_a_lesson_for_a_class_hides_the_controls_below(path: Path) -> None:
    demo(path)
    at = fine(open_page("lessons", lesson="Half the weights, half the file?", present="true"))
    at.button[0].click()
    fine(at.run())
    assert len(at.get("plotly_chart")) == 1
    assert not at.get("download_button")


def test_a_lesson_without_its_evidence_names_what_brings_it(path: Path) -> None:
    dense_only(path)
    at = fine(open_page("lessons", lesson="Choose for a budget"))
    at.radio(key="lessons.guess.budget").set_value("4-bit per channel")
    at.run()
    at.button[0].click()
    at.run()
    assert "Load the recorded demo study" in at.error[0].value
