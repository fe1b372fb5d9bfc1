"""What the command line prints: tables and lines on stdout, progress and errors on stderr."""

import json
import sys
import textwrap
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column, Table

from gencomp_core.analysis.planning.amounts import shadow_lines
from gencomp_core.records import (
    FIGURES,
    METRICS,
    Job,
    JobProgress,
    LayerScore,
    Measurement,
    Progress,
    Quality,
    RuntimeQuality,
    ScanReport,
)
from gencomp_core.records.plans import Plan, Prediction

Result = TypeVar("Result")

SECONDS_A_LINE = 1.0
SECONDS_OF_SILENCE = 10.0
LINE = 100
Found = TypeVar("Found")

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def reporter() -> Callable[[Progress], None]:
    """Progress on stderr: one line that is rewritten on a terminal, a line a second elsewhere."""
    last_line = 0.0

    def report(progress: Progress) -> None:
        nonlocal last_line
        text = f"{progress.what}: {progress.done} of {progress.total}"
        if err.is_terminal:
            err.print(f"\r{text}   ", end="", markup=False)
        elif time.monotonic() - last_line >= SECONDS_A_LINE:
            err.print(text, markup=False)
            last_line = time.monotonic()

    return report


@contextmanager
def progress_bar() -> Iterator[Callable[[JobProgress], None]]:
    """Progress of a job on stderr: a bar with the time left on a terminal, now and then a line elsewhere."""
    if not err.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with RichProgress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("starting", total=1.0, left="")

        def report(told: JobProgress) -> None:
            bar.update(task, completed=told.fraction, description=escape(told.what), left=time_left(told))

        yield report


def _lines() -> Callable[[JobProgress], None]:
    """A line whenever something was finished, and every ten seconds."""
    last, told_at = (-1, -1), 0.0

    def report(told: JobProgress) -> None:
        nonlocal last, told_at
        now = time.monotonic()
        if ((told.done, told.total) != last and now - told_at >= SECONDS_A_LINE) or now - told_at >= SECONDS_OF_SILENCE:
            err.print(f"{told.what} {time_left(told)}".rstrip(), markup=False)
            last, told_at = (told.done, told.total), now

    return report


def time_left(told: JobProgress) -> str:
    """`3 min left`, or nothing while that is not known."""
    seconds = told.seconds_left
    if seconds is None:
        return ""
    return f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.0f} min left"


def print_recovered(found: Mapping[str, Any]) -> None:
    """What was lost and what came back."""
    from gencomp_core.analysis.recovery_curves import gap_of
    from gencomp_core.records.recovery import RecoveryRun

    run = RecoveryRun.model_validate(found)
    gap, own, change = gap_of(run), run.quality, run.recovered
    if run.damaged:
        lost = run.damaged
        told = f"{lost.value:+.2f} [{lost.low:+.2f}, {lost.high:+.2f}]"
        out.print(f"without training  {told} {run.metric} to dense", markup=False)
    out.print(
        f"with training     {change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}], {run.metric} {own.value:.2f}, "
        f"n = {run.n_samples}",
        markup=False,
    )
    back = f"{gap.value:.0%} [{gap.low:.0%}, {gap.high:.0%}]" if gap else "nothing was surely lost"
    out.print(f"gap recovered     {back} in {run.seconds:.0f} s of processor time", markup=False)


def print_forecast(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rungs with what they are likely to bring back, best first."""
    table = Table(
        "trained",
        Column("steps", justify="right"),
        Column("share of the held-out damage", justify="right"),
        Column("curves", justify="right"),
        "told from",
        box=None,
    )
    for row in rows:
        basis = "the same kind of damage" if row["same_damage"] else "other kinds of damage"
        table.add_row(
            row["rung"],
            count(row["steps"]),
            f"{row['gap']:.0%} [{row['gap_low']:.0%}, {row['gap_high']:.0%}]",
            str(row["n_curves"]),
            basis + (", not beyond its curves" if row["beyond"] else ""),
        )
    out.print(table)


def print_optimized(found: Mapping[str, Any]) -> None:
    """What a workflow tried, what it chose and why."""
    table = Table(
        "configuration",
        Column("bytes", justify="right"),
        "quality",
        "difference to dense",
        "fastest",
        "misses",
        box=None,
    )
    for row in found["tried"]:
        quality, change = row["quality"], row["quality_change"]
        chosen = "* " if row["signature"] == found["chosen"]["signature"] else "  "
        table.add_row(
            chosen + escape(row["title"]),
            count(row["size_bytes"]),
            f"{quality['value']:.2f}" if quality else "",
            f"{change['value']:+.2f} [{change['low']:+.2f}, {change['high']:+.2f}]" if change else "",
            f"{row['latency_ms']:.1f} ms {row['runtime']}" if row["latency_ms"] else "",
            str(len(row["missed"]) or ""),
        )
    out.print(table)
    lines = [f"misses a goal: {line}" for line in found["missed"]] or ["keeps every goal"]
    lines += found["notes"]
    lines.append(f"artifact in {found['artifact']}, verified in a fresh process; report in {found['report']}")
    out.print("\n".join(lines), markup=False)


def print_jobs(listing: Sequence[Job]) -> None:
    """Jobs, one a row."""
    if not listing:
        out.print("No jobs yet.")
        return
    table = Table(Column("id", no_wrap=True), "kind", "workload", "state", "progress", "what", box=None)
    for job in listing:
        told = job.progress
        share = f"{told.fraction:.0%} {time_left(told) if job.is_active else ''}".strip() if told else ""
        what = job.message or (told.what if told and job.is_active else "")
        table.add_row(job.id, job.kind, job.workload, job.state, share, escape(what))
    out.print(table)


def print_report(report: Mapping[str, Any]) -> None:
    """What a study found: its figures, and a table of its measurements where it has some."""
    plain = {name: value for name, value in report.items() if isinstance(value, str | int | float)}
    out.print("\n".join(f"{name.replace('_', ' '):<18}{value}" for name, value in plain.items()), markup=False)
    rows = [*report.get("measurements", ()), *report.get("failures", ())]
    if not rows:
        return
    table = Table(
        "configuration", "status", Column("bytes", justify="right"), "quality", "difference to dense", box=None
    )
    for row in rows:
        quality, change = row.get("quality"), row.get("quality_change")
        table.add_row(
            escape(f"{row['workload']}: {row['title']}"),
            row["status"],
            count(row["size_bytes"]),
            f"{quality['value']:.2f} [{quality['low']:.2f}, {quality['high']:.2f}]"
            if quality
            else escape(row["reason"]),
            f"{change['value']:+.2f} [{change['low']:+.2f}, {change['high']:+.2f}]" if change else "",
        )
    out.print(table)


def finished(steps: Generator[Progress, None, Result], report: Callable[[Progress], None]) -> Result:
    """What long work returns, its progress told meanwhile."""
    while True:
        try:
            report(next(steps))
        except StopIteration as stop:
            result: Result = stop.value
            return result


def print_search(found: Mapping[str, Any]) -> None:
    """The frontier that a search found, and what it asked for that."""
    name = found["x"].split(":")[0]
    table = Table("title", name, "quality", "interval", "against dense", "", box=None)
    for row in found["frontier"]:
        quality, change = row["quality"], row["change"]
        mark = "knee" if row["is_knee"] else ("" if row["on_line"] else "tied")
        interval = f"[{quality['low']:.2f}, {quality['high']:.2f}]"
        against = f"{change['value']:+.2f} [{change['low']:+.2f}, {change['high']:+.2f}]" if change else ""
        table.add_row(escape(row["title"]), figure(row[name]), f"{quality['value']:.2f}", interval, against, mark)
    out.print(table)
    asked = ", ".join(
        f"{own['n_asked']} {own['kind']}s over {own['n_samples']} samples ({own['n_known']} known before)"
        for own in found["evaluations"]
    )
    area = found["hypervolume"]
    shown = f" Hypervolume {area['value']:.4g} {area['unit']}." if area else ""
    out.print(f"{len(found['trials'])} configurations: {asked}; {found['seconds']:.0f} s.{shown}", markup=False)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_measurement(measurement: Measurement) -> None:
    """A measurement in a few lines."""
    lines = [
        f"{measurement.workload}: {measurement.title} [{measurement.status}]",
        f"  weights file  {measurement.size_bytes:,} bytes ({measurement.n_times_smaller:.2f} × smaller than dense), "
        f"{measurement.effective_bits:.2f} bits per parameter",
        f"  zeros         {measurement.sparsity:.1%} of the weights",
    ]
    quality, dense, change = measurement.quality, measurement.dense_quality, measurement.quality_change
    if quality and dense and change:
        lines += [
            f"  quality       {quality.value:.3f} [{quality.low:.3f}, {quality.high:.3f}]  {quality.name}, "
            f"{quality.better} is better{_beside(quality)}",
            f"  dense         {dense.value:.3f} [{dense.low:.3f}, {dense.high:.3f}]",
            f"  difference    {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}], same seeds",
        ]
    lines += [f"  {runtime_quality_line(found)}" for found in measurement.runtime_quality]
    lines += [f"  {latency_line(latency.model_dump())}" for latency in measurement.latency]
    out.print("\n".join(lines), markup=False)


def print_plan(plan: Plan) -> None:
    """What a plan does to each layer, and what is predicted of it."""
    table = Table(
        Column("layer", no_wrap=True), "zeros", "bits", "scale per", "inputs", Column("bytes", justify="right"),
        Column("of", justify="right"), Column("damage", justify="right"), box=None, pad_edge=False,
    )  # fmt: skip
    for own in plan.layers:
        option = own.option
        inputs = "float" if option.activation_bits is None else f"int{option.activation_bits}"
        bits = "float32" if option.bits is None else f"{option.bits}{'' if option.symmetric else ' affine'}"
        per = "" if option.bits is None else f"group of {option.group_size}" if option.group_size else "channel"
        table.add_row(
            own.layer, f"{option.sparsity:.0%}", bits, per, inputs, f"{own.size_bytes:,}",
            f"{own.dense_size_bytes:,}", f"{own.damage:.2g}",
        )  # fmt: skip
    out.print(table)
    told = plan.predicted
    lines = ["", f"{plan.workload}: predicted, not measured"]
    about = "exact" if told.size_is_exact else "about"
    lines += [f"  weights file  {told.size_bytes:,} bytes, {about}; {told.macs:,} multiply-accumulates for one sample"]
    if plan.removed:
        least, most = min(plan.removed.values()), max(plan.removed.values())
        lines += [f"  channels      {least:.0%} to {most:.0%} removed of {len(plan.removed)} groups that share them"]
    if told.latency_ms is not None:
        lines += [f"  latency       {_milliseconds(told)}"]
    if told.quality is not None:
        found = told.quality
        lines += [
            f"  quality       {found.metric.upper()} {found.value:.2f} [{found.low:.2f}, {found.high:.2f}], dense "
            f"{found.dense:.2f}; from {found.n_pairs} measured configurations"
            f"{', none damaged as much: a guess' if found.beyond else ''}"
        ]
    else:
        lines += [f"  quality       {told.note}"]
    lines += [f"  {line}" for line in shadow_lines(plan)]
    out.print("\n".join(lines), markup=False)


def _milliseconds(told: Prediction) -> str:
    """Predicted time, with its interval and what it is for."""
    ends = "" if told.latency_low is None else f" [{told.latency_low:.3g}, {told.latency_high:.3g}]"
    return f"{told.latency_ms:.3g} ms{ends} in {told.runtime} for {told.batch} at a time"


def print_verification(report: Mapping[str, Any]) -> None:
    """What was re-checked of an artifact, a line each."""
    lines = [f"{'passed' if passed else 'FAILED'}  {name}" for name, passed in report["checks"].items()]
    for runtime, own in report["runtimes"].items():
        lines += [f"{'passed' if passed else 'FAILED'}  {runtime} {name}" for name, passed in own["checks"].items()]
        result = own["selftest"]
        if not result:
            continue  # the problem says why
        alike = "identical" if result["identical"] else f"differ by at most {result['max_difference']}"
        lines.append(f"        {runtime}: ran {own['ran']}; same-seed samples {alike}")
    lines += [f"skipped {runtime}: {reason}" for runtime, reason in report["skipped"].items()]
    transport = report["transport"]
    lines += [
        f"weights {report['size_bytes']:,} bytes, folder {report['artifact_bytes']:,} bytes",
        f"loaded in {transport['load_ms']:.1f} ms: read {transport['read_ms']:.1f}, "
        f"zstd {transport['decompress_ms']:.1f}, unpack {transport['unpack_ms']:.1f}",
    ]
    out.print("\n".join([*lines, *map(latency_line, report["latency"])]), markup=False)


def print_layers(layers: Sequence[Mapping[str, Any]]) -> None:
    """Layers with their cost and what can't be done to them, the reasons as numbered footnotes.

    Args:
        layers: plain `LayerFacts`.
    """
    refusals = (refusal for layer in layers for refusal in layer["cannot"].items())
    notes = {refusal: str(number) for number, refusal in enumerate(dict.fromkeys(refusals), start=1)}
    table = Table(
        Column("layer", no_wrap=True),
        "kind",
        "shape",
        Column("parameters", justify="right"),
        Column("MACs a sample", justify="right"),
        "not",
        box=None,
        pad_edge=False,
    )
    for layer in layers:
        shape = " × ".join(map(str, layer["shape"]))
        numbers = " ".join(notes[refusal] for refusal in layer["cannot"].items())
        table.add_row(layer["name"], layer["kind"], shape, count(layer["n_params"]), count(layer["macs"]), numbers)
    out.print(table)
    everywhere = [kind for kind in _stages_of(layers) if all(kind in layer["can"] for layer in layers)]
    lines = ["", *_wrapped(f"Every layer can take {', '.join(everywhere) or 'no stage'}.")]
    if notes:
        lines.append('A number under "not" is a stage that leaves the layer as it is:')
    for (kind, reason), number in notes.items():
        lines += _wrapped(f"  {number}  {kind}: {reason}")
    out.print("\n".join(lines), markup=False)


def print_scan(report: ScanReport) -> None:
    """Damage by layer and option, a table an axis, the most sensitive layer first, with what to beware of."""
    whole = [score for score in report.scores if score.position is None]
    for axis in dict.fromkeys(score.option.axis for score in whole):
        _print_axis([score for score in whole if score.option.axis == axis])
    scan = report.scan
    lines = [f"damage: {scan.unit}; {scan.request.method}, {scan.request.direction}, n={scan.request.n_samples}"]
    lines += [f"{report.n_new} new scores in {report.seconds:.1f} s; scan {scan.signature}"]
    lines += [f"unsafe: {name}: {reason}" for name, reason in report.unsafe.items()]
    lines += [f"untouchable: {name} {reason}" for name, reason in scan.untouchable.items()]
    for own in report.rank_correlations:
        lines.append(f"Spearman {own.methods[0]} with {own.methods[1]}: {own.spearman:.3f} over {own.n} options")
    lines += [f"warning: {text}" for text in report.warnings]
    out.print("\n".join(line for text in lines for line in _wrapped(text)), markup=False)


def _print_axis(scores: Sequence[LayerScore]) -> None:
    """Layer × option of one axis."""
    by_layer: dict[str, dict[str, float]] = {}
    for score in scores:
        by_layer.setdefault(score.layer, {})[score.option.short()] = score.damage.value
    levels = list(dict.fromkeys(score.option.short() for score in scores))
    columns = [Column(level, justify="right", no_wrap=True) for level in levels]
    table = Table(Column("layer", no_wrap=True), *columns, box=None, pad_edge=False)
    for name, found in sorted(by_layer.items(), key=lambda own: -max(own[1].values())):
        table.add_row(name, *(f"{found[level]:.1e}" if level in found else "" for level in levels))
    out.print(f"damage by {scores[0].option.axis}", markup=False)
    out.print(table)


def _wrapped(text: str) -> list[str]:
    """Lines of at most 100 characters, those after the first indented."""
    return textwrap.wrap(text, LINE, subsequent_indent="     ", break_on_hyphens=False)


def _stages_of(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """All stages that are spoken of, those that can be applied first."""
    return list(dict.fromkeys(kind for layer in layers for kind in (*layer["can"], *layer["cannot"])))


def _beside(quality: Quality) -> str:
    """What the quality is to be compared with."""
    lines = dict(quality.baselines)
    if quality.noise_floor is not None:
        lines["real images"] = quality.noise_floor
    return "".join(f"; {name} {value:.3f}" for name, value in lines.items())


def latency_line(latency: dict[str, Any]) -> str:
    """A latency with its quartiles, dense and verdict, in one line."""
    busy = ", machine was busy" if latency["busy"] else ""
    return (
        f"latency       {latency['median_ms']:.1f} ms [{latency['low_ms']:.1f}, {latency['high_ms']:.1f}] "
        f"{latency['runtime']}, batch {latency['batch']}; dense {latency['dense_median_ms']:.1f} ms, "
        f"ratio {latency['ratio']:.3f} ({latency['verdict']}{busy}){_in_other_runtime(latency)}"
    )


def runtime_quality_line(found: RuntimeQuality) -> str:
    """Quality of what ships in a runtime, and whether it is that of the simulated model, in one line."""
    own, change = found.quality, found.change_to_simulated
    title = METRICS[own.metric].title
    told = {
        "same": f"the same as simulated (tolerance {found.tolerance:.2g}, or an interval that holds 0)",
        "better": f"better than simulated by more than {found.tolerance:.2g}: judge {found.runtime} by this figure",
        "worse": f"WORSE than simulated by more than {found.tolerance:.2g}: judge {found.runtime} by this figure",
    }[found.verdict]
    alike = ", ".join(f"{FIGURES[name].rstrip(' ↑↓')} {own.value:.4g}" for name, own in found.agreement.items())
    return (
        f"{found.runtime:<13} {title} {own.value:.3f} [{own.low:.3f}, {own.high:.3f}], {change.value:+.3f} "
        f"[{change.low:+.3f}, {change.high:+.3f}] to simulated: {told}; {alike}; {found.size_bytes:,} bytes"
    )


def _in_other_runtime(latency: dict[str, Any]) -> str:
    """How eager compares, and what really ran; nothing for eager itself."""
    if latency["runtime"] == "eager" or not latency.get("eager_ratio"):
        return ""
    return f"; {1 / latency['eager_ratio']:.2f} × the speed of dense in eager; ran {latency['ran']}"


def figure(value: float) -> str:
    """A figure with four digits at least, thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def count(value: int | None) -> str:
    """A count with thousands separators."""
    return "not measured" if value is None else f"{value:,}"


def print_break_even(pays: Any) -> None:
    """From which width each format pays, a row for each kind of layer and size."""
    table = Table("layer", "positions", "batch", "runtime", "format", "pays from", "at best", box=None)
    for row in pays.to_dict("records"):
        width = row["from_width"]
        shown = f"{width:.0f} channels" if width == width else "nowhere here"
        table.add_row(
            row["kind"], str(row["positions"]), str(row["batch"]), row["runtime"], row["format"], shown,
            f"{row['best_speed_up']:.2f} ×",
        )  # fmt: skip
    out.print(table)
