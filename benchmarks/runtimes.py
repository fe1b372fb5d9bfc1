"""What really runs faster: 8-bit weights and activations in OpenVINO, against dense there and in eager.

Run as `python -m benchmarks.runtimes [WORKLOAD ...]`; prints one Markdown row a workload and batch, and one for the
quality of what the runtime samples. About two minutes a workload on one idle core.
"""

import sys

import torch

from gencomp_core.analysis.measurement import Shipped, dense_size, measure_latency
from gencomp_core.evaluate.features import feature_spaces
from gencomp_core.evaluate.fid import fid
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtime_env import machine, set_threads, versions
from gencomp_core.runtimes.registry import runtimes
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload, complete_settings

RECIPE = Recipe.from_dict(
    {"stages": [{"kind": "weight-quantization", "bits": 8}, {"kind": "activation-quantization", "bits": 8}]}
)
RUNTIME = "openvino"
N_SAMPLES, TOGETHER, BATCHES = 500, 100, (1, 16)


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


def main() -> None:
    """Print both tables."""
    set_threads(1)
    print(machine()["processor"], versions())
    workloads = [load_workload(name) for name in sys.argv[1:] or ("fashion-diffusion", "fashion-gan", "fashion-vae")]
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
