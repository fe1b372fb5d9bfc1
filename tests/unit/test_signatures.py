"""A request's signature changes when its numbers would, and only then."""

import json

import pytest

from gencomp_core.analysis.measurement import make_request
from gencomp_core.records import Measurement, measurement
from gencomp_core.services.library import DEMO_FOLDER
from tests.tiny import TinyVAE, pruning, quantization, recipe

GPTQ = quantization(4, rounding="gptq")


def signature(*stages: dict[str, object]) -> str:
    return make_request(TinyVAE(), recipe(*stages), n_samples=60).signature


@pytest.mark.parametrize(
    "stage",
    [GPTQ, quantization(4, layers={"out": {"rounding": "gptq"}}), {"kind": "sparsegpt-pruning", "sparsity": 0.5}],
    ids=["rounding", "rounding of one layer", "stage"],
)
def test_a_new_version_of_a_stage_makes_what_it_measured_stale(
    stage: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, other = signature(pruning(0.5), stage), signature(pruning(0.5), quantization(4))
    monkeypatch.setattr(measurement, "STAGE_VERSIONS", {"gptq": "9", "sparsegpt-pruning": "9"})
    assert signature(pruning(0.5), stage) != before
    assert signature(pruning(0.5), quantization(4)) == other


def test_the_demo_study_stands_under_the_signatures_of_today() -> None:
    lines = (DEMO_FOLDER / "measurements.jsonl").read_text().splitlines()
    found = [Measurement.model_validate(json.loads(line)) for line in lines]
    assert found
    assert all(each.signature == each.request.signature for each in found)
