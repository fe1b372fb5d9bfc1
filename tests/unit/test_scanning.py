"""The scan as a use case: kept as it goes, resumed by asking again, compared with other methods."""

import json
from collections.abc import Generator

import pytest
from typer.testing import CliRunner

from gencomp_core.analysis.sensitivity.scan import scan_request
from gencomp_core.cli import app
from gencomp_core.compression.layers import weight_layers
from gencomp_core.errors import EvaluationError
from gencomp_core.records import Estimate, LayerOption, LayerScore, Progress, Scan, ScanReport
from gencomp_core.services import scanning
from gencomp_core.services.job_kinds import KINDS
from gencomp_core.services.scores import scan_table, scans_of
from gencomp_core.store import Store
from gencomp_core.store.scores import save_scan
from tests.tiny import TinyGAN

N_POSITIONS = 4  # three shells of the latent, and all of it
LEVELS = {"sparsity": (0.5,), "bits": (8, 2)}
Steps = Generator[Progress, None, ScanReport]


def made_score(layer: str, option: LayerOption) -> LayerScore:
    damage = Estimate(value=1.0, low=1.0, high=1.0)
    return LayerScore(layer=layer, option=option, method="metric", damage=damage, size_bytes=1, dense_size_bytes=4)


@pytest.fixture
def store() -> Store:
    return Store("sqlite:///:memory:")


def finished(steps: Steps) -> ScanReport:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            report: ScanReport = stop.value
            return report


def test_a_scan_is_kept_and_not_computed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finished(scanning.scan(store, TinyGAN(), levels=LEVELS, n_samples=2))
    assert first.n_new == len(first.scores)
    n_layers = len(weight_layers(TinyGAN().model))
    assert sum(score.position is None for score in first.scores) == 3 * n_layers
    monkeypatch.setattr("gencomp_core.analysis.sensitivity.scan.fisher_damages", None)
    again = finished(scanning.scan(store, TinyGAN(), levels=LEVELS, n_samples=2))
    assert again.n_new == 0
    assert again.scores == first.scores
    assert list(dict.fromkeys(score.layer for score in first.scores)) == list(weight_layers(TinyGAN().model))


def test_more_levels_only_cost_what_is_new(store: Store) -> None:
    finished(scanning.scan(store, TinyGAN(), axes=("bits",), levels={"bits": (8,)}, n_samples=2))
    report = finished(scanning.scan(store, TinyGAN(), axes=("bits",), levels={"bits": (8, 4)}, n_samples=2))
    assert report.n_new == len(report.scores) / 2
    assert {score.option for score in report.scores} == {LayerOption(bits=8), LayerOption(bits=4)}


def test_a_scan_that_was_stopped_goes_on_where_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "SECONDS_UNSAVED", 0.0)
    steps = scanning.scan(store, TinyGAN(), method="proxy", levels=LEVELS, n_samples=3)
    for _ in range(12):
        next(steps)
    steps.close()
    (kept,) = scans_of(store, "tiny-gan")
    n_kept = len(scan_table(store, kept))
    assert n_kept >= 10
    report = finished(scanning.scan(store, TinyGAN(), method="proxy", levels=LEVELS, n_samples=3))
    whole = [score for score in report.scores if score.position is None]
    assert sum(1 for _ in whole) == n_kept + report.n_new // N_POSITIONS


def test_methods_are_compared_in_rank(store: Store) -> None:
    finished(scanning.scan(store, TinyGAN(), levels=LEVELS, n_samples=4))
    report = finished(scanning.scan(store, TinyGAN(), method="proxy", levels=LEVELS, n_samples=4))
    (correlation,) = report.rank_correlations
    assert set(correlation.methods) == {"fisher", "proxy"}
    assert correlation.n == 3 * len(weight_layers(TinyGAN().model))
    assert bool(report.warnings) != correlation.trustworthy


def test_the_metric_is_measured_by_the_one_path_and_kept_there(store: Store) -> None:
    workload = TinyGAN()
    request = scan_request(workload, method="metric", n_samples=50)
    names = list(weight_layers(workload.model))
    option = LayerOption(bits=2)
    others = [made_score(name, option) for name in names[1:]]  # so that one layer is left to measure
    kept = Scan(request=request, signature=request.signature, unit="", allowance=0.0, measured_at="2026-01-01")
    save_scan(store, kept, others)
    report = finished(
        scanning.scan(store, workload, method="metric", axes=("bits",), levels={"bits": (2,)}, n_samples=50)
    )
    assert report.n_new == 1
    (row,) = store.rows()
    assert row["stage_kinds"] == "weight-quantization"
    (score,) = [own for own in report.scores if own.layer == names[0]]
    assert (score.damage.value, score.damage.low) == (row["quality_change"], row["change_low"])


def test_a_job_carries_out_a_scan(store: Store) -> None:
    parameters = {"workload": "plugin:tests.tiny:TinyGAN", "axis": ["bits"], "samples": 2}
    result = finished(KINDS["scan"].service()(store, parameters))
    (kept,) = scans_of(store, "plugin:tests.tiny:TinyGAN")
    assert result["signature"] == kept.signature
    assert result["n_new"] == result["n_scores"] > 0


def test_a_level_out_of_range_is_refused_before_anything_is_kept(store: Store) -> None:
    with pytest.raises(EvaluationError, match="must lie between 0 and 1"):
        finished(scanning.scan(store, TinyGAN(), levels={"sparsity": (2.0,)}))
    assert scans_of(store, "tiny-gan") == []


def test_the_command_line_prints_one_document() -> None:
    arguments = ["scan", "plugin:tests.tiny:TinyGAN", "--axis", "bits", "--axis", "joint", "--samples", "2"]
    arguments += ["--levels", "bits=8,2", "--levels", "sparsity=0.5", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["workload"] == "plugin:tests.tiny:TinyGAN"
    assert document["method"] == "fisher"
    assert document["axes"] == ["bits", "joint", "sparsity"]
    assert set(document) >= {"signature", "seconds", "unsafe", "untouchable", "scores", "rank_correlations"}
    first = document["scores"][0]
    assert set(first) >= {"layer", "option", "position", "damage", "size_bytes", "dense_size_bytes"}
    assert set(first["damage"]) == {"value", "low", "high"}


def test_the_command_line_prints_a_table_an_axis() -> None:
    arguments = ["scan", "plugin:tests.tiny:TinyGAN", "--samples", "2", "--levels", "bits=8,2"]
    result = CliRunner().invoke(app, [*arguments, "--levels", "sparsity=0.5"])
    assert result.exit_code == 0, result.output
    assert "damage by sparsity" in result.stdout
    assert "damage by bits" in result.stdout
    for layer in weight_layers(TinyGAN().model):
        assert layer in result.stdout
