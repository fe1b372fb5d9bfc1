"""One suite over every runtime: what it samples is what the model samples, and what it can't run it says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gencomp_core.analysis.measurement import Shipped, measure_latency
from gencomp_core.errors import EvaluationError
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtimes import openvino as engine
from gencomp_core.runtimes import own_process
from gencomp_core.runtimes.registry import runtimes
from gencomp_core.runtimes.subject import Subject
from gencomp_core.services.measuring import measure
from gencomp_core.workloads.base import Workload, complete_settings, work
from tests.tiny import TinyDiffusion, TinyGAN, TinyVAE, TinyVerses, activations, quantization, recipe

IMAGES = (TinyDiffusion, TinyGAN, TinyVAE)
INT8 = recipe(quantization(8), activations())
FAST = ((TinyDiffusion, "int8"), (TinyVAE, "int8"), (TinyGAN, "dense"))
SAMPLED = [
    pytest.param(
        kind,
        chosen,
        id=f"{kind.__name__}-{name}",
        marks=()
        if (kind, name) in ((TinyDiffusion, "int8"), (TinyVAE, "int8"), (TinyGAN, "dense"))
        else pytest.mark.slow,
    )
    for kind in IMAGES
    for name, chosen in (("dense", Recipe()), ("int8", INT8))
]
"""Converting takes seconds: the fast ones have every kind of layer, and numbers of both kinds."""
RUNTIMES = [pytest.param(name, marks=pytest.mark.slow) if name == "compile" else name for name in runtimes]
"""Compiling C++ takes half a minute for each network and size."""
FLOAT_LEVELS = {"openvino-bf16": 4.0}
"""Largest mean difference of pixels, of 255, by runtime, for float models; bfloat16 has 8 bits of precision."""
INT8_LEVELS = {"tiny-diffusion": 2, "tiny-gan": 0.01, "tiny-vae": 0.01}
"""The same for integers, by workload. Where two ranges meet in a concatenation, OpenVINO makes them one."""


def samples(workload: Workload, network: nn.Module, n: int) -> torch.Tensor:
    settings = complete_settings(workload, {"steps": 3} if workload.name == "tiny-diffusion" else None)
    images: torch.Tensor = workload.generate(network, 0, n, seed=5, settings=settings)
    return images.float()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("kind", "chosen"), SAMPLED)
def test_a_runtime_samples_what_the_model_samples(runtime: str, kind: type[Workload], chosen: Recipe) -> None:
    workload = kind()
    shipped = Shipped.of(workload, chosen)
    opened = runtimes[runtime](shipped.subject)
    for n in (1, 5):
        difference = (samples(workload, opened.network, n) - samples(workload, shipped.model, n)).abs()
        allowed = FLOAT_LEVELS.get(runtime, 0.01)
        if not chosen.is_dense:
            allowed = max(allowed, INT8_LEVELS[workload.name])
        assert difference.mean() <= allowed, (runtime, n, difference.mean())
    assert opened.ran


WEIGHTS_FILES = {"openvino": "model.bin", "onnxruntime": "weights.bin"}
"""Files that hold the weights of a converted model; the graph beside it does not shrink."""


@pytest.mark.parametrize("runtime", WEIGHTS_FILES)
def test_integers_take_a_byte_each_and_are_named(runtime: str) -> None:
    dense = runtimes[runtime](Subject.dense(TinyGAN()))
    assert dense.ran.startswith("float")
    sizes = [dense.files[WEIGHTS_FILES[runtime]].stat().st_size / sum(p.numel() for p in TinyGAN().model.parameters())]
    for workload in (TinyDiffusion(), TinyGAN()):
        small = runtimes[runtime](Shipped.of(workload, INT8).subject)
        assert "int8" in small.ran
        n_params = sum(p.numel() for p in workload.model.parameters())
        sizes.append(small.files[WEIGHTS_FILES[runtime]].stat().st_size / n_params)
    assert sizes[0] > 3.9
    assert max(sizes[1:]) < 2


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


class DeepVerses(TinyVerses):
    """Two layers of each kind, so that one can go."""

    name = "deep-verses"

    def empty_network(self) -> nn.Module:
        shape = Seq2SeqConfig(dim=32, n_heads=2, encoder_layers=2, decoder_layers=2, feed_forward=2)
        return Seq2Seq(shape).eval()


SMALLER = recipe(
    {"kind": "block-removal", "blocks": ["encoder.1", "decoder.0"]},
    {"kind": "head-pruning", "pruning_ratio": 0.5},
    {"kind": "channel-pruning", "pruning_ratio": 0.25},
    {
        "kind": "low-rank-factorization",
        "rank": 8,
        "layers": {"*.cross_attention.*": {"skip": True}, "embedding": {"skip": True}},
    },
    quantization(8),
    activations(),
)
TEXTS = {
    "dense": (TinyVerses, Recipe(), 1.0),
    "8-bit weights": (TinyVerses, recipe(quantization(8)), 0.9),
    "4-bit weights": (TinyVerses, recipe(quantization(4, granularity="group", group_size=16, symmetric=False)), 0.9),
    "int8": (TinyVerses, INT8, 0.9),
    "smaller and int8": (DeepVerses, SMALLER, 0.9),
}
"""Workload, recipe, and the share of most likely pieces along the references that must be the model's own."""
BYTES_A_WEIGHT = {"dense": 4, "8-bit weights": 1.2, "4-bit weights": 1.1, "int8": 1.2, "smaller and int8": 1.2}
"""A scale of 4 bytes belongs to as few as 16 weights here; the graph itself takes up to 200,000 bytes."""
FAST_TEXTS = {
    "openvino": ("dense", "4-bit weights", "smaller and int8"),
    "openvino-bf16": ("smaller and int8",),
    "onnxruntime": ("dense", "smaller and int8"),
}
WRITTEN = [
    pytest.param(runtime, case, marks=() if case in FAST_TEXTS.get(runtime, ()) else pytest.mark.slow)
    for runtime in runtimes
    if runtime != "eager"
    for case in TEXTS
]


@pytest.mark.parametrize(("runtime", "case"), WRITTEN)
def test_texts_are_what_the_model_writes(runtime: str, case: str) -> None:
    kind, chosen, least = TEXTS[case]
    workload = kind()
    shipped = Shipped.of(workload, chosen)
    opened = runtimes[runtime](shipped.subject)
    network = opened.network
    expected, _, real = workload.log_probs(shipped.model, 0, 4)
    found, _, _ = workload.log_probs(network, 0, 4)
    agreement = (found.argmax(2) == expected.argmax(2))[real].float().mean()
    assert agreement >= (min(least, 0.9) if runtime == "openvino-bf16" else least)
    assert opened.size_bytes < BYTES_A_WEIGHT[case] * sum(p.numel() for p in workload.model.parameters()) + 200_000
    if chosen.is_dense and runtime != "openvino-bf16":
        assert (found - expected)[real].abs().max() < 1e-3
        for beam in (1, 3):
            settings = complete_settings(workload, {"beam": beam})
            written = [workload.decode_exactly(model, 0, 2, settings=settings) for model in (network, shipped.model)]
            assert written[0] == written[1], beam


def test_a_text_workload_without_programs_is_refused_before_anything_is_measured() -> None:
    class Undescribed(TinyVerses):
        programs = None

    with pytest.raises(EvaluationError, match="must describe its programs.*no 'programs'.*Use --runtime eager"):
        measure(Undescribed(), Recipe(), runtimes=["eager", "openvino"], report=lambda _: pytest.fail("measured"))


@pytest.mark.parametrize("runtime", WEIGHTS_FILES)
@pytest.mark.parametrize("kind", [TinyVAE, TinyVerses])
def test_stored_files_run_as_they_are_and_nothing_is_written_beside_them(
    runtime: str, kind: type[Workload], tmp_path: Path
) -> None:
    dense = Subject.dense(kind())
    made = runtimes[runtime](dense)
    for name, path in made.files.items():
        shutil.copy(path, tmp_path / name)
    elsewhere = Subject(dense.workload, dense.model, {}, "another machine")
    stored = runtimes[runtime](elsewhere, stored=tmp_path)
    settings = complete_settings(dense.workload)
    outputs = [str(work(dense.workload, own.network, 0, 2, settings=settings)) for own in (stored, made)]
    assert outputs[0] == outputs[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(made.files)
    (tmp_path / WEIGHTS_FILES[runtime]).unlink()
    with pytest.raises(EvaluationError, match=f"got no {WEIGHTS_FILES[runtime]}. Export the artifact again"):
        runtimes[runtime](elsewhere, stored=tmp_path)


def test_a_converter_that_dies_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    monkeypatch.setattr(own_process.subprocess, "run", lambda command, **options: run(killed, **options))
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
