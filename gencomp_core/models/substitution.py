"""A table of single words that replaces archaic words by modern ones: the line a trained model must pass.

It shows what a dictionary does without context, word order or grammar. Copying the source is the
line below it. A model under either of them has learned nothing worth compressing.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from difflib import SequenceMatcher

WORD = re.compile(r"\w+(?:['-]\w+)*")
TOKEN = re.compile(rf"{WORD.pattern}|[^\w\s]")


def learn_substitutions(pairs: Iterable[tuple[str, str]], *, min_count: int = 5) -> dict[str, str]:
    """Most frequent counterpart of every word that has another one more often than itself.

    Words and punctuation marks of the two sides are aligned by `difflib` (longest matching block first,
    Ratcliff and Obershelp 1988). A word counts as kept where it lies in a matching block, and as replaced
    where it stands alone between two blocks opposite a single word. Longer gaps say nothing about single
    words and are left out. Case matters: "Thou" and "thou" are two words.

    Args:
        pairs: (source, target) texts of the training split.
        min_count: replacements that must have been seen for an entry.

    Returns:
        source word -> target word, sorted by source word; the same for the same pairs.
    """
    counterparts: dict[str, Counter[str]] = defaultdict(Counter)
    for source, target in pairs:
        old, new = TOKEN.findall(source), TOKEN.findall(target)
        for kind, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if kind == "equal" or (kind == "replace" and i_end - i == j_end - j == 1):
                for before, after in zip(old[i:i_end], new[j:j_end], strict=True):
                    counterparts[before][after] += 1
    table = {}
    for before in sorted(filter(WORD.fullmatch, counterparts)):
        after, count = max(counterparts[before].items(), key=lambda item: (item[1], item[0]))
        if after != before and count >= min_count and WORD.fullmatch(after):
            table[before] = after
    return table


def substitute(text: str, table: dict[str, str]) -> str:
    """Replace every word that the table knows; spaces, punctuation and other words stay."""
    return WORD.sub(lambda match: table.get(match[0], match[0]), text)
