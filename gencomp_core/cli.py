"""The command line: arguments in, services called, text or one JSON document out.

Commands import what they compute with when they run, so that `gencomp --help` is quick.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from gencomp_core.errors import EvaluationError, GenCompError
from gencomp_core.printing import (
    count,
    err,
    figure,
    finished,
    out,
    print_break_even,
    print_forecast,
    print_jobs,
    print_json,
    print_layers,
    print_measurement,
    print_optimized,
    print_plan,
    print_recovered,
    print_report,
    print_scan,
    print_search,
    print_verification,
    reporter,
)

if TYPE_CHECKING:
    from gencomp_core.records import Job
    from gencomp_core.store import Store

app = typer.Typer(
    help="How small and how fast can this generative model become before its output gets worse?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
MAX_SEED = 2**31 - 1

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
StoreUrl = Annotated[str | None, typer.Option("--store", help="URL or file of the store (default: GENCOMP_STORE).")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of noise and random stages.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="Recipe file, YAML or JSON.")]
Background = Annotated[
    bool, typer.Option("--background", help="Start a process for it, print the job's id and return.")
]
Sampling = Annotated[
    list[str] | None, typer.Option("--set", help="Sampling option as NAME=VALUE, such as steps=8; repeat for more.")
]


def main() -> None:
    """Run the command line; user errors are one line and exit code 1."""
    try:
        app(prog_name="gencomp")
    except GenCompError as error:
        err.print(f"gencomp: {error}", markup=False)
        raise SystemExit(1) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


@app.command()
def workloads(as_json: AsJson = False, store: StoreUrl = None, seed: Seed = 0, threads: Threads = None) -> None:
    """List the workloads with metric, parameters, bytes and dense quality."""
    from gencomp_core.services import library

    _use(threads)
    listing = library.workload_table(_open(store))
    if as_json:
        return print_json(listing)
    table = Table(
        Column("workload", no_wrap=True), "metric", "parameters", "bytes", "dense quality", "what it is", box=None
    )
    for row in listing:
        quality = row["quality"]
        shown = f"{quality['value']:.2f} [{quality['low']:.2f}, {quality['high']:.2f}]" if quality else "not measured"
        table.add_row(
            row["workload"], row["metric"], count(row["n_params"]), count(row["size_bytes"]), shown, row["summary"]
        )
    out.print(table)
    return None


@app.command()
def techniques(as_json: AsJson = False, store: StoreUrl = None, seed: Seed = 0, threads: Threads = None) -> None:
    """List every recipe stage with its fields and source."""
    from gencomp_core.services.techniques import technique_table

    listing = technique_table()
    if as_json:
        return print_json(listing)
    for row in listing:
        out.print(f"[bold]{row['kind']}[/bold]  {row['help']}")
        for name, field in row["schema"]["properties"].items():
            if name not in ("kind", "layers"):
                out.print(f"    {name}: {field.get('description', '')}", markup=False)
        out.print(f"    source: {row['source']}", markup=False)
    return None


@app.command()
def inspect(
    workload: str, as_json: AsJson = False, store: StoreUrl = None, seed: Seed = 0, threads: Threads = None
) -> None:
    """List a workload's layers: kind, shape, parameters, MACs, what can be done to each."""
    from dataclasses import asdict

    from gencomp_core.services.inspection import layer_facts

    _use(threads)
    facts = [asdict(layer) for layer in layer_facts(workload)]
    if as_json:
        return print_json({"workload": workload, "layers": facts})
    print_layers(facts)
    return None


@app.command()
def sample(
    target: str,
    file: Annotated[Path, typer.Option("--out", help="File to write: PNG for images, a text a line.")],
    n: Annotated[int, typer.Option("--n", min=1, max=10_000, help="How many samples.")] = 16,
    recipe: RecipeFile = None,
    sampling: Sampling = None,
    runtime: Annotated[str, typer.Option("--runtime", help="Runtime to sample in.")] = "eager",
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Write samples of a workload, of a workload with a recipe, or of an artifact: a PNG tile, or a text a line."""
    from gencomp_core.services.sampling import write_samples
    from gencomp_core.services.targets import resolve

    _use(threads)
    report = write_samples(
        resolve(target, recipe, seed=seed),
        file,
        n=n,
        seed=seed,
        settings=_settings(sampling),
        report=reporter(),
        runtime=runtime,
    )
    if as_json:
        return print_json(report)
    out.print(f"{n} samples of {report['workload']} ({report['title']}) in {file}", markup=False)
    return None


@app.command()
def evaluate(
    target: str,
    recipe: RecipeFile = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", help="Samples for the quality metric: 5000 images or 500 texts without it."),
    ] = None,
    runtime: Annotated[list[str] | None, typer.Option("--runtime", help="Runtime to time; repeat for more.")] = None,
    batch: Annotated[list[int] | None, typer.Option("--batch", min=1, help="Batch to time; repeat for more.")] = None,
    extractor: Annotated[
        str | None, typer.Option("--extractor", help="Feature space of images: fashion (the default) or inception.")
    ] = None,
    sampling: Sampling = None,
    runtime_quality: Annotated[
        bool, typer.Option(help="Sample in runtimes other than eager too, and compare with what was simulated.")
    ] = True,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Measure size, quality, fidelity and latency; what was measured before is read from the store."""
    from gencomp_core import foreground
    from gencomp_core.services.evaluating import measures_anew
    from gencomp_core.services.measuring import measure
    from gencomp_core.services.targets import resolve

    _use(threads)
    chosen, opened, settings = resolve(target, recipe, seed=seed), _open(store), _settings(sampling)
    parameters = {
        "workload": target, "recipe": chosen.recipe.to_dict(), "samples": samples, "seed": seed or None,
        "set": settings or None, "extractor": extractor, "runtime": runtime or None, "batch": batch or None,
        "runtime_quality": None if runtime_quality else False,
    }  # fmt: skip
    if chosen.content is None and measures_anew(opened, chosen.workload, chosen.recipe, parameters):
        foreground.run(opened, "evaluate", parameters)
    measurement = measure(
        chosen.workload,
        chosen.recipe,
        content=chosen.content,
        stored=chosen.stored,
        store=opened,
        n_samples=samples,
        seed=seed,
        settings=settings,
        extractor=extractor,
        runtimes=runtime or ["eager"],
        batches=batch or [1],
        runtime_quality=runtime_quality,
        report=reporter(),
    )
    if as_json:
        return print_json(measurement.summary())
    print_measurement(measurement)
    return None


@app.command()
def compress(
    workload: str,
    recipe: Annotated[Path, typer.Option("--recipe", help="Recipe file, YAML or JSON.")],
    folder: Annotated[Path, typer.Option("--out", help="New folder for the artifact.")],
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", help="Runtime whose files ship; repeat for more. openvino where it can, without it."),
    ] = None,
    zstd: Annotated[bool, typer.Option("--zstd", help="Compress the weights file for transport.")] = False,
    latency: Annotated[bool, typer.Option(help="Time it against dense in every runtime as well.")] = True,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Make an artifact: packed weights, runtime model, recipe, manifest, self-test (run in a fresh process)."""
    from gencomp_core.recipes.recipe import Recipe
    from gencomp_core.services import library
    from gencomp_core.services.exporting import export

    _use(threads)
    chosen = Recipe.from_file(recipe)
    known = library.stored_for(_open(store), workload, chosen)
    report = export(
        workload,
        chosen,
        folder,
        seed=seed,
        measurement=known,
        runtimes=runtime,
        zstd=zstd,
        timed=latency,
        report=reporter(),
    )
    if as_json:
        return print_json(report)
    times = report["dense_size_bytes"] / report["size_bytes"]
    out.print(
        f"{folder}: {report['size_bytes']:,} bytes of weights ({times:.2f} × smaller than dense), "
        f"{report['artifact_bytes']:,} in all; self-test passed in a fresh process in {', '.join(report['runtimes'])}",
        markup=False,
    )
    for name, reason in report["not_shipped"].items():
        out.print(f"not for {name}: {reason}", markup=False)
    return None


@app.command()
def verify(
    folder: Path,
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", help="Runtime to check; repeat for more. All that ship, without it."),
    ] = None,
    latency: Annotated[bool, typer.Option(help="Time it against dense as well.")] = True,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Re-check an artifact: checksums and bytes; same-seed samples, metric and latency in every runtime."""
    from gencomp_core.services.exporting import verify as check

    _use(threads)
    report = check(folder, runtimes=runtime, timed=latency)
    if as_json:
        print_json(report)
    else:
        print_verification(report)
    if not report["ok"]:
        err.print(f"gencomp: {folder}: {report['problem']}.", markup=False)
        raise typer.Exit(1)


@app.command()
def scan(
    workload: str,
    axis: Annotated[
        list[str] | None,
        typer.Option("--axis", help="sparsity, bits, pruning_ratio or joint; repeat for more (sparsity and bits)."),
    ] = None,
    method: Annotated[
        str,
        typer.Option("--method", help="fisher: one pass for all; proxy: output error of each; metric: FID or BLEU."),
    ] = "fisher",
    direction: Annotated[
        str, typer.Option("--direction", help="only-this layer is compressed, or all-but-this.")
    ] = "only-this",
    samples: Annotated[
        int | None, typer.Option("--samples", help="Calibration samples, or samples of the metric.")
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option("--levels", help="AXIS=LEVEL,LEVEL,... in place of the usual ones, such as bits=8,4,3."),
    ] = None,
    group_size: Annotated[
        list[int] | None,
        typer.Option("--group-size", help="Weights that share a scale; 0 is one scale a channel; repeat for more."),
    ] = None,
    sampling: Sampling = None,
    background: Background = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Which layers mind being compressed: damage of every option of every layer. What is kept is not computed again."""
    from gencomp_core import foreground
    from gencomp_core.services.scanning import check_parameters, report_of

    _use(threads)
    parameters = {
        "workload": workload, "axis": list(dict.fromkeys(axis or ())) or None, "method": method,
        "direction": None if direction == "only-this" else direction, "samples": samples, "levels": level,
        "group_size": group_size, "set": _settings(sampling) or None, "seed": seed or None,
    }  # fmt: skip
    check_parameters(parameters)  # a mistake is told before there is a job
    opened = _open(store)
    job = foreground.run(opened, "scan", parameters, background=background)
    if job.result is None:
        return _print_ended(opened, job, as_json)
    report = report_of(opened, parameters, job.result)
    if as_json:
        return print_json(report.document())
    print_scan(report)
    return None


@app.command()
def plan(
    workload: str,
    max_size: Annotated[
        str | None, typer.Option("--max-size", help="Bytes of the weights file, as 500kB or 2MB.")
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option("--max-latency", help="Time for one batch, as 20ms, or a bare number of ms.")
    ] = None,
    max_macs: Annotated[
        str | None, typer.Option("--max-macs", help="Multiply-accumulates for one sample, as 50M.")
    ] = None,
    max_loss: Annotated[
        str | None,
        typer.Option("--max-loss", help="Loss of quality, as 10% of dense or 1.5FID; bytes are then minimised."),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Whose time is meant; the fastest that is known without it.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Samples together that the time is for.")] = 1,
    file: Annotated[Path | None, typer.Option("--out", help="Write the recipe, YAML or JSON.")] = None,
    again: Annotated[bool, typer.Option("--rescan", help="Scan the layers anew.")] = False,
    background: Background = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Choose how to prune and round each layer under budgets; the layers are scanned first where they were not."""
    from gencomp_core import foreground
    from gencomp_core.analysis.planning.planner import check_given
    from gencomp_core.records.plans import Plan
    from gencomp_core.services import planning, predictions

    _use(threads)
    budgets = predictions.budgets_of(
        workload, size=max_size, latency=max_latency, macs=max_macs, loss=max_loss, runtime=runtime, batch=batch
    )
    check_given(budgets)  # a mistake is told before there is a job
    parameters = {
        "workload": workload, "max_size": max_size, "max_latency": max_latency, "max_macs": max_macs,
        "max_loss": max_loss, "runtime": runtime, "batch": None if batch == 1 else batch, "seed": seed or None,
        "rescan": again or None,
    }  # fmt: skip
    opened = _open(store)
    job = foreground.run(opened, "plan", parameters, background=background)
    if job.result is None:
        return _print_ended(opened, job, as_json)
    found = Plan.model_validate(job.result)
    if file is not None:
        planning.write_recipe(found, file)
    if as_json:
        return print_json(found.model_dump(mode="json"))
    print_plan(found)
    return None


@app.command()
def pareto(
    workload: str,
    x: Annotated[
        str, typer.Option("--x", help="Cost: size_bytes, macs, effective_bits, latency_ms:RUNTIME:BATCH, ...")
    ] = "size_bytes",
    y: Annotated[str, typer.Option("--y", help="quality, or a figure such as kid, psnr_db, kl_nats.")] = "quality",
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table as CSV.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the chart as one HTML file.")] = None,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """The frontier of the stored measurements: cost against quality, ties kept."""
    from dataclasses import asdict

    from gencomp_core.analysis.axes import cost_axis, quality_axis
    from gencomp_core.services.frontiers import area_of, frontier_of, write_chart
    from gencomp_core.workloads import card_of

    table = frontier_of(_open(store), workload, x=x, y=y)
    across, up = cost_axis(x), quality_axis(y, metric=card_of(workload).metric)
    area = area_of(table, across, up, workload)
    if csv:
        _write("--csv", csv, lambda: table.to_csv(csv, index=False))
    if html:
        _write("--html", html, lambda: write_chart(table, workload, html, x=x, y=y))
    if as_json:
        points = json.loads(table.to_json(orient="records"))
        named = {"workload": workload, "x": across.address, "y": up.address}
        return print_json({**named, "hypervolume": asdict(area) if area else None, "points": points})
    shown = Table("title", across.title, up.title, "interval", "", box=None)
    for row in table[table["on_frontier"]].sort_values(across.column).to_dict("records"):
        mark = "knee" if row["is_knee"] else ("" if row["on_line"] else "tied")
        value, low, high = (row[f"{up.column}{end}"] for end in ("", "_low", "_high"))
        shown.add_row(row["title"], figure(row[across.column]), figure(value), f"[{figure(low)}, {figure(high)}]", mark)
    out.print(shown)
    hidden = len(table) - int(table["on_frontier"].sum())
    out.print(f"{hidden} dominated configurations are not listed; --csv writes all.", markup=False)
    if area:
        out.print(
            f"Hypervolume {area.value:.4g} halvings of {across.column} times {up.title}, up to {figure(area.cost)} and "
            f"{figure(area.quality)}.",
            markup=False,
        )
    return None


@app.command()
def report(
    target: str,
    file: Annotated[Path, typer.Option("--out", help="HTML file to write.")],
    recipe: RecipeFile = None,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Write one self-contained HTML page: of a workload, a measurement (signature or --recipe), or an artifact."""
    from gencomp_core.recipes.recipe import Recipe
    from gencomp_core.services.reporting import report_of, write_report

    made = report_of(_open(store), target, recipe=Recipe.from_file(recipe) if recipe else None)
    write_report(made, file)
    if as_json:
        return print_json({"report": str(file), "title": made.title, "answer": made.answer})
    out.print(f"{file}: {made.title}. {made.answer}", markup=False)
    return None


@app.command()
def optimize(
    workload: str,
    folder: Annotated[
        Path, typer.Option("--out", help="New folder for the artifact; its report is written beside it.")
    ],
    max_size: Annotated[
        str | None, typer.Option("--max-size", help="Bytes of the weights file, as 500kB or 2MB.")
    ] = None,
    max_latency: Annotated[str | None, typer.Option("--max-latency", help="Time for one sample, as 20ms.")] = None,
    max_macs: Annotated[
        str | None, typer.Option("--max-macs", help="Multiply-accumulates for one sample, as 50M.")
    ] = None,
    max_loss: Annotated[
        str | None, typer.Option("--max-loss", help="Loss of quality that is surely kept, as 10% of dense or 1.5FID.")
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=0, max=10_000, help="Of tuning; 0 leaves it out.")] = 5.0,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Of each measurement: as most stored ones without it.")
    ] = None,
    sampling: Sampling = None,
    background: Background = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """The whole workflow: plan, tune, measure, choose, export and verify, with a report of all of it."""
    from gencomp_core import foreground
    from gencomp_core.artifact.save import check_out
    from gencomp_core.services.predictions import budgets_of

    _use(threads)
    check_out(folder)
    budgets_of(workload, size=max_size, latency=max_latency, macs=max_macs, loss=max_loss)
    parameters = {
        "workload": workload, "out": str(folder.absolute()), "max_size": max_size, "max_latency": max_latency,
        "max_macs": max_macs, "max_loss": max_loss, "minutes": minutes, "samples": samples, "set": _settings(sampling),
        "seed": seed,
    }  # fmt: skip
    opened = _open(store)
    job = foreground.run(opened, "optimize", parameters, background=background)
    if job.is_active or as_json:
        return _print_ended(opened, job, as_json)
    print_optimized(job.result or {})
    return None


@app.command()
def recover(
    workload: str,
    recipe: Annotated[Path, typer.Option("--recipe", help="Recipe file with a stage that trains, YAML or JSON.")],
    samples: Annotated[
        int | None, typer.Option("--samples", help="Of each measurement: as most stored ones without it.")
    ] = None,
    background: Background = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Measure what a recipe's training brings back: beside the same recipe without it, with curves and samples."""
    from gencomp_core import foreground
    from gencomp_core.analysis.recovery_curves import check_trains
    from gencomp_core.recipes.recipe import Recipe

    _use(threads)
    chosen = Recipe.from_file(recipe)
    check_trains(chosen)  # a mistake is told before there is a job
    parameters = {"workload": workload, "recipe": chosen.to_dict(), "samples": samples, "seed": seed or None}
    opened = _open(store)
    job = foreground.run(opened, "recover", parameters, background=background)
    if job.result is None or as_json:
        return _print_ended(opened, job, as_json)
    print_recovered(job.result)
    return None


@app.command()
def recovery_plan(
    workload: str,
    minutes: Annotated[float, typer.Option("--minutes", help="Of tuning, in processor time.")] = 5.0,
    recipe: RecipeFile = None,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """What each way of training is likely to bring back in so many minutes, told from recorded curves."""
    from gencomp_core.recipes.recipe import Recipe
    from gencomp_core.services.recoveries import forecast_table, plan_recovery

    chosen = Recipe.from_file(recipe) if recipe else None
    rows = forecast_table(plan_recovery(_open(store), workload, minutes, recipe=chosen))
    if as_json:
        return print_json({"workload": workload, "minutes": minutes, "rungs": rows})
    print_forecast(rows)
    return None


@app.command()
def sweep(
    workload: str,
    grid: Annotated[str, typer.Option("--grid", help="Grid file, or a preset: quick, standard, thorough.")],
    samples: Annotated[int | None, typer.Option("--samples", help="In place of the grid's.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes that measure.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Dask scheduler, such as tcp://host:8786.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Measure what failed before once more.")] = False,
    background: Background = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, max=MAX_SEED, help="In place of the grid's.")] = None,
    threads: Threads = None,
) -> None:
    """Measure every configuration of a grid; what was measured before is not measured again."""
    from gencomp_core import foreground
    from gencomp_core.services.sweeps import cost_of, read_grid

    _use(threads)
    opened, chosen = _open(store), read_grid(grid, workload)
    parameters = {
        "workload": workload, "grid": dict(chosen.plain), "samples": samples, "seed": seed, "workers": workers,
        "scheduler": scheduler, "threads": threads,
    }  # fmt: skip
    cost = cost_of(opened, chosen, workload, samples=samples, seed=seed, workers=workers)
    err.print(cost.sentence(), markup=False)
    job = foreground.run(opened, "sweep", parameters, background=background, retry=retry)
    _print_ended(opened, job, as_json)


@app.command()
def search(
    workload: str,
    trials: Annotated[int, typer.Option("--trials", min=2, max=10_000, help="Configurations to try.")] = 100,
    grid: Annotated[
        Path | None, typer.Option("--grid", help="Grid file, of stages; without it a grid for any workload.")
    ] = None,
    x: Annotated[str, typer.Option("--x", help="Cost: size_bytes, macs or latency_ms:RUNTIME:BATCH.")] = "size_bytes",
    samples: Annotated[
        int | None, typer.Option("--samples", help="Of a full measurement; without it as most stored ones.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="End after so long.")] = None,
    extractor: Annotated[str | None, typer.Option("--extractor", help="Feature space of images.")] = None,
    sampling: Sampling = None,
    background: Background = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Find the frontier: try many configurations over few samples, measure those that nothing surely beats."""
    from gencomp_core import foreground
    from gencomp_core.analysis.axes import searched_axis
    from gencomp_core.analysis.grid import Grid
    from gencomp_core.analysis.search.space import Space
    from gencomp_core.workloads import card_of

    _use(threads)
    searched_axis(x)  # a mistake is told before there is a job
    chosen = Space.of(Grid.from_file(grid)).grid if grid else None
    parameters = {
        "workload": card_of(workload).name, "trials": trials, "grid": dict(chosen.plain) if chosen else None, "x": x,
        "samples": samples, "minutes": minutes, "extractor": extractor, "set": _settings(sampling) or None,
        "seed": seed, "threads": threads,
    }  # fmt: skip
    opened = _open(store)
    job = foreground.run(opened, "search", parameters, background=background)
    if job.result is None or as_json:
        return _print_ended(opened, job, as_json)
    print_search(job.result)
    return None


@app.command()
def train(
    network: str,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the run; an unfinished run there is resumed.")],
    config: Annotated[Path | None, typer.Option("--config", help="Training configuration, YAML.")] = None,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=MAX_SEED, help="In place of the configuration's.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Train a bundled network from scratch, or go on with a run that was stopped."""
    from gencomp_core.services.training import train_network

    _use(threads)
    records = []
    for record in train_network(network, folder, config=config, seed=seed):
        records.append(record)
        left = (record.steps - record.step) * record.seconds / record.step
        figures = ", ".join(f"{name} {value:.4g}" for name, value in record.figures.items())
        err.print(
            f"step {record.step} of {record.steps}, loss {record.loss:.4f}, {left / 60:.0f} min left {figures}",
            markup=False,
        )
    if as_json:
        return print_json({"network": network, "out": str(folder), "last": records[-1].to_dict() if records else None})
    out.print(f"{folder}/model.safetensors holds the averaged weights", markup=False)
    return None


@app.command()
def jobs(as_json: AsJson = False, store: StoreUrl = None, seed: Seed = 0, threads: Threads = None) -> None:
    """List the jobs of the store: state, progress, time left."""
    from gencomp_core.services.jobs import everyone

    listing = everyone(_open(store))
    if as_json:
        return print_json([job.model_dump(mode="json") for job in listing])
    print_jobs(listing)
    return None


@app.command()
def resume(
    job: str,
    retry: Annotated[bool, typer.Option("--retry", help="Measure what failed once more.")] = False,
    background: Background = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Go on with a job that was interrupted, cancelled or failed; nothing is measured twice."""
    from gencomp_core import foreground
    from gencomp_core.services.jobs import resume as go_on

    _use(threads)
    opened = _open(store)
    again = go_on(opened, job, retry=retry, background=background)
    _print_ended(opened, again if background else foreground.follow_or_carry_out(opened, again), as_json)


@app.command()
def cancel(job: str, as_json: AsJson = False, store: StoreUrl = None, seed: Seed = 0, threads: Threads = None) -> None:
    """Stop a job with all its processes; finished measurements are kept."""
    from gencomp_core.services.jobs import cancel as stop

    stopped = stop(_open(store), job)
    if as_json:
        return print_json(stopped.model_dump(mode="json"))
    out.print(f"job {stopped.id} is {stopped.state}; 'gencomp resume {stopped.id}' goes on", markup=False)
    return None


@app.command()
def machine(
    again: Annotated[bool, typer.Option("--again", help="Time the layers anew.")] = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Time single layers in every runtime and number format, once: from which width a format pays here."""
    from gencomp_core.services import machines

    profile = finished(machines.measure_machine(again=again), reporter())
    table = machines.break_even_table(profile)
    pays = machines.pays_from(table)
    if as_json:
        document = profile.model_dump(mode="json")
        return print_json({**document, "pays_from": json.loads(pays.to_json(orient="records"))})
    print_break_even(pays)
    return None


@app.command(name="app")
def dashboard(
    port: Annotated[int, typer.Option("--port", min=1, max=65_535)] = 8501,
    store: StoreUrl = None,
    threads: Threads = None,
) -> None:
    """Open the dashboard in a browser."""
    import subprocess

    script = Path(__file__).parent.parent / "app.py"
    if not script.exists():
        raise GenCompError(f"{script} is missing: the dashboard runs from a clone of the repository. Use 'make run'.")
    environment = dict(os.environ)
    if store:
        environment["GENCOMP_STORE"] = store
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    raise typer.Exit(subprocess.run(command, check=False, cwd=script.parent, env=environment).returncode)


def _print_ended(store: "Store", job: "Job", as_json: bool) -> None:
    """What a study found, or where it can be followed."""
    from gencomp_core.services.job_kinds import KINDS

    if job.is_active:
        if as_json:
            print_json({"job": job.id, "state": job.state})
        else:
            out.print(f"job {job.id} is {job.state}; 'gencomp jobs' shows how far it is", markup=False)
        return
    report = {"job": job.id, **KINDS[job.kind].report(store, job.result or {})}
    if as_json:
        print_json(report)
    else:
        print_report(report)


def _use(threads: int | None) -> None:
    if threads:
        from gencomp_core.runtime_env import set_threads

        set_threads(threads)


def _open(url: str | None) -> "Store":
    from gencomp_core.runtime_env import store_url
    from gencomp_core.services import library

    return library.open_store(store_url(url) if url else None)


def _write(option: str, path: Path, write: "Callable[[], None]") -> None:
    try:
        write()
    except OSError as error:
        reason = error.strerror or error
        raise EvaluationError(f"{option} {path} can't be written ({reason}). Choose another file.") from None


def _settings(pairs: list[str] | None) -> dict[str, int | float | str]:
    """NAME=VALUE pairs with numbers read as numbers."""
    settings: dict[str, int | float | str] = {}
    for pair in pairs or []:
        name, separator, text = pair.partition("=")
        if not separator:
            raise EvaluationError(f"--set must be NAME=VALUE, got {pair!r}. Write for example --set steps=8.")
        settings[name] = _number(text)
    return settings


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
