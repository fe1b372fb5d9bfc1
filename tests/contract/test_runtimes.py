"""One suite over every runtime: what it samples is what the model samples, and what it can't run it says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gencomp_core.analysis.measurement import Shipped, measure_latency
from gencomp_core.errors import EvaluationError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtimes import openvino as engine
from gencomp_core.runtimes.registry import runtimes
from gencomp_core.runtimes.subject import Subject
from gencomp_core.workloads.base import Workload, complete_settings
from tests.tiny import TinyDiffusion, TinyGAN, TinyVAE, TinyVerses, activations, quantization, recipe

IMAGES = (TinyDiffusion, TinyGAN, TinyVAE)
INT8 = recipe(quantization(8), activations())
FLOAT_LEVELS = 0.01
INT8_LEVELS = {"tiny-diffusion": 2, "tiny-gan": 0.01, "tiny-vae": 0.01}
"""Largest mean difference of pixels, of 255. Where two ranges meet in a concatenation, OpenVINO makes them one."""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home that the tests of this file share, so that each model is converted once."""
    return tmp_path_factory.mktemp("converted")


@pytest.fixture(autouse=True)
def _home(home: Path, converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_HOME", str(converted))


def samples(workload: Workload, network: nn.Module, n: int) -> torch.Tensor:
    settings = complete_settings(workload, {"steps": 3} if workload.name == "tiny-diffusion" else None)
    images: torch.Tensor = workload.generate(network, 0, n, seed=5, settings=settings)
    return images.float()


@pytest.mark.parametrize("runtime", list(runtimes))
@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("chosen", [Recipe(), INT8], ids=["dense", "int8"])
def test_a_runtime_samples_what_the_model_samples(runtime: str, kind: type[Workload], chosen: Recipe) -> None:
    workload = kind()
    shipped = Shipped.of(workload, chosen)
    opened = runtimes[runtime](shipped.subject)
    for n in (1, 5):
        difference = (samples(workload, opened.network, n) - samples(workload, shipped.model, n)).abs()
        allowed = FLOAT_LEVELS if chosen.is_dense else INT8_LEVELS[workload.name]
        assert difference.mean() <= allowed, (runtime, n, difference.mean())
    assert opened.ran


def weights_bytes(subject: Subject) -> int:
    """Length of the file that holds the weights of a converted model; the graph beside it does not shrink."""
    return (engine._folder(subject, engine.version("openvino")) / "model.bin").stat().st_size


@pytest.mark.parametrize("kind", IMAGES)
def test_integers_take_a_byte_each_and_are_named(kind: type[Workload]) -> None:
    dense, small = Subject.dense(kind()), Shipped.of(kind(), INT8).subject
    assert runtimes["openvino"](dense).ran.startswith("float")
    assert "int8" in runtimes["openvino"](small).ran
    assert weights_bytes(small) < weights_bytes(dense) / 2


def test_a_latency_says_what_ran_and_how_eager_compares() -> None:
    workload = TinyGAN()
    latency = measure_latency(
        Shipped.of(workload, INT8).subject,
        runtime="openvino",
        batch=2,
        settings=complete_settings(workload),
        rounds=3,
    )
    assert latency.ran == runtimes["openvino"](Shipped.of(workload, INT8).subject).ran
    assert latency.eager_ratio is not None
    assert latency.dense_eager_median_ms != latency.dense_median_ms


def test_texts_are_refused_with_a_next_step() -> None:
    with pytest.raises(EvaluationError, match="openvino runs image generators, got tiny-verses.*Use --runtime eager"):
        runtimes["openvino"](Subject.dense(TinyVerses()))


def test_a_converter_that_dies_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    monkeypatch.setattr(engine.subprocess, "run", lambda command, **options: run(killed, **options))
    with pytest.raises(EvaluationError, match=r"OpenVINO could not convert the model \(signal 11\)"):
        runtimes["openvino"](Subject.dense(TinyGAN(seed=9)))


def test_a_model_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = runtimes["openvino"](Subject.dense(TinyVAE()))
    monkeypatch.setattr(engine, "_convert", lambda *_: pytest.fail("converted again"))
    again = runtimes["openvino"](Subject.dense(TinyVAE()))
    assert (again.ran, again.size_bytes) == (first.ran, first.size_bytes)


def test_a_sampler_that_calls_two_methods_is_refused() -> None:
    class Undeclared(TinyVAE):
        entry = "forward"

    with pytest.raises(EvaluationError, match="the sampler calls generate too"):
        runtimes["openvino"](Subject.dense(Undeclared()))
