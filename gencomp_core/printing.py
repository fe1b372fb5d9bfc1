"""What the command line prints: tables and lines on stdout, progress and errors on stderr."""

import json
import sys
import textwrap
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Column, Table

from gencomp_core.records import Measurement, Progress, Quality

SECONDS_A_LINE = 1.0
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


def followed(steps: Generator[Progress, None, Found]) -> Found:
    """What a long computation returns, with its progress on stderr."""
    report = reporter()
    while True:
        try:
            report(next(steps))
        except StopIteration as finished:
            found: Found = finished.value
            return found


def print_search(found: Mapping[str, Any]) -> None:
    """The frontier that a search found, and what it asked for that."""
    name = found["x"].split(":")[0]
    table = Table("title", name, "quality", "interval", "against dense", "", box=None)
    for row in found["frontier"]:
        quality, change = row["quality"], row["change"]
        mark = "knee" if row["is_knee"] else ("" if row["on_line"] else "tied")
        interval = f"[{quality['low']:.2f}, {quality['high']:.2f}]"
        against = f"{change['value']:+.2f} [{change['low']:+.2f}, {change['high']:+.2f}]" if change else ""
        table.add_row(row["title"], f"{row[name]:,.4g}", f"{quality['value']:.2f}", interval, against, mark)
    out.print(table)
    asked = ", ".join(
        f"{own['n_asked']} over {own['n_samples']} samples ({own['n_known']} known before)"
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
    lines += [f"  {latency_line(latency.model_dump())}" for latency in measurement.latency]
    out.print("\n".join(lines), markup=False)


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


def _in_other_runtime(latency: dict[str, Any]) -> str:
    """How eager compares, and what really ran; nothing for eager itself."""
    if latency["runtime"] == "eager" or not latency.get("eager_ratio"):
        return ""
    return f"; {1 / latency['eager_ratio']:.2f} × the speed of dense in eager; ran {latency['ran']}"


def count(value: int | None) -> str:
    """A count with thousands separators."""
    return "not measured" if value is None else f"{value:,}"
