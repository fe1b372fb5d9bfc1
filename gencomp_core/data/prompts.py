"""Prompts with references, for text models of one's own: a file with a pair a line, or the bundled verses."""

from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from gencomp_core.data.verses import load_verses
from gencomp_core.errors import DataError

LEAST = 28
"""Pairs that a file needs: 21 are judged, one more than BLEU needs, and seven are for calibration."""
APART = 4
"""One pair in so many is kept apart from judging."""


@dataclass(frozen=True)
class PromptPairs:
    """Texts to answer and what a person answered, aligned by position.

    Attributes:
        title: where they come from.
        prompts, references: judged ones, in a fixed order.
        apart_prompts, apart_references: others, for calibration and tuning.
    """

    title: str
    prompts: tuple[str, ...]
    references: tuple[str, ...]
    apart_prompts: tuple[str, ...]
    apart_references: tuple[str, ...]


def read_prompts(path: Path) -> PromptPairs:
    """Read a UTF-8 file with `prompt<TAB>reference` in every line; each fourth pair is kept apart from judging.

    Raises:
        DataError: a missing file, a line of another form, or too few lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as UTF-8 text ({error}). Give a file of prompt<TAB>reference.") from None
    pairs = list(starmap(_pair, ((path, number, line) for number, line in enumerate(lines, 1) if line.strip())))
    if len(pairs) < LEAST:
        raise DataError(f"{path} must hold at least {LEAST} lines of prompt<TAB>reference, got {len(pairs)}. Add some.")
    apart = pairs[APART - 1 :: APART]
    judged = [pair for number, pair in enumerate(pairs, 1) if number % APART]
    return PromptPairs(path.name, *_columns(judged), *_columns(apart))


def verse_retellings() -> PromptPairs:
    """Archaic verses to be retold: the test verses are judged, training verses are apart."""
    test, train = load_verses("test"), load_verses("train")
    return PromptPairs("verses, archaic to modern English", test.archaic, test.modern, train.archaic, train.modern)


def verse_continuations() -> PromptPairs:
    """First halves of modern verses to be continued: the test verses are judged, training verses are apart."""
    test, train = load_verses("test"), load_verses("train")
    halves = [[_halves(verse) for verse in split.modern] for split in (test, train)]
    return PromptPairs("second halves of modern verses", *_columns(halves[0]), *_columns(halves[1]))


def _pair(path: Path, number: int, line: str) -> tuple[str, str]:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != 2 or not all(cells):
        raise DataError(
            f"{path} line {number} must be prompt<TAB>reference, got {len(cells)} "
            f"column{'s' * (len(cells) != 1)} in {line[:40]!r}. Correct the line."
        )
    return cells[0], cells[1]


def _halves(text: str) -> tuple[str, str]:
    words = text.split()
    middle = max(1, len(words) // 2)
    return " ".join(words[:middle]), " ".join(words[middle:])


def _columns(pairs: list[tuple[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(prompt for prompt, _ in pairs), tuple(reference for _, reference in pairs)
