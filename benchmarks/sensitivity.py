"""What a sensitivity scan costs, and how far its methods agree with the metric.

Run as `python -m benchmarks.sensitivity [WORKLOAD ...] [--store URL] [--layers N]`; prints two Markdown tables, kept
in docs/benchmarks.md. Times are CPU seconds of one thread. Measurements of the metric go to the store, so that it goes
on where it stopped; they take most of the time.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from gencomp_core.analysis.sensitivity import tables
from gencomp_core.analysis.sensitivity.options import options_for, recipe_of
from gencomp_core.analysis.sensitivity.proxy import OutputProxy
from gencomp_core.analysis.sensitivity.scan import Key, Measure, scan_request, scan_steps
from gencomp_core.analysis.sensitivity.weights import weight_under
from gencomp_core.compression.layers import weight_layers
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import LayerOption, LayerScore, Measurement
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.measuring import measure
from gencomp_core.store import Store
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload, complete_settings, makes_texts

NAMES = ("fashion-vae", "fashion-gan", "verses-transformer", "fashion-diffusion")
EIGHT = options_for(["sparsity", "bits"], levels={"sparsity": (0.3, 0.5, 0.7, 0.9), "bits": (8, 4, 3, 2)})
HARSH = options_for(["sparsity", "bits"], levels={"sparsity": (0.5, 0.7, 0.9), "bits": (4, 3, 2)})
N_METRIC = {"fashion-diffusion": 250, "verses-transformer": 200}
N_TIMED = 6
TIMES = (
    "| workload | layers | fisher, all × 8 options, s | proxy, s an option | whole passes at all positions, s "
    "| sampling, s | metric, s | proxy × faster than sampling | than the metric |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
RANKS = (
    "| workload | layers | metric n | pairs | Spearman fisher, metric | proxy, metric | pairs surely worse "
    "| proxy, metric among them | fisher, proxy |\n|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Timed:
    """CPU seconds, and what came out."""

    seconds: float
    scores: list[LayerScore]


def scanned(
    workload: Workload,
    method: str,
    options: Sequence[LayerOption],
    layers: Sequence[str],
    *,
    n_samples: int | None = None,
    measured: Measure | None = None,
) -> Timed:
    """Scores of some layers, over all of the generation."""
    known: set[Key] = {(name, own) for name in weight_layers(workload.model) if name not in layers for own in options}
    request = scan_request(workload, method=method, n_samples=n_samples)
    started = time.process_time()
    steps = list(scan_steps(workload, request, options, known=known, measure=measured))
    scores = [step for step in steps if isinstance(step, LayerScore) and step.position is None]
    return Timed(time.process_time() - started, scores)


def seconds_each(work: Callable[[str, LayerOption], object], pairs: Sequence[Key]) -> float:
    """CPU seconds of one option, the mean over some."""
    started = time.process_time()
    for name, option in pairs:
        work(name, option)
    return (time.process_time() - started) / len(pairs)


def costs(workload: Workload, *, n: int, store: Store) -> list[float]:
    """CPU seconds of one option: by the proxy, by whole passes at all positions, by sampling, by the metric."""
    layers = weight_layers(workload.model)
    stride = max(1, len(layers) // N_TIMED)
    pairs = [(name, LayerOption(bits=3 + number % 2)) for number, name in enumerate(islice(layers, 0, None, stride))]
    fast = OutputProxy(workload, n_samples=n, seed=0, n_steps=4)
    plain = OutputProxy(workload, n_samples=n, seed=0, n_steps=10_000, reuse=False)
    settings = complete_settings(workload)

    def by(proxy: OutputProxy) -> Callable[[str, LayerOption], object]:
        return lambda name, option: proxy.of_weights({name: weight_under(layers[name], option).weight})

    def sampled(name: str, option: LayerOption) -> object:
        variant = compress(workload, recipe_of(option, [name]))
        return workload.generate(variant.model, 0, n, seed=0, settings=settings)

    def measured(name: str, option: LayerOption) -> object:
        return measure(workload, recipe_of(option, [name]), store=store, n_samples=max(50, n), runtimes=())

    measured(*pairs[0])  # so that the dense samples are there
    return [seconds_each(work, pairs) for work in (by(fast), by(plain), sampled, measured)]


def agreement(workload: Workload, *, store: Store, n_layers: int) -> list[object]:
    """Rank correlation of fisher and proxy with the metric, and of each other, over some layers."""
    names = list(weight_layers(workload.model))
    chosen = names[:: max(1, len(names) // n_layers)]
    n = N_METRIC.get(workload.name, 1000)

    def kept(recipe: Recipe) -> Measurement:
        return measure(workload, recipe, store=store, n_samples=n, runtimes=())

    metric = scanned(workload, "metric", HARSH, chosen, n_samples=n, measured=kept).scores
    fisher, proxy = (scanned(workload, method, HARSH, chosen).scores for method in ("fisher", "proxy"))
    beyond = [own for own in metric if own.damage.low > 0]
    keys = {(own.layer, own.option) for own in beyond}
    found: list[object] = [len(chosen), n, len(metric)]
    for scores in (fisher, proxy):
        found.append(_rho(scores, metric))
    found += [len(beyond), _rho([own for own in proxy if (own.layer, own.option) in keys], beyond)]
    return [*found, _rho(fisher, proxy)]


def _rho(first: Sequence[LayerScore], second: Sequence[LayerScore]) -> str:
    found = tables.rank_correlation(first, second)
    return "–" if found is None else f"{found.spearman:.3f}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", default=NAMES)
    parser.add_argument("--store", default="sqlite:///:memory:")
    parser.add_argument("--layers", type=int, default=1000, help="layers whose metric is measured, at most")
    parser.add_argument("--n", type=int, default=64, help="samples that times are compared at")
    parser.add_argument("--only", choices=("times", "ranks"))
    arguments = parser.parse_args()
    set_threads(1)
    torch.manual_seed(0)
    store = Store(arguments.store)
    if arguments.only != "ranks":
        print(TIMES)
        for name in arguments.workloads:
            workload = load_workload(name)
            layers = list(weight_layers(workload.model))
            seconds = scanned(workload, "fisher", EIGHT, layers).seconds
            n = min(arguments.n, 64) if makes_texts(workload) else arguments.n
            each = costs(workload, n=n, store=Store("sqlite:///:memory:"))
            cells = [name, len(layers), f"{seconds:.1f}", *(f"{own:.3f}" for own in each)]
            cells += [f"{each[2] / each[0]:.1f}", f"{each[3] / each[0]:.1f}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    if arguments.only != "times":
        print(RANKS)
        for name in arguments.workloads:
            cells = agreement(load_workload(name), store=store, n_layers=arguments.layers)
            print(f"| {name} | " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
