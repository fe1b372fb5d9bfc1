"""Make `assets/data/verses/`: verse pairs, tokenizer and card. Run as `python -m tools.make_verses`.

Needs `diatheke` and the two modules named below, which Debian packages. The modern text's licence asks
that a changed text not carry its name: call it by what it is, an altered modern English translation.
Then run `python -m tools.make_checksums`.
"""

import hashlib
import json
import random
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow
from pyarrow import parquet
from sacrebleu.metrics import BLEU
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gencomp_core.data.verses import (
    CARD_FILE,
    PAIRS_FILE,
    SPECIAL_PIECES,
    TOKENIZER_FILE,
    VERSES_FOLDER,
    Split,
    load_verses,
    sha256,
)
from gencomp_core.models.substitution import learn_substitutions, substitute

ARCHAIC_MODULE, MODERN_MODULE = "engKJV2006eb", "engWEB2015eb"
BOOKS = """
Genesis, Exodus, Leviticus, Numbers, Deuteronomy, Joshua, Judges, Ruth, I Samuel, II Samuel, I Kings, II Kings,
I Chronicles, II Chronicles, Ezra, Nehemiah, Esther, Job, Psalms, Proverbs, Ecclesiastes, Song of Solomon, Isaiah,
Jeremiah, Lamentations, Ezekiel, Daniel, Hosea, Joel, Amos, Obadiah, Jonah, Micah, Nahum, Habakkuk, Zephaniah, Haggai,
Zechariah, Malachi, Matthew, Mark, Luke, John, Acts, Romans, I Corinthians, II Corinthians, Galatians, Ephesians,
Philippians, Colossians, I Thessalonians, II Thessalonians, I Timothy, II Timothy, Titus, Philemon, Hebrews, James,
I Peter, II Peter, I John, II John, III John, Jude, Revelation of John
"""
VOCABULARY_SIZE = 4096
N_GRAM = 5
FIXED_TEST_SIZES = (200, 500, 1057)
ALPHABET = [chr(code) for code in range(33, 127)]


@dataclass(frozen=True)
class Verse:
    """One verse in both texts."""

    book: str
    chapter: int
    verse: int
    archaic: str
    modern: str


def read_book(module: str, book: str) -> dict[tuple[int, int], str]:
    """Marked-up text of every verse of a book, by chapter and verse."""
    command = ["diatheke", "-b", module, "-f", "internal", "-o", "f", "-k", book]
    marked = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return split_verses(marked.replace(f"({module})", ""), book)


def split_verses(marked: str, book: str) -> dict[tuple[int, int], str]:
    """Cut a book at its verse keys; a title, repeated before every verse of its psalm, is dropped first."""
    parts = re.split(rf"{book} (\d+):(\d+):", re.sub(r"<title.*?</title>", "", marked, flags=re.DOTALL))
    keys = zip(map(int, parts[1::3]), map(int, parts[2::3]), strict=True)
    return dict(zip(keys, parts[3::3], strict=True))


def clean(marked: str) -> str:
    """Plain text of one verse: no markup, footnotes, speaker names or appended introductions."""
    text = re.sub(r'<div [^>]*type="(glossary|introduction)".*', "", marked, flags=re.DOTALL)
    text = re.sub(r"<speaker.*?</speaker>", "", text, flags=re.DOTALL)
    text = re.sub(r"<note.*?</note>", " ", text, flags=re.DOTALL)  # often the only thing between two words
    text = re.sub(r"<[^>]*>|¶|\\+nd\b", "", text)
    text = re.sub(r" +([,.;:?!)’”])", r"\1", " ".join(text.split()))
    return re.sub(r"([,.;:?!][’”]*)(?=[A-Za-z])", r"\1 ", text)  # two sentences that only a tag held apart


def drop_quotes(text: str) -> str:
    """Remove quotation marks, which open and close in different verses; apostrophes become straight.

    A ’ is an apostrophe between two letters and after a final s ("the sons’ wives"), else it closes a quotation.
    """
    text = re.sub(r"[“”‘\"]|(?<!\w)’|(?<!s)’(?!\w)", "", text)
    return " ".join(text.replace("’", "'").split())


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.findall(r"\w+", text.lower())


def comparable(archaic: str, modern: str) -> bool:
    """Both sides say about equally much: the number of words differs at most by a factor of two."""
    n_archaic, n_modern = len(words(archaic)), len(words(modern))
    return n_archaic > 0 and 0.5 <= n_modern / n_archaic <= 2


def read_verses() -> list[Verse]:
    """Every pair that is worth keeping, in the order of the books."""
    pairs = []
    for book in " ".join(BOOKS.split()).split(", "):
        archaic, modern = read_book(ARCHAIC_MODULE, book), read_book(MODERN_MODULE, book)
        for chapter, verse in sorted(archaic.keys() & modern.keys()):
            old = drop_quotes(clean(archaic[chapter, verse]))
            new = drop_quotes(clean(modern[chapter, verse]))
            if comparable(old, new):
                pairs.append(Verse(book, chapter, verse, old, new))
    return pairs


def split_of(book: str, chapter: int) -> Split:
    """Split of a whole chapter, from a hash of its name: about 4 % test and 4 % validation."""
    bucket = int(hashlib.md5(f"{book}|{chapter}".encode()).hexdigest(), 16) % 100
    return "test" if bucket < 4 else "validation" if bucket < 8 else "train"


def n_grams(text: str) -> set[tuple[str, ...]]:
    """Runs of five words; a shorter text is one run."""
    found = words(text)
    return {tuple(found[i : i + N_GRAM]) for i in range(max(1, len(found) - N_GRAM + 1))}


def repeated(texts: Iterable[str], held_out: Iterable[str]) -> list[bool]:
    """Whether a text shares at least half of its 5-grams with one held-out text, for every text."""
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, text in enumerate(held_out):
        for gram in n_grams(text):
            holders[gram].append(i)
    verdicts = []
    for text in texts:
        grams = n_grams(text)
        shared = Counter(i for gram in grams for i in holders.get(gram, ()))
        verdicts.append(max(shared.values(), default=0) >= len(grams) / 2)
    return verdicts


def drop_repeated(pairs: list[Verse]) -> list[Verse]:
    """Leave out training verses that repeat a held-out one on either side, as parallel books do."""
    train = [pair for pair in pairs if split_of(pair.book, pair.chapter) == "train"]
    held_out = [pair for pair in pairs if split_of(pair.book, pair.chapter) != "train"]
    archaic = repeated([pair.archaic for pair in train], [pair.archaic for pair in held_out])
    modern = repeated([pair.modern for pair in train], [pair.modern for pair in held_out])
    leaking = {pair for pair, old, new in zip(train, archaic, modern, strict=True) if old or new}
    return [pair for pair in pairs if pair not in leaking]


def write_pairs(pairs: list[Verse]) -> None:
    """Write the parquet file; test verses carry their place in a seeded shuffle."""
    splits = [split_of(pair.book, pair.chapter) for pair in pairs]
    test = [i for i, split in enumerate(splits) if split == "test"]
    random.Random(0).shuffle(test)
    place = {row: order for order, row in enumerate(test)}
    columns = {
        "book": pyarrow.array([pair.book for pair in pairs]),
        "chapter": pyarrow.array([pair.chapter for pair in pairs], pyarrow.int16()),
        "verse": pyarrow.array([pair.verse for pair in pairs], pyarrow.int16()),
        "split": pyarrow.array(splits),
        "test_order": pyarrow.array([place.get(row) for row in range(len(pairs))], pyarrow.int16()),
        "archaic": pyarrow.array([pair.archaic for pair in pairs]),
        "modern": pyarrow.array([pair.modern for pair in pairs]),
    }
    parquet.write_table(pyarrow.table(columns), VERSES_FOLDER / PAIRS_FILE, compression="zstd", compression_level=19)


def write_tokenizer(pairs: list[Verse]) -> None:
    """Learn the pieces from both sides of the training split.

    The trainer gives slightly other pieces in every run, and a checkpoint needs those that it was trained
    with: a file that is there stays; remove it to train a new one.
    """
    if (VERSES_FOLDER / TOKENIZER_FILE).exists():
        return
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_PIECES),
        unk_token="<unk>",
        initial_alphabet=ALPHABET,
        show_progress=False,
    )
    train = [pair for pair in pairs if split_of(pair.book, pair.chapter) == "train"]
    tokenizer.train_from_iterator((text for pair in train for text in (pair.archaic, pair.modern)), trainer)
    tokenizer.save(str(VERSES_FOLDER / TOKENIZER_FILE), pretty=False)


def baselines() -> dict[str, object]:
    """BLEU of copying the source and of the substitution table, on every fixed test set."""
    table, metric = learn_substitutions(load_verses("train")), BLEU()
    copied, replaced = {}, {}
    for n in FIXED_TEST_SIZES:
        test = load_verses("test", n)
        copied[n] = round(metric.corpus_score(test.archaic, [test.modern]).score, 2)
        texts = [substitute(text, table) for text in test.archaic]
        replaced[n] = round(metric.corpus_score(texts, [test.modern]).score, 2)
    signature = str(metric.get_signature())
    return {"copy": copied, "substitution": replaced, "substitution_entries": len(table), "signature": signature}


def write_card(card: dict[str, object]) -> None:
    """Write what the set holds, with the checksums that the loaders compare."""
    checksums = {name: sha256((VERSES_FOLDER / name).read_bytes()) for name in (PAIRS_FILE, TOKENIZER_FILE)}
    content = json.dumps(card | {"sha256": checksums}, indent=2, ensure_ascii=False)
    (VERSES_FOLDER / CARD_FILE).write_text(content + "\n", "utf-8")


def main() -> None:
    """Write pairs and tokenizer, then the card with counts and baselines."""
    VERSES_FOLDER.mkdir(parents=True, exist_ok=True)
    every = read_verses()
    pairs = drop_repeated(every)
    write_pairs(pairs)
    write_tokenizer(pairs)
    chapters = dict.fromkeys((pair.book, pair.chapter) for pair in pairs)
    card: dict[str, object] = {
        "name": "archaic–modern verse pairs, derived from a public-domain modern English translation (altered)",
        "verses_before_overlap_filter": Counter(split_of(pair.book, pair.chapter) for pair in every),
        "verses": Counter(split_of(pair.book, pair.chapter) for pair in pairs),
        "chapters": Counter(split_of(*chapter) for chapter in chapters),
        "fixed_test_sizes": FIXED_TEST_SIZES,
    }
    write_card(card)  # the loaders need its checksums
    write_card(card | {"bleu_of_baselines": baselines()})


if __name__ == "__main__":
    main()
