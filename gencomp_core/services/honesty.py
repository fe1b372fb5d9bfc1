"""What a configuration really bought: zeros, bits and multiplications on paper beside bytes and milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gencomp_core.charts.theme import bytes_text, count_text
from gencomp_core.records import METRICS, Latency, Measurement, RuntimeQuality, TensorCost
from gencomp_core.services.remedies import NOTABLE_ZEROS, Found, remedies
from gencomp_core.store import Store

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One line of the account.

    Attributes:
        what: that is compared.
        on_paper: what theory says.
        really: what was written or measured.
    """

    what: str
    on_paper: str
    really: str


@dataclass(frozen=True)
class Honesty:
    """Theory beside fact.

    Attributes:
        zeros: fraction of all stored values that is exactly zero.
        theoretical_bytes: non-zero values at their width, as if positions and scales were free.
        written_bytes: of the weights file.
        transport_bytes: of the same after zstd; None where that was not measured.
        zeros_saved_bytes: how much smaller the file is than with every zero written out.
        overhead_bytes: scales and zero points.
        codings: tensors per coding, such as {"dense": 40, "bitmask": 12}.
        verdict: plain sentences.
        remedies: what usually helps against what was found, most important first.
        rows: the same as a table.
    """

    zeros: float
    theoretical_bytes: int
    written_bytes: int
    transport_bytes: int | None
    zeros_saved_bytes: int
    overhead_bytes: int
    codings: dict[str, int]
    verdict: str
    remedies: tuple[str, ...] = ()
    rows: tuple[Row, ...] = field(default=())


def honesty(
    tensors: Sequence[TensorCost],
    *,
    size_bytes: int,
    dense_size_bytes: int,
    transport_bytes: int | None = None,
    macs: int | None = None,
    dense_macs: int | None = None,
    latencies: Sequence[Latency] = (),
    qualities: Sequence[RuntimeQuality] = (),
) -> Honesty:
    """Account of one configuration from how its tensors were written and what was measured.

    Args:
        macs, dense_macs: multiply-accumulates of one sample.
        latencies: measured; those of batch 1 are told.
        qualities: of other runtimes.
    """
    n_values = sum(tensor.n_values for tensor in tensors)
    zeros = sum(tensor.n_zeros for tensor in tensors) / max(1, n_values)
    theoretical = sum((tensor.n_values - tensor.n_zeros) * tensor.bits for tensor in tensors) // 8
    overhead = sum(tensor.overhead_bytes for tensor in tensors)
    all_written = sum(-(-tensor.n_values * tensor.bits // 8) + tensor.overhead_bytes for tensor in tensors)
    saved = all_written - sum(tensor.n_bytes for tensor in tensors)
    codings: dict[str, int] = {}
    for tensor in tensors:
        codings[tensor.coding] = codings.get(tensor.coding, 0) + 1
    timed = tuple(own for own in latencies if own.batch == 1)
    found = Found(
        zeros=zeros,
        zeros_saved_bytes=saved,
        size_bytes=size_bytes,
        dense_size_bytes=dense_size_bytes,
        narrowest_bits=min((own.bits for own in tensors if own.overhead_bytes), default=None),
        macs_share=macs / dense_macs if macs and dense_macs else None,
        latencies=timed,
        runtime_bytes={own.runtime: own.size_bytes for own in qualities},
    )
    sizes = Row(
        "size",
        f"{zeros:.0%} zeros; the other values alone {bytes_text(theoretical)}",
        f"{bytes_text(size_bytes)} written, "
        f"{bytes_text(transport_bytes) if transport_bytes else NOT_MEASURED} after zstd; dense "
        f"{bytes_text(dense_size_bytes)}",
    )
    return Honesty(
        zeros=zeros,
        theoretical_bytes=theoretical,
        written_bytes=size_bytes,
        transport_bytes=transport_bytes,
        zeros_saved_bytes=saved,
        overhead_bytes=overhead,
        codings=codings,
        verdict=_verdict(found),
        remedies=remedies(found),
        rows=(sizes, *_speed_rows(timed, macs, dense_macs), *map(_quality_row, qualities)),
    )


def honesty_of(store: Store, measurement: Measurement) -> Honesty:
    """Account of a stored measurement, with the multiplications of dense where dense was measured too."""
    dense = store.measurement(measurement.request.dense().signature)
    return honesty(
        measurement.tensors,
        size_bytes=measurement.size_bytes,
        dense_size_bytes=measurement.dense_size_bytes,
        transport_bytes=measurement.transport_bytes,
        macs=measurement.macs,
        dense_macs=dense.macs if dense else None,
        latencies=measurement.latency,
        qualities=measurement.runtime_quality,
    )


def _verdict(found: Found) -> str:
    size, dense, saved = found.size_bytes, found.dense_size_bytes, found.zeros_saved_bytes
    is_smaller = size < 0.98 * dense
    smaller = f"{dense / size:.1f} × smaller on disk" if is_smaller else "no smaller on disk"
    worth_naming = is_smaller and saved > 0.01 * dense  # less is lost in the header
    bought = f"the zeros account for {bytes_text(saved)} of that" if worth_naming else "the zeros saved nothing"
    size_part = f"{found.zeros:.0%} zeros, {smaller}" + (f"; {bought}" if found.zeros >= NOTABLE_ZEROS else "")
    if not found.latencies:
        return f"{size_part}. Speed was not measured."
    return " ".join([f"{size_part}.", *map(_speed, found.latencies)])


def _speed(latency: Latency) -> str:
    if latency.verdict == "unclear":
        return f"The machine was too busy to tell its speed in {latency.runtime}."
    if latency.verdict == "tie":
        speed = f"no faster in {latency.runtime} (the difference is within this machine's noise)"
    else:
        speed = f"{1 / latency.ratio:.2f} × the speed of dense in {latency.runtime}"
    what_ran = "zeros and small integers run as ordinary floats there"
    if latency.runtime != "eager":
        what_ran = f"what ran is {latency.ran}"
    return f"It is {speed}: {what_ran}."


def _speed_rows(latencies: Sequence[Latency], macs: int | None, dense_macs: int | None) -> list[Row]:
    paper = "multiplications not counted" if macs is None else f"{count_text(macs)} multiplications"
    if macs and dense_macs:
        paper += f", {macs / dense_macs - 1:+.0%} of dense" if macs != dense_macs else ", as many as dense"
    rows = [
        Row(
            f"speed in {own.runtime}",
            paper,
            f"{own.median_ms:.2f} ms a sample; dense {own.dense_median_ms:.2f} there, "
            f"{own.dense_eager_median_ms:.2f} in eager",
        )
        for own in latencies
    ]
    return rows or [Row("speed", paper, NOT_MEASURED)]


def _quality_row(found: RuntimeQuality) -> Row:
    own, change = found.quality, found.change_to_simulated
    told = {"same": "the same", "better": "better", "worse": "worse"}[found.verdict]
    return Row(
        f"{METRICS[own.metric].title} in {found.runtime}",
        f"simulated {own.value - change.value:.2f}",
        f"{own.value:.2f} [{own.low:.2f}, {own.high:.2f}], {told} by its own samples (±{found.tolerance:.2g})",
    )
