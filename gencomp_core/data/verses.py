"""Archaic–modern verse pairs: 30,748 verses in Early Modern English, each with the same in today's English.

Derived from two public-domain texts, altered (`assets/LICENSES.md`). Split by chapter, so that no
neighbouring verse leaks; training verses that mostly repeat a held-out one are left out.
`tools/make_verses.py` makes the files and says how.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gencomp_core.errors import DataError
from gencomp_core.runtime_env import ASSETS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VERSES_FOLDER = ASSETS / "data" / "verses"
PAIRS_FILE = "verses.parquet"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "card.json"
SPECIAL_PIECES = ("<pad>", "<bos>", "<eos>", "<unk>", "<mask>")
PAD, BOS, EOS, UNK, MASK = range(len(SPECIAL_PIECES))

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class VersePairs:
    """Texts in two kinds of English, aligned by position.

    Attributes:
        references: where each verse stands, for example "Genesis 1:1".
        archaic: the source texts.
        modern: the target texts.
    """

    references: tuple[str, ...]
    archaic: tuple[str, ...]
    modern: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.archaic)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(zip(self.archaic, self.modern, strict=True))


def load_verses(split: Split, n: int | None = None) -> VersePairs:
    """Read one split, or `n` verses of it.

    Test verses come in one fixed random order of which the first `n` are taken, so that a smaller test
    set is part of every larger one; 200, 500 and all are the sets that results are reported on. Training
    and validation verses come in the order of the books, and `n` of them are spread evenly.

    Raises:
        DataError: the file is missing or damaged, or `n` is out of range.
    """
    import pyarrow.parquet as parquet

    content = io.BytesIO(_read_checked(PAIRS_FILE))
    rows = [row for row in parquet.read_table(content).to_pylist() if row["split"] == split]
    if n is not None and not 1 <= n <= len(rows):
        raise DataError(f"n must be between 1 and {len(rows)} for the {split} verses, got {n}.")
    if split == "test":
        rows = sorted(rows, key=lambda row: row["test_order"])[:n]
    elif n is not None:
        rows = [rows[i * len(rows) // n] for i in range(n)]
    return VersePairs(
        references=tuple(f"{row['book']} {row['chapter']}:{row['verse']}" for row in rows),
        archaic=tuple(row["archaic"] for row in rows),
        modern=tuple(row["modern"] for row in rows),
    )


def load_tokenizer() -> "Tokenizer":
    """4,096 unigram pieces learned from both sides of the training split (Kudo 2018, arXiv:1804.10959).

    Nothing is normalised: decoding gives back any text of known characters with single spaces between
    words. Known are printable ASCII and what the training verses hold; another one becomes `<unk>`. Ids 0
    to 4 are `SPECIAL_PIECES`; encoding adds none of them.

    Raises:
        DataError: the file is missing or damaged.
    """
    from tokenizers import Tokenizer

    return Tokenizer.from_str(_read_checked(TOKENIZER_FILE).decode())


def sha256(content: bytes) -> str:
    """Checksum as the card lists it."""
    return hashlib.sha256(content).hexdigest()


def _read_checked(name: str) -> bytes:
    """Content of a file of this set whose checksum is the one on the card."""
    content, card_path = _read(VERSES_FOLDER / name), VERSES_FOLDER / CARD_FILE
    try:
        expected = json.loads(_read(card_path))["sha256"][name]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{card_path} is damaged ({error}). Replace it with a fresh copy.") from None
    if sha256(content) != expected:
        raise DataError(
            f"{VERSES_FOLDER / name} is damaged (its checksum is not the one in {CARD_FILE}). "
            "Replace both with fresh copies."
        )
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Restore it from the package or repository.") from None
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}). Replace it with a fresh copy.") from None
