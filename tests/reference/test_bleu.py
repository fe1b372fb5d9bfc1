"""BLEU and chrF against sacreBLEU's own command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gencomp_core.data.verses import load_verses
from gencomp_core.evaluate.bleu import bleu, chrf


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
