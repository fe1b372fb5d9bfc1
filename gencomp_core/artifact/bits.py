"""Packing of small unsigned integers: b bits a value, nothing between them."""

import numpy as np


def pack_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Pack unsigned integers below 2^bits: (n,) -> (ceil(n · bits / 8),) uint8, lowest bit first."""
    if bits == 8:
        return values.astype(np.uint8)
    n_bytes = -(-bits // 8)
    little = values.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :n_bytes]
    spread = np.unpackbits(little, axis=1, bitorder="little")[:, :bits]
    return np.packbits(spread, bitorder="little")


def unpack_bits(packed: np.ndarray, bits: int, n: int) -> np.ndarray:
    """Inverse of `pack_bits`: (n,) uint32."""
    if bits == 8:
        return packed[:n].astype(np.uint32)
    spread = np.unpackbits(packed, count=n * bits, bitorder="little").reshape(n, bits)
    padded = np.zeros((n, 32), np.uint8)
    padded[:, :bits] = spread
    return np.packbits(padded, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)


def packed_bytes(n: int, bits: int) -> int:
    """Bytes that `pack_bits` needs for n values."""
    return -(-n * bits // 8)
