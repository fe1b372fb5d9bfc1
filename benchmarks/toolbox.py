"""What every compression technique costs and keeps, against the simplest one at the same strength.

Run as `python -m benchmarks.toolbox [WORKLOAD ...]`; prints one Markdown table a workload. Dense samples are read from
the cache; nothing is stored. About 20 minutes a workload on one core, most of them for AdaRound.
"""

import sys
import time
from typing import Any

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.measuring import measure
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload

N_SAMPLES = {"fid": 1000, "bleu": 200}
Stages = list[dict[str, Any]]


def prune(kind: str, sparsity: float, **fields: Any) -> Stages:
    """One pruning stage."""
    return [{"kind": f"{kind}-pruning", "sparsity": sparsity, **fields}]


def quantize(bits: int, **fields: Any) -> Stages:
    """One weight quantization stage."""
    return [{"kind": "weight-quantization", "bits": bits, **fields}]


def configurations() -> list[Stages]:
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
    for ratio in (0.1, 0.3):
        channels = {"kind": "channel-pruning", "pruning_ratio": ratio}
        found += [[channels], [channels | {"refit": False}], [channels | {"importance": "taylor"}]]
        found += [[channels, *quantize(8)], [*quantize(8), channels]]
    found += [[{"kind": "block-removal", "n_blocks": n}] for n in (1, 2)]
    return found


def main() -> None:
    """Print the tables."""
    set_threads(1)
    for name in sys.argv[1:] or ["verses-transformer", "fashion-vae"]:
        workload = load_workload(name)
        facts = METRICS[workload.metric]
        heading = ("recipe", "bytes", "MACs", facts.title, "change", facts.drift, "seconds")
        print(f"\n{name}\n\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|")
        for stages in [[], *configurations()]:
            recipe = Recipe.from_dict({"stages": stages})
            started = time.process_time()
            compress(workload, recipe)
            seconds = time.process_time() - started
            found = measure(workload, recipe, n_samples=N_SAMPLES[workload.metric], runtimes=())
            assert found.quality
            assert found.quality_change
            cells = (
                recipe.title(),
                f"{found.size_bytes:,}",
                f"{found.macs / 1e6:.1f} M",
                interval(found.quality.value, found.quality.low, found.quality.high),
                interval(found.quality_change.value, found.quality_change.low, found.quality_change.high),
                f"{found.fidelity[facts.drift].value:.3g}",
                f"{seconds:.1f}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)


def interval(value: float, low: float, high: float) -> str:
    """A value with its 95 % interval."""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
