"""What every compression technique costs and keeps, against the simplest one at the same strength.

Run as `python -m benchmarks.toolbox [WORKLOAD ...] [--cache FOLDER]`; prints one Markdown table a workload. With a
cache folder each configuration is kept as it is finished: run again, it goes on where it stopped. Dense samples are
read from the cache of GenComp's home. About 20 minutes a workload on one core, most of them for AdaRound.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.kept import Result, kept
from gencomp_core.analysis.measurement import make_request
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.measuring import measure
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload

N_SAMPLES = {"fid": 1000, "bleu": 200}
Stages = list[dict[str, Any]]


def prune(kind: str, sparsity: float, **fields: Any) -> Stages:
    """One pruning stage."""
    return [{"kind": f"{kind}-pruning", "sparsity": sparsity, **fields}]


def quantize(bits: int, **fields: Any) -> Stages:
    """One weight quantization stage."""
    return [{"kind": "weight-quantization", "bits": bits, **fields}]


def configurations(workload: str) -> list[Stages]:
    """Each technique at two strengths, the simple ones first."""
    found: list[Stages] = []
    for sparsity in (0.5, 0.7):
        found += [prune("magnitude", sparsity, scope=scope) for scope in ("layer", "global", "lamp", "erk")]
        found += [prune("wanda", sparsity), prune("sparsegpt", sparsity)]
        found += [prune("gradient", sparsity, criterion=name) for name in ("taylor", "fisher", "snip")]
    found += [[{"kind": f"{kind}-pruning", "pattern": "2:4"}] for kind in ("magnitude", "wanda", "sparsegpt")]
    found += [[{"kind": "adaptive-pruning", "max_output_change": change}] for change in (0.03, 0.1)]
    for bits in (4, 3):
        found += [quantize(bits), quantize(bits, clipping="mse")]
        found += [quantize(bits, rounding="gptq"), quantize(bits, rounding="gptq", clipping="mse")]
        found += [quantize(bits, rounding="adaround"), quantize(bits, awq=True)]
        found += [[*quantize(bits), {"kind": "bias-correction"}], [*quantize(bits), {"kind": "low-rank-correction"}]]
    found += [quantize(1), quantize(2, clipping="ternary")]
    found += [[{"kind": "float-format", "format": name}] for name in ("bfloat16", "float8_e4m3fn", "nf4")]
    for bits in (8, 6):
        activations = {"kind": "activation-quantization", "bits": bits}
        found += [[*quantize(8), activations], [*quantize(8), activations | {"mode": "dynamic"}]]
        found += [[{"kind": "smooth-quant"}, *quantize(8), activations]]
    if workload.startswith("verses"):  # the image networks have no layers with nothing but ReLU between
        for bits in (8, 4):
            per_tensor = quantize(bits, granularity="tensor")
            found += [per_tensor, [{"kind": "cross-layer-equalization"}, *per_tensor]]
    for ratio in (0.1, 0.3):
        channels = {"kind": "channel-pruning", "pruning_ratio": ratio}
        found += [[channels], [channels | {"refit": False}], [channels | {"importance": "taylor"}]]
        found += [[channels, *quantize(8)], [*quantize(8), channels]]
    if workload != "fashion-vae":  # which has no attention
        found += [[{"kind": "head-pruning", "pruning_ratio": ratio}] for ratio in (0.25, 0.5)]
    found += [[{"kind": "low-rank-factorization", "energy": energy}] for energy in (0.99, 0.95)]
    found += [[{"kind": "block-removal", "n_blocks": n}] for n in (1, 2)]
    return found


def result_of(workload: Workload, recipe: Recipe, *, n_samples: int) -> Result:
    """The measurement of a recipe, and the processor seconds of its stages."""
    started = time.process_time()
    compress(workload, recipe)
    seconds = time.process_time() - started
    return {**measure(workload, recipe, n_samples=n_samples, runtimes=()).summary(), "stage_seconds": seconds}


def row(title: str, found: Result, drift: str) -> str:
    """One line of the table."""
    cells = (
        title,
        f"{found['size_bytes']:,}",
        f"{found['macs'] / 1e6:.1f} M",
        interval(found["quality"]),
        interval(found["quality_change"]),
        f"{found['fidelity'][drift]['value']:.3g}",
        f"{found['stage_seconds']:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def interval(estimate: dict[str, float]) -> str:
    """A value with its 95 % interval."""
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", default=["verses-transformer", "fashion-vae"])
    parser.add_argument("--cache", type=Path, help="folder that keeps each configuration's result")
    parser.add_argument("--only", default="", help="only recipes whose title or stages contain this")
    arguments = parser.parse_args()
    set_threads(1)
    for name in arguments.workloads:
        workload = load_workload(name)
        facts = METRICS[workload.metric]
        n_samples = N_SAMPLES[workload.metric]
        heading = ("recipe", "bytes", "MACs", facts.title, "change", facts.drift, "s")
        print(f"\n{name}, n = {n_samples}\n\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|")
        for stages in [[], *configurations(name)]:
            recipe = Recipe.from_dict({"stages": stages})
            if arguments.only not in f"{recipe.title()} {stages}":
                continue
            key = f"{name}-{make_request(workload, recipe, n_samples=n_samples).signature}"
            found = kept(
                arguments.cache,
                key,
                lambda recipe=recipe, workload=workload, n=n_samples: result_of(workload, recipe, n_samples=n),
            )
            print(row(recipe.title(), found, facts.drift), flush=True)


if __name__ == "__main__":
    main()
