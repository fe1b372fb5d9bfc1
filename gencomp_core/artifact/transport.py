"""How a weights file travels: as it is, or inside zstd; and how long it takes to load.

The packed file is near its entropy already, so that zstd is offered for transport and never needed
(`docs/decisions/0018-artifacts-with-runtimes.md`).
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import zstandard
from torch import nn

from gencomp_core.artifact.manifest import ZSTD_FILE, Transport
from gencomp_core.artifact.packing import unpack_into
from gencomp_core.errors import ArtifactError
from gencomp_core.runtime_env import threads

LEVEL = 10
"""On packed and on float weights level 19 won less than 0.2 % more and took 30 to 100 times as long."""
N_LOADS = 3

Made = TypeVar("Made")


def transport_bytes(content: bytes) -> int:
    """Length of a weights file after zstd."""
    return len(compressed(content))


def compressed(content: bytes) -> bytes:
    """A weights file inside zstd (RFC 8878), with a checksum of its content."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(content)


def decompressed(content: bytes, *, unpacked_bytes: int) -> bytes:
    """Inverse of `compressed`; never makes more than `unpacked_bytes`.

    Raises:
        ArtifactError: damaged, or of another length.
    """
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(content)
        made = reader.read(unpacked_bytes + 1)
    except zstandard.ZstdError as error:
        raise ArtifactError(f"{ZSTD_FILE} is damaged ({error}). Export the artifact again.") from None
    if len(made) != unpacked_bytes:
        raise ArtifactError(
            f"{ZSTD_FILE} must hold {unpacked_bytes:,} bytes, got "
            f"{'more' if len(made) > unpacked_bytes else f'{len(made):,}'}. Export the artifact again."
        )
    return made


def read_weights(path: Path, *, unpacked_bytes: int) -> bytes:
    """The safetensors file behind a weights file."""
    content = path.read_bytes()
    return decompressed(content, unpacked_bytes=unpacked_bytes) if path.name == ZSTD_FILE else content


def time_loading(path: Path, empty: Callable[[], nn.Module], *, unpacked_bytes: int) -> Transport:
    """Load a weights file a few times, on one thread, and tell how long each part takes.

    Args:
        empty: makes the network that is filled; making it is not counted.
    """
    zipped = path.name == ZSTD_FILE
    rounds = []
    with threads(1):
        for _ in range(N_LOADS):
            network = empty()
            content, read_ms = _timed(path.read_bytes)
            decompress_ms = 0.0
            if zipped:
                content, decompress_ms = _timed(lambda own=content: decompressed(own, unpacked_bytes=unpacked_bytes))  # type: ignore[misc]
            _, unpack_ms = _timed(lambda own=content, into=network: unpack_into(own, into))  # type: ignore[misc]
            rounds.append((read_ms, decompress_ms, unpack_ms))
    read, decompress, unpack = (round(statistics.median(column), 3) for column in zip(*rounds, strict=True))
    return Transport(
        coding="zstd" if zipped else "none",
        unpacked_bytes=unpacked_bytes,
        read_ms=read,
        decompress_ms=decompress,
        unpack_ms=unpack,
    )


def _timed(run: Callable[[], Made]) -> tuple[Made, float]:
    start = time.perf_counter()
    made = run()
    return made, (time.perf_counter() - start) * 1000
