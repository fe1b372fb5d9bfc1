"""What usually helps where compression bought less than it promised."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gencomp_core.charts.theme import bytes_text
from gencomp_core.records import Latency

NOTABLE_ZEROS = 0.02
MANY_ZEROS = 0.2
SMALL = 0.02
INTEGER_ARITHMETIC = re.compile(r"int8 [(×]")
"""What runtimes call layers whose inputs are integers too; others are "int8 weights"."""


@dataclass(frozen=True)
class Found:
    """What an account is judged by.

    Attributes:
        zeros, zeros_saved_bytes: fraction of all values, and what the file is smaller by for them.
        size_bytes, dense_size_bytes: of the weights files.
        narrowest_bits: of quantized weights; None where nothing is quantized.
        macs_share: multiplications, of dense; None where not known.
        latencies: of batch 1.
        runtime_bytes: of the files of other runtimes, by runtime.
    """

    zeros: float
    zeros_saved_bytes: int
    size_bytes: int
    dense_size_bytes: int
    narrowest_bits: int | None = None
    macs_share: float | None = None
    latencies: tuple[Latency, ...] = ()
    runtime_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_faster(self) -> bool:
        """Than dense, in any runtime."""
        return any(own.verdict == "faster" for own in self.latencies)

    @property
    def others(self) -> tuple[Latency, ...]:
        """Latencies in other runtimes than eager."""
        return tuple(own for own in self.latencies if own.runtime != "eager")


def remedies(found: Found) -> tuple[str, ...]:
    """One sentence for each thing that was promised and not bought."""
    return tuple(text for rule in RULES if (text := rule(found)))


def _zeros_that_save_no_bytes(found: Found) -> str | None:
    if found.zeros < NOTABLE_ZEROS or found.zeros_saved_bytes > 0.01 * found.dense_size_bytes:
        return None
    return (
        f"{found.zeros:.0%} zeros lie in a dense file: at this width a mask costs as much as it saves. Prune "
        "further, or remove channels, heads or blocks (channel-pruning)."
    )


def _zeros_in_the_runtime_model(found: Found) -> str | None:
    swollen = {name: n for name, n in found.runtime_bytes.items() if n > 1.2 * found.size_bytes}
    if found.zeros < MANY_ZEROS or not swollen:
        return None
    name, n_bytes = next(iter(swollen.items()))
    return (
        f"The model for {name} writes every zero out ({bytes_text(n_bytes)}). Ship the packed weights, or remove "
        "channels instead of single weights."
    )


def _zeros_that_save_no_time(found: Found) -> str | None:
    fewer = found.macs_share is not None and found.macs_share < 1 - SMALL
    if found.zeros < MANY_ZEROS or fewer or not found.latencies:
        return None
    return "No runtime here skips zeros, so that they save no time. Remove channels, heads or blocks for speed."


def _integers_that_run_as_floats(found: Found) -> str | None:
    if found.narrowest_bits is None or found.others:
        return None
    return "Eager runs integers as floats. Measure it with --runtime openvino, which runs 8 bits as integers."


def _integer_weights_alone(found: Found) -> str | None:
    floats = [own for own in found.others if "int8" in own.ran and not INTEGER_ARITHMETIC.search(own.ran)]
    if not floats or any(own.verdict == "faster" for own in floats):
        return None
    return f"In {floats[0].runtime} only the weights are integers. Add activation-quantization for integer arithmetic."


def _widths_that_no_runtime_has(found: Found) -> str | None:
    wide = [own.runtime for own in found.others if " bits)" in own.ran]
    if not wide:
        return None
    return f"Below 8 bits {wide[0]} runs 8 bits: narrower weights buy bytes there and no time."


def _multiplications_that_save_no_time(found: Found) -> str | None:
    if found.macs_share is None or found.macs_share > 0.9 or not found.latencies or found.is_faster:
        return None
    return (
        f"{1 - found.macs_share:.0%} of the multiplications are gone and no time is: what is left is the cost of each "
        "call. Remove whole blocks or sampler steps, or generate larger batches."
    )


RULES: tuple[Callable[[Found], str | None], ...] = (
    _zeros_that_save_no_bytes,
    _zeros_in_the_runtime_model,
    _zeros_that_save_no_time,
    _integers_that_run_as_floats,
    _integer_weights_alone,
    _widths_that_no_runtime_has,
    _multiplications_that_save_no_time,
)
