"""Recorded ablations: what is asked, how it is recorded, judged and read."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gencomp_core.charts.tiles import from_webp
from gencomp_core.data.fashion_mnist import load_split
from gencomp_core.errors import DataError, TrainingError
from gencomp_core.services import ablations as reading
from gencomp_core.training import image_batches, image_tasks
from gencomp_core.training.ablations import ABLATIONS, ARMS, BASES, NOTES, ROWS, Ablation, run_name
from gencomp_core.training.config import load_config
from tests.made_ablations import recorded_ablations, results
from tools import record_ablations

TINY = {"steps": 2, "batch_size": 8, "channels": (16, 16), "latent_dim": 4, "validate_every": 1}


# What is asked


def test_every_strategy_has_an_ablation_or_a_note() -> None:
    assert len(ROWS) == len(set(ROWS)) == 19
    assert {ABLATIONS[name].row for name in ABLATIONS} | {note.row for note in NOTES} == set(ROWS)


@pytest.mark.parametrize("name", list(ABLATIONS))
def test_the_arms_are_valid_configurations_that_differ_in_what_is_asked_alone(name: str) -> None:
    one = ABLATIONS[name]
    asked = one.without.keys() | one.with_.keys()
    for seed in one.seeds:
        without, with_ = (one.config(arm, seed).model_dump() for arm in ARMS)
        differing = {field for field in without if without[field] != with_[field]}
        assert differing
        assert differing - {"save_every"} <= asked
        assert without["seed"] == with_["seed"] == seed
        assert one.equal == "seconds" or without["steps"] == with_["steps"]
    assert {field for fields in (one.base, one.without, one.with_) for field in fields} <= without.keys()


def test_adversarial_losses_are_compared_for_equal_seconds() -> None:
    by_seconds = {name for name in ABLATIONS if ABLATIONS[name].equal == "seconds"}
    assert by_seconds == {name for name in ABLATIONS if ABLATIONS[name].row.startswith("Adversarial")}


def test_arms_that_change_nothing_share_one_run() -> None:
    names = [run_name(config) for name in ABLATIONS for *_, config in ABLATIONS[name].runs()]
    assert len(set(names)) < 0.7 * len(names)
    plain = {run_name(ABLATIONS[name].config("without", 0)) for name in ("depth", "width", "beta")}
    assert len(plain) == 1


def test_a_base_stays_what_it_is_when_a_switch_is_added() -> None:
    config = ABLATIONS["depth"].config("without", 0)
    spelled_out = config.model_validate(config.model_dump())
    assert run_name(config) == run_name(spelled_out)
    assert run_name(config) != run_name(config.model_copy(update={"steps": 7}))


@pytest.mark.parametrize("network", list(BASES))
def test_bases_are_smaller_than_what_ships(network: str) -> None:
    shipped = load_config(network)
    assert BASES[network]["steps"] < shipped.steps
    assert BASES[network]["width"] < 1


# Recording


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shipped images in place of training and test images, and few samples."""
    for module in (image_batches, image_tasks, record_ablations):
        monkeypatch.setattr(module, "load_split", lambda split: load_split("subset"))
    for name, value in {"N_IMAGES": 40, "IMAGES_TOGETHER": 20, "N_REAL": 50, "N_RESAMPLES": 20}.items():
        monkeypatch.setattr(record_ablations, name, value)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, _small: None) -> Ablation:
    made = dataclasses.replace(ABLATIONS["beta"], name="tiny", base=TINY, seeds=(0, 1))
    monkeypatch.setitem(ABLATIONS._entries, "tiny", made)
    return made


def test_an_ablation_is_recorded_read_back_and_resumed(
    tiny: Ablation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    record_ablations.record(["tiny"], runs=runs, out=out)
    assert "4 runs, 4 to be made" in capsys.readouterr().out
    found = reading.recorded(out)
    assert found is not None
    assert list(zip(found.results["arm"], found.results["seed"], strict=True)) == [
        ("without", 0), ("with", 0), ("without", 1), ("with", 1),
    ]  # fmt: skip
    assert (found.results["low"] <= found.results["value"]).all()
    assert (found.results["seconds"] > 0).all()
    assert set(found.curves["quantity"]) == {"loss", "held_out_reconstruction", "held_out_kl"}
    assert set(found.curves["step"]) == {1, 2}
    means = reading.arms(found, "tiny")
    assert set(means["with"]["figures"]) == {"precision", "recall", "active units"}
    assert from_webp(reading.picture("tiny", "with", out) or b"").shape == (57, 289)
    assert not list(runs.rglob("*.pt"))

    def never(*_: object) -> None:
        raise AssertionError("a finished run was made again")

    monkeypatch.setattr(record_ablations, "train", never)
    record_ablations.record(["tiny"], runs=runs, out=out)
    again = reading.recorded(out)
    assert again is not None
    pd.testing.assert_frame_equal(again.results, found.results)
    pd.testing.assert_frame_equal(again.verdicts, found.verdicts)


def test_a_run_that_fails_is_recorded_as_failed(
    tiny: Ablation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = record_ablations.train

    def fragile(config: Any, folder: Path) -> Iterator[Any]:
        if config.beta == 4:
            raise TrainingError("The loss is nan at step 1. Lower learning_rate and resume.")
        yield from honest(config, folder)

    monkeypatch.setattr(record_ablations, "train", fragile)
    record_ablations.record(["tiny"], runs=tmp_path / "runs", out=tmp_path)
    found = reading.recorded(tmp_path)
    assert found is not None
    (verdict,) = reading.overview(found).to_dict("records")
    assert verdict["verdict"] == "failed"
    assert np.isnan(verdict["times_better"])
    assert "with it, seed 0: The loss is nan at step 1" in reading.sentence(verdict)
    assert set(reading.arms(found, "tiny")) == {"without"}


def test_what_was_recorded_of_other_ablations_stays(
    tiny: Ablation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(tiny, name="other", seeds=(0,))
    monkeypatch.setitem(ABLATIONS._entries, "other", other)
    record_ablations.record(["tiny"], runs=tmp_path / "runs", out=tmp_path / "out")
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    record_ablations.record(["other"], runs=tmp_path / "elsewhere", out=tmp_path / "out")
    found = reading.recorded(tmp_path / "out")
    assert found is not None
    assert list(found.verdicts["name"]) == ["tiny", "other"]
    assert reading.picture("tiny", "without", tmp_path / "out") == reading.picture("other", "without", tmp_path / "out")


def test_answers_of_both_arms_are_kept_for_texts() -> None:
    row = {"name": "x", "seed": 0, "status": "finished"}
    samples = [json.dumps([["thou art", "you are", answer]]) for answer in ("you art", "you are")]
    results = pd.DataFrame([row | {"arm": arm, "samples": text} for arm, text in zip(ARMS, samples, strict=True)])
    found = reading.Recorded(results, pd.DataFrame(), pd.DataFrame())
    shown = reading.text_samples(found, "x")
    assert shown.to_dict("list") == {
        "source": ["thou art"], "reference": ["you are"], "without": ["you art"], "with": ["you are"],
    }  # fmt: skip


# Verdicts


def judged(table: pd.DataFrame, curves: pd.DataFrame | None = None) -> dict[str, dict[str, Any]]:
    empty = pd.DataFrame(columns=reading.CURVE_COLUMNS)
    found = reading.verdicts(table, empty if curves is None else curves)
    return {row["name"]: row for row in found.to_dict("records")}


@pytest.mark.parametrize(
    ("name", "without", "with_", "verdict"),
    [
        ("depth", 20.0, 10.0, "helps"),  # FID: lower is better
        ("depth", 10.0, 20.0, "hurts"),
        ("dropout", 20.0, 30.0, "helps"),  # BLEU: higher is better
        ("dropout", 30.0, 20.0, "hurts"),
        ("depth", 10.0, 10.01, "no difference"),
    ],
)
def test_a_verdict_knows_the_direction_of_its_metric(name: str, without: float, with_: float, verdict: str) -> None:
    found = judged(results([without, without * 1.01], [with_, with_ * 1.01], name=name))[name]
    assert found["verdict"] == verdict
    ratio = without / with_ if name == "depth" else with_ / without
    assert found["times_better"] == pytest.approx(ratio)
    assert found["low"] < found["times_better"] < found["high"]


def test_seeds_that_disagree_make_no_verdict() -> None:
    assert judged(results([20, 20], [10, 30]))["depth"]["verdict"] == "no difference"
    assert judged(results([20, 20], [10, 19]))["depth"]["verdict"] == "no difference"


def test_a_lucky_pair_of_seeds_is_not_believed_more_than_its_network() -> None:
    lucky = results([20, 20], [19, 19], noise=1e-6)
    alone = judged(lucky)["depth"]
    unsteady = [results([20, 20], [15, 25], name=name) for name in ("width", "beta")]
    among_others = judged(pd.concat([lucky, *unsteady]))["depth"]
    assert alone["verdict"] == "helps"
    assert among_others["verdict"] == "no difference"


def test_one_seed_takes_the_spread_of_its_network() -> None:
    others = [results([20, 20.2], [15, 15.3], name=name) for name in ("width", "beta")]
    found = judged(pd.concat([results([20], [10]), *others]))["depth"]
    assert (found["n_seeds"], found["verdict"]) == (1, "helps")
    assert found["high"] / found["low"] > 1.02


def test_the_interval_is_that_of_normal_samples_where_the_seeds_agree() -> None:
    """Closed form: both arms vary by 1 % independently, so the log ratio by √2 %; t with one degree is 12.7."""
    found = judged(results([20, 20], [10, 10]))["depth"]
    half = np.log(found["high"] / found["times_better"])
    assert half == pytest.approx(12.706 * np.sqrt(2) * 0.01, rel=0.15)


def test_arms_of_equal_seconds_are_compared_on_their_curves() -> None:
    table = results([8.0, 8.0], [20.0, 20.0], name="wgan-gp")
    table.loc[table["arm"] == "without", "seconds"] = 100.0  # ran on for ten times as long
    points = [
        {"name": "wgan-gp", "arm": arm, "seed": seed, "step": 1, "seconds": t, "quantity": "fid", "value": value}
        for seed in (0, 1)
        for arm, t, value in [("without", 5, 50), ("without", 20, 25), ("with", 5, 40), ("with", 10, 20)]
    ]
    found = judged(table, pd.DataFrame(points))["wgan-gp"]
    at_ten_seconds = np.exp(np.log(50) + (np.log(25) - np.log(50)) / 3)
    assert found["without"] == pytest.approx(at_ten_seconds)
    assert found["times_better"] == pytest.approx(at_ten_seconds / 20)
    assert found["compared"] == "10 s of training each"


# Reading


def written(folder: Path) -> Path:
    recorded_ablations(folder, {"depth": (20, 10)})
    return folder


def test_before_anything_is_recorded_there_is_nothing(tmp_path: Path) -> None:
    assert reading.recorded(tmp_path / "nowhere") is None
    assert reading.picture("depth", "with", tmp_path) is None


def test_the_overview_puts_the_best_first_and_tells_the_question(tmp_path: Path) -> None:
    found = reading.recorded(written(tmp_path))
    assert found is not None
    (row,) = reading.overview(found, "fashion-vae").to_dict("records")
    assert (row["title"], row["question"]) == (ABLATIONS["depth"].title, ABLATIONS["depth"].question)
    assert reading.overview(found, "fashion-gan").empty
    assert reading.sentence(row).startswith("**It helps.** FID is 10.05 with it and 20.10 without (lower is better)")


def test_a_missing_companion_is_named(tmp_path: Path) -> None:
    (written(tmp_path) / "curves.parquet").unlink()
    with pytest.raises(DataError, match=r"curves\.parquet is missing.*record_ablations"):
        reading.recorded(tmp_path)


def test_a_damaged_table_is_named_in_one_line(tmp_path: Path) -> None:
    (written(tmp_path) / "results.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(DataError, match=r"results\.parquet is damaged") as raised:
        reading.recorded(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_table_of_another_version_is_named(tmp_path: Path) -> None:
    path = written(tmp_path) / "verdicts.parquet"
    pd.read_parquet(path).drop(columns="low").to_parquet(path)
    with pytest.raises(DataError, match=r"verdicts\.parquet has no column 'low'"):
        reading.recorded(tmp_path)


def test_every_shipped_network_tells_how_it_was_trained() -> None:
    made = reading.baseline("fashion-gan")
    assert made is not None
    assert made.steps == 12_000
    assert made.minutes > 1
    assert "r1: 0.5" in made.configuration
    assert reading.held_out(made.curve) == "fid"
    assert reading.baseline("no-such-network") is None


@pytest.mark.parametrize("network", list(BASES))
def test_every_field_of_a_configuration_is_explained(network: str) -> None:
    fields = reading.configuration_fields(network).set_index("field")
    assert fields.loc["steps", "meaning"] == "optimizer steps."
    assert fields.loc["steps", "shipped"] == str(load_config(network).steps)
    ours = {field for one in (ABLATIONS[name] for name in ABLATIONS) if one.network == network for field in one.with_}
    unexplained = {field for field in ours if not fields.loc[field, "meaning"]}
    assert unexplained <= {"width", "depth", "attention", "residual", "minibatch_std"}


def test_a_help_text_over_two_lines_is_one() -> None:
    """Two names share their help; the second line belongs to both."""
    text = "Summary.\n\n    Attributes:\n        a, b: first part\n            second part.\n        c: other.\n    "
    assert reading._attributes(text) == {"a": "first part second part.", "b": "first part second part.", "c": "other."}


def test_reading_never_imports_torch() -> None:
    code = (
        "import sys; from gencomp_core.services import ablations;"
        "ablations.recorded(); ablations.baseline('fashion-vae');"
        "ablations.configuration_fields('fashion-gan'); assert 'torch' not in sys.modules; print('light')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "light\n", done.stderr[-2000:]
