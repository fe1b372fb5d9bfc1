"""What the axes of a frontier may show, by address: `size_bytes`, `latency_ms:openvino:16`, `kl_nats`. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gencomp_core.errors import EvaluationError
from gencomp_core.records import FIGURES, METRICS, Better
from gencomp_core.registry import suggestion

RUNTIME, BATCH = "eager", 1
_ARROWS: dict[str, Better] = {"↑": "higher", "↓": "lower"}


@dataclass(frozen=True)
class AxisFacts:
    """One axis of a frontier.

    Attributes:
        address: as people write it, complete.
        column: of the table, with `_low` and `_high` beside it where the figure has an interval.
        title: as printed, with unit.
        better: direction.
        timed: whether it belongs to a runtime and a batch.
        runtime, batch: which.
    """

    address: str
    column: str
    title: str
    better: Better = "lower"
    timed: bool = False
    runtime: str = RUNTIME
    batch: int = BATCH


COSTS = {
    facts.address: facts
    for facts in (
        AxisFacts("size_bytes", "size_bytes", "weights file, bytes"),
        AxisFacts("macs", "macs", "MACs per sample"),
        AxisFacts("effective_bits", "effective_bits", "bits of the file per parameter"),
        AxisFacts("latency_ms", "latency_ms", "latency, ms", timed=True),
        AxisFacts("peak_memory_mb", "peak_memory_mb", "peak memory, MB", timed=True),
    )
}
"""Costs by name; lower is better for all."""
SEARCHED = ("size_bytes", "macs", "latency_ms")


def cost_axis(address: str, *, option: str = "--x") -> AxisFacts:
    """The cost behind an address: NAME, or NAME:RUNTIME and NAME:RUNTIME:BATCH for what is timed.

    Args:
        option: named in messages.

    Raises:
        EvaluationError: no such cost, or a batch that is no number.
    """
    name, *where = address.split(":")
    if name not in COSTS:
        raise EvaluationError(
            f"{option} must be one of {', '.join(COSTS)}, got {address!r}.{suggestion(name, list(COSTS))}"
        )
    facts = COSTS[name]
    if not facts.timed:
        if where:
            raise EvaluationError(f"{option} {name} belongs to no runtime, got {address!r}. Write {option} {name}.")
        return facts
    if len(where) > 2 or not all(where):
        raise EvaluationError(
            f"{option} must be {name}:RUNTIME:BATCH, got {address!r}. Write for example {option} {name}:openvino:16."
        )
    runtime, batch = (*where, *(RUNTIME, str(BATCH))[len(where) :])
    if not (batch.isascii() and batch.isdecimal() and int(batch)):
        raise EvaluationError(
            f"The batch of {option} must be a whole number above 0, got {batch!r}. Write {option} {name}:{runtime}:16."
        )
    return replace(
        facts,
        address=f"{name}:{runtime}:{int(batch)}",
        title=f"{runtime} {facts.title.replace(',', f' at batch {int(batch)},')}",
        runtime=runtime,
        batch=int(batch),
    )


def searched_axis(address: str) -> AxisFacts:
    """The cost of a search behind an address: one that is asked of every candidate.

    Raises:
        EvaluationError: no such cost, or none of bytes, MACs and latency.
    """
    facts = cost_axis(address)
    if facts.column not in SEARCHED:
        raise EvaluationError(f"--x of a search must be one of {', '.join(SEARCHED)}, got {address!r}. Choose one.")
    return facts


def quality_axis(address: str, *, metric: str, option: str = "--y") -> AxisFacts:
    """The quality behind an address: `quality` or the metric's name, or a figure of `FIGURES` with a direction.

    Raises:
        EvaluationError: no such figure.
    """
    choices = quality_axes(metric)
    name = "quality" if address == metric else address
    if name not in choices:
        raise EvaluationError(
            f"{option} must be one of {', '.join(choices)}, got {address!r}.{suggestion(address, list(choices))}"
        )
    return choices[name]


def quality_axes(metric: str) -> Mapping[str, AxisFacts]:
    """All that may stand on the axis of quality, the metric first."""
    facts = METRICS[metric]
    found = {"quality": AxisFacts("quality", "quality", facts.title, facts.better)}
    for name, text in FIGURES.items():
        title, _, arrow = text.rpartition(" ")
        if arrow in _ARROWS:
            found[name] = AxisFacts(name, name, title, _ARROWS[arrow])
    return found
