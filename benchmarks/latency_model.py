"""How well the latency model predicts whole generations: bundled workloads, their siblings and compressed variants.

Run as `python -m benchmarks.latency_model [--cache FILE] [WORKLOAD ...]`; prints a Markdown row a variant and one a
runtime, and writes the fitted shares into this machine's profile. Timings are processor time on one thread, every
variant interleaved with dense. A run that was interrupted goes on from the cache.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gencomp_core.analysis.latency_model.layers import layer_table
from gencomp_core.analysis.latency_model.model import (
    GenerationCosts,
    MeasuredGeneration,
    fit_whole,
    left_out_errors,
)
from gencomp_core.analysis.latency_model.work import LayerWork
from gencomp_core.analysis.measurement import Shipped
from gencomp_core.evaluate.latency import interleave
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtime_env import home, machine, set_threads, versions
from gencomp_core.runtimes.registry import runtimes
from gencomp_core.services import machines
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload, complete_settings, work

WORKLOADS = ("fashion-diffusion", "fashion-gan", "fashion-vae", "verses-transformer")
RUNTIMES, BATCHES, ROUNDS = ("eager", "openvino", "onnxruntime"), (1, 16), 7
WEIGHTS, INPUTS = {"kind": "weight-quantization", "bits": 8}, {"kind": "activation-quantization", "bits": 8}
NARROWER = {ratio: {"kind": "channel-pruning", "pruning_ratio": ratio} for ratio in (0.25, 0.5, 0.7)}
VARIANTS = {
    "dense": [],
    "int8": [WEIGHTS, INPUTS],
    "8-bit weights": [WEIGHTS],
    **{f"{100 * ratio:.0f} % of channels": [stage] for ratio, stage in NARROWER.items()},
    "50 % of channels, int8": [NARROWER[0.5], WEIGHTS, INPUTS],
}


@dataclass(frozen=True)
class Row:
    """One measured variant."""

    workload: str
    variant: str
    runtime: str
    batch: int
    ms: float
    macs: float
    table: dict[str, LayerWork]

    @property
    def dense_key(self) -> tuple[str, str, int]:
        return self.workload, self.runtime, self.batch


def measured(workload: Workload, variant: str, known: set[tuple[str, str, str, int]]) -> Iterator[Row]:
    """Times of a variant in every runtime and batch that is not known."""
    keys = [(workload.name, variant, runtime, batch) for runtime in RUNTIMES for batch in BATCHES]
    if all(key in known for key in keys):
        return
    shipped = Shipped.of(workload, Recipe.from_dict({"stages": VARIANTS[variant]}))
    settings = complete_settings(workload)
    for runtime in RUNTIMES:
        if runtime == "eager" and shipped.quantized:
            continue  # it widens integers: nothing to predict
        opened = runtimes[runtime](shipped.subject)
        for batch in BATCHES:
            if (workload.name, variant, runtime, batch) in known:
                continue
            run = {"own": lambda network=opened.network, n=batch: work(workload, network, 0, n, settings=settings)}
            timing = interleave(run, threads=1, rounds=ROUNDS)
            table = layer_table(workload, shipped.model, batch=batch, settings=settings, quantized=shipped.quantized)
            ms = float(np.median(timing.cpu_ms["own"]))
            yield Row(workload.name, variant, runtime, batch, ms, sum(own.macs for own in table.values()), table)


def main() -> None:
    """Measure what is missing, print both tables, keep the fit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workloads", nargs="*", default=WORKLOADS)
    parser.add_argument("--cache", type=Path, default=home() / "machines" / "generations.json")
    arguments = parser.parse_args()
    set_threads(1)
    rows = _cached(arguments.cache)
    for name in arguments.workloads:
        workload = load_workload(name)
        for variant in VARIANTS:
            for row in measured(workload, variant, {(r.workload, r.variant, r.runtime, r.batch) for r in rows}):
                rows.append(row)
                arguments.cache.parent.mkdir(parents=True, exist_ok=True)
                arguments.cache.write_text(json.dumps([asdict(own) for own in rows]))
    profile = machines.profile_of_this_machine()
    assert profile is not None, "run 'gencomp machine' first"
    print(machine()["processor"], versions(), profile.measured_at)
    fits = report(GenerationCosts.of(profile.model_copy(update={"fits": ()})), rows)
    machines.keep(profile.model_copy(update={"fits": fits}))


def report(costs: GenerationCosts, rows: list[Row]) -> tuple:
    """Print errors by variant and by runtime; the shares of a fit to all."""
    dense = {
        row.dense_key: MeasuredGeneration(row.table, row.runtime, row.ms, row.workload)
        for row in rows
        if row.variant == "dense"
    }
    generations = [
        MeasuredGeneration(
            row.table, row.runtime, row.ms, row.workload, dense.get(row.dense_key) if row.variant != "dense" else None
        )
        for row in rows
    ]
    print(
        "\n| model | variant | runtime | batch | ms | × dense | × by MACs | predicted × dense | error "
        "| error, dense known |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    summary = []
    for runtime in RUNTIMES:
        own = [(row, made) for row, made in zip(rows, generations, strict=True) if row.runtime == runtime]
        made = [each for _, each in own]
        cold = left_out_errors(costs, runtime, made)
        anchored = iter(left_out_errors(costs, runtime, made, anchored=True))
        known = []
        for (row, each), error in zip(own, cold, strict=True):
            faster = by_macs = told = corrected = float("nan")
            if each.dense is not None:
                corrected = next(anchored)
                known.append(corrected)
                base = next(r for r in rows if r.dense_key == row.dense_key and r.variant == "dense")
                faster, by_macs = base.ms / row.ms, base.macs / row.macs
                told = faster / (1 + corrected)
            print(
                f"| {row.workload} | {row.variant} | {runtime} | {row.batch} | {row.ms:.2f} | {faster:.2f} "
                f"| {by_macs:.2f} | {told:.2f} | {error:+.0%} | {corrected:+.0%} |"
            )
        summary.append((runtime, len(own), cold, np.array(known)))
    print(
        "\n| runtime | generations | median error, workload unseen | 90 % within | median error, dense known "
        "| 90 % within |"
    )
    print("|---|---|---|---|---|---|")
    for runtime, n, cold, known in summary:
        cells = [f"{np.quantile(np.abs(e), q):.0%}" if len(e) else "–" for e in (cold, known) for q in (0.5, 0.9)]
        print(f"| {runtime} | {n} | {' | '.join(cells)} |")
    return fit_whole(costs, generations)


def _cached(path: Path) -> list[Row]:
    if not path.exists():
        return []
    plain = json.loads(path.read_text())
    return [Row(**{**own, "table": {k: LayerWork(**v) for k, v in own["table"].items()}}) for own in plain]


if __name__ == "__main__":
    main()
