"""Texts beside each other as HTML, changed words marked: strings in, one escaped string out."""

import html
import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


def aligned_texts(
    columns: Mapping[str, Sequence[str]], *, changed: str | Sequence[str], original: str, numbers: Sequence[int]
) -> str:
    """A table with one row per numbered text and one column per version.

    Args:
        columns: versions of all texts, by heading.
        changed: heading, or headings, of versions whose words are marked where `original` does not have them.
        original: heading.
        numbers: which texts, in this order, counted from 0.
    """
    marked_headings = {changed} if isinstance(changed, str) else set(changed)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    rows = []
    for number in numbers:
        cells = []
        for name, texts in columns.items():
            marked = name in marked_headings
            shown = marked_changes(texts[number], columns[original][number]) if marked else html.escape(texts[number])
            cells.append(f'<td data-heading="{html.escape(name)}">{shown}</td>')
        rows.append(f'<tr><th scope="row">{number + 1}</th>{"".join(cells)}</tr>')
    headings = f'<thead><tr><th scope="col">#</th>{head}</tr></thead>'
    return f'<table class="texts">{headings}<tbody>{"".join(rows)}</tbody></table>'


def marked_changes(text: str, original: str) -> str:
    """HTML of `text` in which words that `original` does not have at their place are marked.

    Words are aligned by longest matching blocks (Ratcliff and Obershelp 1988, `difflib`). Words of the
    original that are gone leave a thin mark. All else is the text itself, escaped.
    """
    spans, before = [match.span() for match in WORD.finditer(text)], WORD.findall(original)
    pieces, written = [], 0
    for kind, i, i_end, j, j_end in _changes([text[start:stop] for start, stop in spans], before):
        was = html.escape(" ".join(before[i:i_end]))
        if kind == "delete":
            pieces.append(f'<span class="gone" title="gone: {was}">‸</span>')
            continue
        start, stop = spans[j][0], spans[j_end - 1][1]
        pieces.append(html.escape(text[written:start]))
        words = html.escape(text[start:stop])
        marked = f'<mark title="{f"was: {was}" if was else "new"}">{words}</mark>'
        pieces.append(words if kind == "equal" else marked)
        written = stop
    return "".join(pieces) + html.escape(text[written:])


def n_changed_words(text: str, original: str) -> int:
    """Words of `text` that are not those of `original`, or words that are gone, whichever are more."""
    changes = _changes(WORD.findall(text), WORD.findall(original))
    return sum(max(i_end - i, j_end - j) for kind, i, i_end, j, j_end in changes if kind != "equal")


def _changes(words: list[str], before: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, before, words, autojunk=False).get_opcodes()
