"""BLEU and chrF against sacreBLEU's own command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from gencomp_core.data.verses import load_verses
from gencomp_core.evaluate.bleu import bleu, bleu_counts, bleu_of_counts, bleu_replicates, chrf, chrf_interval
from gencomp_core.evaluate.intervals import centred_interval, resamples


@pytest.mark.parametrize(("metric", "ours"), [("bleu", bleu), ("chrf", chrf)])
def test_a_score_is_that_of_the_command_line(metric: str, ours: object, tmp_path: Path) -> None:
    pairs = load_verses("test", 200)
    (tmp_path / "texts").write_text("\n".join(pairs.archaic))
    (tmp_path / "references").write_text("\n".join(pairs.modern))
    command = [sys.executable, "-m", "sacrebleu", tmp_path / "references", "-i", tmp_path / "texts", "-m", metric]
    printed = subprocess.run([*command, "-w", "6", "-f", "json"], check=True, capture_output=True, text=True).stdout
    document = json.loads(printed)
    assert callable(ours)
    score = ours(pairs.archaic, pairs.modern)
    assert score.value == pytest.approx(document["score"], abs=1e-5)
    assert set(score.signature.split("|")) == set(document["signature"].split("|"))


def test_a_perfect_text_scores_100() -> None:
    texts = load_verses("test", 20).modern
    assert bleu(texts, texts).value == pytest.approx(100)
    assert chrf(texts, texts).value == pytest.approx(100)


def test_counts_of_texts_sum_to_the_score_of_the_corpus() -> None:
    pairs = load_verses("test", 60)
    counts = bleu_counts(pairs.archaic, pairs.modern)
    for part in (slice(0, 60), slice(10, 30), slice(59, 60)):
        expected = bleu(pairs.archaic[part], pairs.modern[part]).value
        assert bleu_of_counts(counts[part].sum(0)) == pytest.approx(expected)


def test_replicates_are_the_scores_of_resampled_texts() -> None:
    pairs = load_verses("test", 40)
    found = bleu_replicates(bleu_counts(pairs.archaic, pairs.modern), n_resamples=5, seed=3)
    for index, value in zip(resamples(40, 5, seed=3).tolist(), found.tolist(), strict=True):
        drawn = [pairs.archaic[i] for i in index], [pairs.modern[i] for i in index]
        assert value == pytest.approx(bleu(*drawn).value)


def test_intervals_of_bleu_are_about_as_wide_as_those_of_sacrebleu() -> None:
    pairs = load_verses("test", 300)
    ours = centred_interval(0.0, bleu_replicates(bleu_counts(pairs.archaic, pairs.modern)))
    theirs = BLEU().corpus_score(list(pairs.archaic), [list(pairs.modern)], n_bootstrap=1000)
    half = json.loads(theirs.format(is_json=True, signature="a:b"))["confidence_var"]
    assert (ours.high - ours.low) / 2 == pytest.approx(half, rel=0.15)


def test_chrf_has_the_value_of_the_corpus_inside_its_interval() -> None:
    pairs = load_verses("test", 100)
    interval = chrf_interval(pairs.archaic, pairs.modern)
    assert interval.value == pytest.approx(chrf(pairs.archaic, pairs.modern).value)
    assert interval.value - interval.low == pytest.approx(interval.high - interval.value)


def test_intervals_of_chrf_are_about_as_wide_as_those_of_sacrebleu() -> None:
    pairs = load_verses("test", 300)
    ours = chrf_interval(pairs.archaic, pairs.modern)
    theirs = CHRF().corpus_score(list(pairs.archaic), [list(pairs.modern)], n_bootstrap=1000)
    half = json.loads(theirs.format(is_json=True, signature="a:b"))["confidence_var"]
    assert (ours.high - ours.low) / 2 == pytest.approx(half, rel=0.6)  # nine degrees of freedom


def test_texts_that_match_nothing_score_zero_for_certain() -> None:
    interval = chrf_interval(["", ""], ["Peace be with you.", "Amen."])
    assert (interval.low, interval.value, interval.high) == (0, 0, 0)
    assert bleu_of_counts(bleu_counts(["", ""], ["Peace be with you.", "Amen."]).sum(0)) == 0
