"""What really runs faster: 8-bit weights and activations in OpenVINO, against dense there and in eager.

Run as `python -m benchmarks.runtimes [WORKLOAD ...]`; prints one Markdown row a workload and batch, and one for the
quality of what the runtime samples. About two minutes a workload on one idle core, fifteen for texts.
"""

import sys
from functools import partial

import numpy as np
import torch

from gencomp_core.analysis.judging import judge_for
from gencomp_core.analysis.measurement import Shipped, dense_size, measure_latency
from gencomp_core.evaluate.features import feature_spaces
from gencomp_core.evaluate.fid import fid
from gencomp_core.evaluate.latency import interleave
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtime_env import machine, set_threads, versions
from gencomp_core.runtimes.registry import runtimes
from gencomp_core.runtimes.subject import Opened, Subject
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import TextWorkload, Workload, complete_settings, makes_texts

RECIPE = Recipe.from_dict(
    {"stages": [{"kind": "weight-quantization", "bits": 8}, {"kind": "activation-quantization", "bits": 8}]}
)
RUNTIME = "openvino"
NAMES = ("fashion-diffusion", "fashion-gan", "fashion-vae", "verses-transformer")
N_SAMPLES, TOGETHER, BATCHES = 500, 100, (1, 16)
TEXT_RECIPES: dict[str, list[dict[str, object]]] = {
    "8-bit weights": [{"kind": "weight-quantization", "bits": 8}],
    "8-bit weights and inputs": RECIPE.to_dict()["stages"],
    "4-bit weights, groups of 64": [
        {"kind": "weight-quantization", "bits": 4, "granularity": "group", "group_size": 64}
    ],
}
DECODING = ((1, 1), (1, 16), (1, 64), (4, 1), (4, 16), (4, 64))
"""Beam and batch."""


def speeds(workload: Workload, shipped: Shipped) -> None:
    """Rows of one workload."""
    for batch in BATCHES:
        found = measure_latency(
            shipped.subject, runtime=RUNTIME, batch=batch, settings=complete_settings(workload), rounds=15
        )
        assert found.eager_ratio
        print(
            f"| {workload.name} | {batch} | {found.dense_eager_median_ms:.2f} | {found.dense_median_ms:.2f} "
            f"| {found.median_ms:.2f} | {1 / found.eager_ratio:.2f} × | {1 / found.ratio:.2f} × "
            f"[{1 / found.ratio_high:.2f}, {1 / found.ratio_low:.2f}] | {found.verdict} | {found.ran} |",
            flush=True,
        )


def images(workload: Workload, network: torch.nn.Module) -> torch.Tensor:
    """The first samples."""
    settings = complete_settings(workload)
    starts = range(0, N_SAMPLES, TOGETHER)
    return torch.cat([workload.generate(network, i, i + TOGETHER, seed=0, settings=settings) for i in starts])


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of two sets of uint8 images, dB."""
    error = (one.float() - other.float()).square().mean().clamp_min(1e-6)
    return float(10 * torch.log10(255**2 / error))


def texts(workload: TextWorkload) -> None:
    """Both tables of a text workload."""
    dense = Subject.dense(workload)
    subjects = {
        name: Shipped.of(workload, Recipe.from_dict({"stages": stages})).subject
        for name, stages in TEXT_RECIPES.items()
    }
    both = subjects["8-bit weights and inputs"]
    opened = {
        "dense": runtimes[RUNTIME](dense),
        "dense, bfloat16": runtimes[f"{RUNTIME}-bf16"](dense),
        **{name: runtimes[RUNTIME](subject) for name, subject in subjects.items()},
        "8-bit weights and inputs, bfloat16": runtimes[f"{RUNTIME}-bf16"](both),
    }
    text_speeds(workload, opened)
    text_quality(workload, subjects, opened)


def text_speeds(workload: TextWorkload, opened: dict[str, Opened]) -> None:
    """Rows of one beam and batch each: whole generations, against eager and against dense in the runtime."""
    print(f"\n| {workload.name} in {RUNTIME} | beam | batch | eager, ms | ms | × eager | × dense there |")
    print("|---|---|---|---|---|---|---|")
    for beam, batch in DECODING:
        settings = complete_settings(workload, {"beam": beam})
        networks = {"eager": workload.model} | {name: own.network for name, own in opened.items()}
        runs = {
            name: partial(workload.decode_exactly, network, 0, batch, settings=settings)
            for name, network in networks.items()
        }
        timing = interleave(runs, threads=1, rounds=15 if beam * batch < 64 else 7)
        for name in opened:
            low, middle, high = 1 / timing.ratio(name, "dense")[::-1]
            print(
                f"| {name} | {beam} | {batch} | {np.median(timing.wall_ms['eager']):.1f} "
                f"| {np.median(timing.wall_ms[name]):.1f} | {1 / timing.ratio(name, 'eager')[1]:.2f} × "
                f"| {middle:.2f} × [{low:.2f}, {high:.2f}] |",
                flush=True,
            )


def text_quality(workload: TextWorkload, subjects: dict[str, Subject], opened: dict[str, Opened]) -> None:
    """Rows of one model each: BLEU of what is rounded in float, and of what runs as integers."""
    judge, settings = judge_for(workload, "sacrebleu"), complete_settings(workload)

    def found(network: torch.nn.Module) -> tuple[float, float]:
        texts = workload.generate(network, 0, N_SAMPLES, seed=0, settings=settings)
        own = judge.observe([texts], 0)
        return judge.quality(own, own, n_resamples=2)[0].value, judge.drift(network, own, own).value

    print(
        f"\n| {workload.name} | BLEU eager | {RUNTIME} | KL to dense, nats | {RUNTIME} | files, times smaller | ran |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, own in opened.items():
        subject = subjects.get(name.removesuffix(", bfloat16"))
        (bleu, kl), (bleu_there, kl_there) = (
            found(network) for network in (subject.model if subject else workload.model, own.network)
        )
        print(
            f"| {name} | {bleu:.2f} | {bleu_there:.2f} | {kl:.4f} | {kl_there:.4f} "
            f"| {dense_size(workload) / own.size_bytes:.2f} | {own.ran} |",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    set_threads(1)
    print(machine()["processor"], versions())
    workloads = [load_workload(name) for name in sys.argv[1:] or NAMES]
    for workload in workloads:
        if makes_texts(workload):
            texts(workload)
    if pictures := [workload for workload in workloads if not makes_texts(workload)]:
        image_tables(pictures)


def image_tables(workloads: list[Workload]) -> None:
    """Both tables of image workloads."""
    shipped = [Shipped.of(workload, RECIPE) for workload in workloads]
    print(
        f"\n| model | batch | dense eager, ms | dense {RUNTIME} | int8 {RUNTIME} | × eager | × dense there | verdict "
        "| ran |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for workload, own in zip(workloads, shipped, strict=True):
        speeds(workload, own)
    print(f"\n| model | FID dense | fake-quantized | {RUNTIME} | PSNR between the last two | files, times smaller |")
    print("|---|---|---|---|---|---|")
    space = feature_spaces["fashion"]
    for workload, own in zip(workloads, shipped, strict=True):
        opened = runtimes[RUNTIME](own.subject)
        made = [images(workload, network) for network in (workload.model, own.model, opened.network)]
        scores = [fid(space.extract(each), space.reference()) for each in made]
        assert opened.size_bytes
        print(
            f"| {workload.name} | {' | '.join(f'{score:.3f}' for score in scores)} | {psnr(*made[1:]):.1f} dB "
            f"| {dense_size(workload) / opened.size_bytes:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
