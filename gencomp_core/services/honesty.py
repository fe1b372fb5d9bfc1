"""What a configuration really bought: zeros and bits on paper beside bytes that were written."""

from collections.abc import Sequence
from dataclasses import dataclass

from gencomp_core.charts.theme import bytes_text
from gencomp_core.records import Latency, TensorCost


@dataclass(frozen=True)
class Honesty:
    """Theory beside fact.

    Attributes:
        zeros: fraction of all stored values that is exactly zero.
        theoretical_bytes: non-zero values at their width, as if positions and scales were free.
        written_bytes: of the weights file.
        zeros_saved_bytes: how much smaller the file is than with every zero written out.
        overhead_bytes: scales and zero points.
        codings: tensors per coding, such as {"dense": 40, "bitmask": 12}.
        verdict: one plain sentence.
    """

    zeros: float
    theoretical_bytes: int
    written_bytes: int
    zeros_saved_bytes: int
    overhead_bytes: int
    codings: dict[str, int]
    verdict: str


def honesty(
    tensors: Sequence[TensorCost], *, size_bytes: int, dense_size_bytes: int, latency: Latency | None = None
) -> Honesty:
    """Account of one configuration from how its tensors were written."""
    n_values = sum(tensor.n_values for tensor in tensors)
    zeros = sum(tensor.n_zeros for tensor in tensors) / max(1, n_values)
    theoretical = sum((tensor.n_values - tensor.n_zeros) * tensor.bits for tensor in tensors) // 8
    overhead = sum(tensor.overhead_bytes for tensor in tensors)
    all_written = sum(-(-tensor.n_values * tensor.bits // 8) + tensor.overhead_bytes for tensor in tensors)
    saved = all_written - sum(tensor.n_bytes for tensor in tensors)
    codings: dict[str, int] = {}
    for tensor in tensors:
        codings[tensor.coding] = codings.get(tensor.coding, 0) + 1
    return Honesty(
        zeros=zeros,
        theoretical_bytes=theoretical,
        written_bytes=size_bytes,
        zeros_saved_bytes=saved,
        overhead_bytes=overhead,
        codings=codings,
        verdict=_verdict(zeros, saved, size_bytes, dense_size_bytes, latency),
    )


def _verdict(zeros: float, saved: int, size: int, dense: int, latency: Latency | None) -> str:
    is_smaller = size < 0.98 * dense
    smaller = f"{dense / size:.1f} × smaller on disk" if is_smaller else "no smaller on disk"
    worth_naming = is_smaller and saved > 0.01 * dense  # less is lost in the header
    bought = f"the zeros account for {bytes_text(saved)} of that" if worth_naming else "the zeros saved nothing"
    size_part = f"{zeros:.0%} zeros, {smaller}" + (f"; {bought}" if zeros >= 0.02 else "")
    if latency is None:
        return f"{size_part}. Speed was not measured."
    if latency.verdict == "unclear":
        return f"{size_part}. The machine was too busy to tell its speed."
    if latency.verdict == "tie":
        speed = f"no faster in {latency.runtime} (the difference is within this machine's noise)"
    else:
        speed = f"{1 / latency.ratio:.2f} × the speed of dense in {latency.runtime}"
    what_ran = "zeros and small integers run as ordinary floats there"
    if latency.runtime != "eager":
        what_ran = f"what ran is {latency.ran}"
    return f"{size_part}. It is {speed}: {what_ran}."
