"""Texts that are kept with a measurement. No torch."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gencomp_core.errors import StoreError
from gencomp_core.store import Store

TEXTS = "texts"


@dataclass(frozen=True)
class SideBySide:
    """Numbered texts of one model with what they were made from.

    Attributes:
        sources: prompts.
        references: what a person wrote for them.
        texts: what the model made.
    """

    sources: Sequence[str]
    references: Sequence[str]
    texts: Sequence[str]


def pack_texts(sheet: SideBySide) -> bytes:
    """Bytes as the store keeps them: gzip of JSON, the same for the same texts."""
    return gzip.compress(json.dumps(asdict(sheet), ensure_ascii=False).encode(), mtime=0)


def stored_texts(store: Store, signature: str) -> SideBySide | None:
    """Texts of a measurement, or None where none are kept.

    Raises:
        StoreError: what is kept of them can't be read.
    """
    content = store.picture(signature, TEXTS)
    if content is None:
        return None
    try:
        return SideBySide(**json.loads(gzip.decompress(content)))
    except (OSError, ValueError, TypeError, EOFError):
        raise StoreError(
            f"The texts of measurement {signature} are damaged. Measure it again; all others can still be used."
        ) from None
