"""The Sensitivity page: empty, over a small scan, over many layers, over damage; the pick stays with the person."""

# ruff: noqa: F811 (the fixtures of the other pages)

from collections.abc import Iterable
from pathlib import Path

import pytest

from gencomp_core.records import Estimate, LayerOption, LayerScore, Scan, ScanRequest
from gencomp_core.services import jobs, layer_cards
from gencomp_core.store.scores import save_scan
from pages._sensitivity_views import USUAL
from tests.app.test_pages import (  # noqa: F401 (fixtures)
    Navigated,
    _running_server,
    fine,
    labels,
    open_page,
    path,
    store_of,
    text_of,
)

OPTIONS = [LayerOption(sparsity=0.3), LayerOption(sparsity=0.6), LayerOption(bits=8), LayerOption(bits=2)]
WORKLOAD = "fashion-vae"


def made_scan(layers: Iterable[str], *, method: str = "fisher", **changes: object) -> Scan:
    request = ScanRequest(workload=WORKLOAD, weights_hash="0" * 16, method=method, n_samples=4, seed=0)
    fields = {"unit": "nats a piece", "allowance": 0.1, "layers": tuple(layers), "measured_at": "2026-01-01"}
    return Scan(request=request, signature=request.signature, **(fields | changes))


def made_scores(scan: Scan, *, positions: tuple[str | None, ...] = (None, "early", "late")) -> list[LayerScore]:
    def damage(number: int, option: LayerOption) -> Estimate:
        value = (number + 1) * (option.sparsity or 1 / (option.bits or 1)) / 100
        return Estimate(value=value, low=value / 2, high=value * 2)

    return [
        LayerScore(layer=layer, option=option, method=scan.request.method, position=where,
                   damage=damage(number, option), size_bytes=10, dense_size_bytes=40)
        for number, layer in enumerate(scan.layers) for option in OPTIONS for where in positions
    ]  # fmt: skip


def keep(file: Path, scan: Scan, scores: list[LayerScore]) -> None:
    save_scan(store_of(file), scan, scores)


def page(**query: str):
    return fine(open_page("sensitivity", workload=WORKLOAD, **query))


def charts(at) -> int:
    return len(at.get("plotly_chart"))


def test_without_a_scan_the_page_names_the_command_and_offers_to_start(path: Path, no_demo: None) -> None:
    at = page()
    assert "Scan it now" in labels(at)
    assert f"gencomp_core scan {WORKLOAD}" in text_of(at)
    assert "There are no scans of this workload yet" in text_of(at)


def test_a_scan_under_way_is_followed(path: Path, no_demo: None) -> None:
    parameters = {"workload": WORKLOAD, **USUAL}
    store = store_of(path)
    job, is_new = jobs.enqueue(store, "scan", parameters)
    assert is_new
    assert not jobs.enqueue(store, "scan", parameters)[1]  # two clicks make one job
    assert job.command.endswith("scan fashion-vae --axis sparsity --axis bits --method fisher")
    at = page()
    assert "Scan it now" in labels(at)


def test_a_scan_is_shown_with_its_worst_layer_and_both_matrices(path: Path, no_demo: None) -> None:
    scan = made_scan(["encoder.0", "decoder.1", "out"], untouchable={"gate": "belongs to a Gate"})
    keep(path, scan, made_scores(scan))
    at = page()
    assert at.metric[0].delta == "out"
    assert "**out** minds most and **encoder.0** least: 3 × less damage" in text_of(at)
    assert charts(at) >= 3
    assert "nats a piece" in text_of(at)
    assert any("1 that can't be touched" in own.label for own in at.expander)


def test_a_search_counts_what_it_hides(path: Path, no_demo: None) -> None:
    scan = made_scan(["encoder.0", "decoder.1", "out"])
    keep(path, scan, made_scores(scan))
    at = page()
    at.text_input(key="sensitivity.search").set_value("DECODER")
    assert "2 of 3 hidden by the search" in text_of(fine(at.run()))
    at.text_input(key="sensitivity.search").set_value("nothing like it")
    assert "None of the 3 layers contains" in text_of(fine(at.run()))


def test_the_picked_layer_has_a_card_and_stays_picked(path: Path, no_demo: None) -> None:
    scan = made_scan(["encoder.0", "decoder.1", "out"])
    keep(path, scan, made_scores(scan))
    at = page()
    box = next(own for own in at.selectbox if own.label.startswith("Layer"))
    assert box.value == "out"
    assert "**out**" in text_of(at)
    box.set_value("encoder.0")
    assert "**encoder.0**" in text_of(fine(at.run()))
    at.segmented_control(key="sensitivity.axis").set_value("bits")
    assert "**encoder.0**" in text_of(fine(at.run()))


def test_methods_that_disagree_are_warned_of(path: Path, no_demo: None) -> None:
    scan, other = made_scan([f"l{n}" for n in range(6)]), made_scan([f"l{n}" for n in range(6)], method="metric")
    keep(path, scan, made_scores(scan))
    scores = [
        s.model_copy(update={"damage": Estimate(value=-s.damage.value, low=-9, high=9)}) for s in made_scores(other)
    ]
    keep(path, other, scores)
    at = page()
    assert "agree in rank by -1.00 only" in text_of(at)


@pytest.mark.parametrize("n_layers", [1, 200])
def test_one_layer_or_many_and_one_position_or_many(n_layers: int, path: Path, no_demo: None) -> None:
    scan = made_scan([f"layer.{n}" for n in range(n_layers)])
    keep(path, scan, made_scores(scan, positions=(None,)))
    at = page()
    assert charts(at) >= 2
    assert not at.error


def test_a_damaged_scan_is_one_line_and_the_page_goes_on(path: Path, no_demo: None) -> None:
    scan = made_scan(["out"])
    keep(path, scan, made_scores(scan))
    with store_of(path).engine.begin() as connection:
        connection.exec_driver_sql("UPDATE layer_scores SET document = '[{'")
    at = page()
    assert "is damaged" in at.error[0].value
    assert "Scan it now" in labels(at)


def test_the_spread_of_weights_is_read_without_torch() -> None:
    profile = layer_cards.weight_profile(WORKLOAD, "out")
    assert profile is not None
    assert profile.counts.sum() > 0
    assert 0 < profile.share < 1
    assert profile.largest / profile.root_mean_square == profile.outlier_ratio
    assert layer_cards.weight_profile(WORKLOAD, "no.such.layer") is None
    assert layer_cards.weight_profile("no-such-workload", "out") is None
