"""One suite over every runtime but eager: what ships is judged by its own samples, once, or refused at once."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gencomp_core.analysis import measurement as measuring
from gencomp_core.analysis.equivalence import verdict
from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.fidelity import psnr
from gencomp_core.printing import runtime_quality_line
from gencomp_core.records import METRICS, Estimate, Progress, RuntimeQuality
from gencomp_core.runtimes.registry import SIMULATING, runtimes
from gencomp_core.runtimes.subject import Opened, Subject
from gencomp_core.services.measuring import measure
from gencomp_core.store import Store
from gencomp_core.workloads.base import complete_settings
from tests.tiny import TinyGAN, TinyVerses, activations, quantization, recipe

INT8 = recipe(quantization(8), activations())
N = 60
OTHERS = [name for name in runtimes if name != SIMULATING]
SLOW = {"compile": pytest.mark.slow}
"""It compiles C++."""


@pytest.fixture
def store() -> Store:
    return Store(os.environ["GENCOMP_STORE"])


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A runtime "other" that runs what the test puts in: a change to the model, or an error."""
    put_in: dict[str, Any] = {}

    def open_other(subject: Subject, *, stored: Path | None = None) -> Opened:
        if "error" in put_in:
            raise EvaluationError(str(put_in["error"]))
        network = copy.deepcopy(subject.model)
        with torch.no_grad():
            for value in network.parameters():
                value += put_in.get("damage", 0.0)
        return Opened(network, "something else")

    monkeypatch.setitem(runtimes._entries, "other", open_other)
    yield put_in


def judged(runtime: str, **options: Any) -> RuntimeQuality:
    (found,) = measure(TinyGAN(), INT8, n_samples=N, runtimes=[runtime], batches=[], **options).runtime_quality
    return found


@pytest.mark.parametrize("runtime", [pytest.param(name, marks=SLOW.get(name, ())) for name in OTHERS])
def test_what_ships_is_judged_by_its_own_samples(runtime: str) -> None:
    workload = TinyGAN()
    found = judged(runtime)
    subject = measuring.Shipped.of(workload, INT8).subject
    opened = runtimes[runtime](subject)
    assert (found.runtime, found.ran, found.size_bytes) == (runtime, opened.ran, opened.size_bytes)
    assert (found.quality.metric, found.quality.n_samples) == ("fid", N)
    settings = complete_settings(workload)
    own = workload.generate(opened.network, 0, N, seed=0, settings=settings)
    simulated = workload.generate(subject.model, 0, N, seed=0, settings=settings)
    assert found.agreement["max_difference"].value == int((own.int() - simulated.int()).abs().max())
    assert found.agreement["psnr_db"].value == pytest.approx(float(psnr(own, simulated).double().mean()))
    assert found.verdict == "same"
    assert found.tolerance == METRICS["fid"].tolerance(found.quality.value - found.change.value)


def test_a_runtime_that_samples_something_else_is_told_apart(other: dict[str, Any]) -> None:
    other["damage"] = 0.05
    found = judged("other")
    assert found.verdict != "same"
    assert abs(found.change_to_simulated.value) > found.tolerance
    assert found.agreement["max_difference"].value > 10
    assert "judge other by this figure" in runtime_quality_line(found)


def test_a_runtime_that_samples_the_same_is_told_the_same(other: dict[str, Any]) -> None:
    found = judged("other")
    assert (found.verdict, found.change_to_simulated.value) == ("same", 0.0)
    assert found.agreement["max_difference"].value == 0
    assert "the same as simulated" in runtime_quality_line(found)


@pytest.mark.parametrize(
    ("change", "better", "said"),
    [
        ((0.3, 0.2, 0.4), "lower", "worse"),
        ((0.3, 0.2, 0.4), "higher", "better"),
        ((-0.3, -0.4, -0.2), "higher", "worse"),
        ((0.3, -0.1, 0.7), "lower", "same"),
        ((0.1, 0.05, 0.15), "lower", "same"),
    ],
)
def test_a_change_counts_outside_its_interval_and_the_tolerance(
    change: tuple[float, float, float], better: str, said: str
) -> None:
    value, low, high = change
    assert verdict(Estimate(value=value, low=low, high=high), tolerance=0.1, better=better) == said


def test_the_tolerance_is_two_percent_of_fid_or_half_a_point_of_bleu() -> None:
    assert METRICS["fid"].tolerance(5.0) == pytest.approx(0.1)
    assert METRICS["bleu"].tolerance(55.0) == 0.5


def test_it_is_measured_once_and_then_read_back(store: Store, other: dict[str, Any]) -> None:
    options = {"store": store, "n_samples": N, "runtimes": ["eager", "other"], "batches": [1]}
    first = measure(TinyGAN(), INT8, **options)
    assert len(first.runtime_quality) == 1
    other["error"] = "opened again"
    assert measure(TinyGAN(), INT8, **options) == first
    assert first.summary()["runtime_quality"][0]["runtime"] == "other"


def test_it_is_added_to_what_was_measured_before(store: Store, other: dict[str, Any]) -> None:
    before = measure(TinyGAN(), INT8, store=store, n_samples=N, runtimes=[])
    after = measure(TinyGAN(), INT8, store=store, n_samples=N, runtimes=["other"], batches=[])
    assert before.runtime_quality == ()
    assert [found.verdict for found in after.runtime_quality] == ["same"]
    assert after.model_copy(update={"runtime_quality": ()}) == before


def test_it_can_be_left_out(store: Store, other: dict[str, Any]) -> None:
    found = measure(TinyGAN(), INT8, store=store, n_samples=N, runtimes=["other"], runtime_quality=False)
    assert found.runtime_quality == ()
    assert [timed.runtime for timed in found.latency] == ["other"]


def test_eager_is_what_was_simulated_and_is_not_judged_again(store: Store) -> None:
    assert measure(TinyGAN(), INT8, store=store, n_samples=N, runtimes=["eager"]).runtime_quality == ()


@pytest.mark.parametrize("workload", [TinyGAN(), TinyVerses()], ids=["image", "text"])
def test_a_runtime_that_can_not_take_the_model_says_so_before_anything_is_sampled(
    workload: TinyGAN, other: dict[str, Any], store: Store
) -> None:
    other["error"] = "other takes no such model. Use --runtime eager."
    seen: list[Progress] = []
    with pytest.raises(EvaluationError, match="other takes no such model"):
        measure(workload, INT8, store=store, n_samples=N, runtimes=["eager", "other"], report=seen.append)
    assert not any("sampling" in progress.what for progress in seen)
    assert store.count() == 0
