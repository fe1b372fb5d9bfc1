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

INT8 = recipe(quantization(8), activations())
SLOW = pytest.mark.slow
IMAGE_CASES = [
    pytest.param(TinyDiffusion, INT8, id="concatenations and attention, int8"),
    pytest.param(TinyGAN, INT8, id="transposed convolutions, int8"),
    pytest.param(TinyGAN, Recipe(), id="transposed convolutions, dense"),
    pytest.param(TinyDiffusion, Recipe(), id="concatenations and attention, dense", marks=SLOW),
    pytest.param(TinyVAE, INT8, id="autoencoder, int8", marks=SLOW),
    pytest.param(TinyVAE, Recipe(), id="autoencoder, dense", marks=SLOW),
]
"""Converting takes ten seconds: those come with every change that fail each in their own way."""
RUNTIMES = [pytest.param(name, marks=SLOW) if name == "compile" else name for name in runtimes]
"""Compiling C++ takes half a minute for each network and size."""
FLOAT_LEVELS = {"openvino-bf16": 4.0}
"""Largest mean difference of pixels, of 255, by runtime, for float models; bfloat16 has 8 bits of precision."""
INT8_LEVELS = {"tiny-diffusion": 2, "tiny-gan": 0.01, "tiny-vae": 0.01}
"""The same for integers, by workload. Where two ranges meet in a concatenation, OpenVINO makes them one."""


def subject_of(workload: Workload, chosen: Recipe) -> Subject:
    return Subject.dense(workload) if chosen.is_dense else Shipped.of(workload, chosen).subject


def samples(workload: Workload, network: nn.Module, n: int) -> torch.Tensor:
    settings = complete_settings(workload, {"steps": 3} if workload.name == "tiny-diffusion" else None)
    images: torch.Tensor = workload.generate(network, 0, n, seed=5, settings=settings)
    return images.float()


WEIGHTS_FILES = {"openvino": "model.bin", "openvino-bf16": "model.bin", "onnxruntime": "weights.bin"}
"""Files that hold the weights of a converted model; the graph beside it does not shrink."""


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("kind", "chosen"), IMAGE_CASES)
def test_a_runtime_samples_what_the_model_samples(runtime: str, kind: type[Workload], chosen: Recipe) -> None:
    workload = kind()
    subject = subject_of(workload, chosen)
    opened = runtimes[runtime](subject)
    for n in (1, 5):
        difference = (samples(workload, opened.network, n) - samples(workload, subject.model, n)).abs()
        allowed = FLOAT_LEVELS.get(runtime, 0.01)
        if not chosen.is_dense:
            allowed = max(allowed, INT8_LEVELS[workload.name])
        assert difference.mean() <= allowed, (runtime, n, difference.mean())
    if runtime not in WEIGHTS_FILES:
        assert opened.ran
        return
    n_bytes = opened.files[WEIGHTS_FILES[runtime]].stat().st_size
    floats = 4 * sum(weight.numel() for weight in workload.model.parameters())
    assert opened.ran.startswith("float") or not chosen.is_dense
    assert ("int8" in opened.ran and n_bytes < floats / 2) or (chosen.is_dense and n_bytes > floats / 2)


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
SOON = {
    ("openvino", "4-bit weights"),
    ("openvino", "smaller and int8"),
    ("openvino-bf16", "smaller and int8"),
    ("onnxruntime", "dense"),
    ("onnxruntime", "smaller and int8"),
}
"""Cases that come with every change; several programs of a text model are converted for each of them."""
TEXT_CASES = [
    pytest.param(runtime, case, marks=() if (runtime, case) in SOON else SLOW)
    for case in TEXTS
    for runtime in runtimes
    if runtime != "eager"
]


@pytest.mark.parametrize(("runtime", "case"), TEXT_CASES)
def test_texts_are_what_the_model_writes(runtime: str, case: str) -> None:
    kind, chosen, least = TEXTS[case]
    workload = kind()
    subject = subject_of(workload, chosen)
    opened = runtimes[runtime](subject)
    network = opened.network
    expected, _, real = workload.log_probs(subject.model, 0, 4)
    found, _, _ = workload.log_probs(network, 0, 4)
    agreement = (found.argmax(2) == expected.argmax(2))[real].float().mean()
    assert agreement >= (min(least, 0.9) if runtime == "openvino-bf16" else least)
    assert opened.size_bytes < BYTES_A_WEIGHT[case] * sum(p.numel() for p in workload.model.parameters()) + 200_000
    if chosen.is_dense and runtime != "openvino-bf16":
        assert (found - expected)[real].abs().max() < 1e-3
        for beam in (1, 3):
            settings = complete_settings(workload, {"beam": beam})
            written = [workload.decode_exactly(model, 0, 2, settings=settings) for model in (network, subject.model)]
            assert written[0] == written[1], beam


def test_a_text_workload_without_programs_is_refused_before_anything_is_measured() -> None:
    class Undescribed(TinyVerses):
        programs = None

    with pytest.raises(EvaluationError, match="must describe its programs.*no 'programs'.*Use --runtime eager"):
        measure(Undescribed(), Recipe(), runtimes=["eager", "openvino"], report=lambda _: pytest.fail("measured"))


@pytest.mark.parametrize(
    ("runtime", "kind"),
    [
        ("openvino", TinyGAN),
        pytest.param("openvino", TinyVerses, marks=SLOW),
        ("onnxruntime", TinyGAN),
        ("onnxruntime", TinyVerses),
    ],
)
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
    first = runtimes["openvino"](Subject.dense(TinyGAN()))
    monkeypatch.setattr(engine, "_convert", lambda *_: pytest.fail("converted again"))
    again = runtimes["openvino"](Subject.dense(TinyGAN()))
    assert (again.ran, again.size_bytes) == (first.ran, first.size_bytes)


def test_a_sampler_that_calls_two_methods_is_refused() -> None:
    class Undeclared(TinyVAE):
        entry = "forward"

    with pytest.raises(EvaluationError, match="the sampler calls generate too"):
        runtimes["openvino"](Subject.dense(Undeclared()))
