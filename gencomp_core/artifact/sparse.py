"""Sparse codings of a list of values, most of which are zero: bitmask, or gaps between non-zeros."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gencomp_core.artifact.bits import pack_bits, packed_bytes, unpack_bits

GAP_BITS = range(2, 17)

Coding = Literal["dense", "bitmask", "index"]


@dataclass(frozen=True)
class Choice:
    """The cheapest coding of one tensor.

    Attributes:
        coding: `dense` stores every value; `bitmask` one bit a value and the non-zeros; `index`
            the gaps between non-zeros and the non-zeros.
        gap_bits: width of a gap when the coding is `index`.
        n_bytes: of values and positions together.
    """

    coding: Coding
    gap_bits: int
    n_bytes: int


def cheapest(nonzero: np.ndarray, value_bits: int) -> Choice:
    """Coding with the fewest bytes; `dense` where nothing is won.

    Args:
        nonzero: (n,) bool.
        value_bits: bits of one stored value.
    """
    n, n_nonzero = nonzero.size, int(np.count_nonzero(nonzero))
    dense = Choice("dense", 0, packed_bytes(n, value_bits))
    bitmask = Choice("bitmask", 0, packed_bytes(n, 1) + packed_bytes(n_nonzero, value_bits))
    gaps = _gaps(nonzero)
    indexed = []
    for gap_bits in GAP_BITS:
        n_entries = n_nonzero + int((gaps >> gap_bits).sum())
        n_bytes = packed_bytes(n_entries, gap_bits) + packed_bytes(n_entries, value_bits)
        indexed.append(Choice("index", gap_bits, n_bytes))
    return min(dense, bitmask, *indexed, key=lambda choice: choice.n_bytes)


def encode_gaps(nonzero: np.ndarray, gap_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the non-zeros as packed gaps.

    A gap too long for its bits is bridged by filler entries that stand for a zero. Source: Han 2016
    (arXiv:1510.00149), section 2, figure 2.

    Returns:
        The packed gaps (uint8), and the positions of all entries, fillers included: (n_entries,) int64.
    """
    gaps = _gaps(nonzero)
    longest = (1 << gap_bits) - 1
    fillers = gaps >> gap_bits
    n_entries = gaps.size + int(fillers.sum())
    entry_gaps = np.full(n_entries, longest, np.int64)
    entry_gaps[np.cumsum(fillers + 1) - 1] = gaps & longest
    return pack_bits(entry_gaps, gap_bits), _positions(entry_gaps)


def decode_gaps(packed: np.ndarray, gap_bits: int, n_entries: int) -> np.ndarray:
    """Positions of all entries: (n_entries,) int64."""
    return _positions(unpack_bits(packed, gap_bits, n_entries).astype(np.int64))


def _gaps(nonzero: np.ndarray) -> np.ndarray:
    """Zeros before each non-zero, since the one before it: (n_nonzero,) int64."""
    return np.diff(np.flatnonzero(nonzero), prepend=-1) - 1


def _positions(gaps: np.ndarray) -> np.ndarray:
    return np.cumsum(gaps + 1) - 1
