import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from gencomp_core.data import verses
from gencomp_core.data.verses import (
    BOS,
    CARD_FILE,
    EOS,
    MASK,
    PAD,
    PAIRS_FILE,
    SPECIAL_PIECES,
    TOKENIZER_FILE,
    UNK,
    VERSES_FOLDER,
    Split,
    VersePairs,
    load_tokenizer,
    load_verses,
)
from gencomp_core.errors import DataError
from gencomp_core.models.substitution import learn_substitutions, substitute
from tools.make_verses import clean, comparable, drop_quotes, repeated, split_of, split_verses

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
CARD = json.loads((VERSES_FOLDER / CARD_FILE).read_text())


@cache
def verses_of(split: Split) -> VersePairs:
    return load_verses(split)


@cache
def learned_table() -> dict[str, str]:
    return learn_substitutions(verses_of("train"))


def chapters(pairs: VersePairs) -> set[str]:
    return {reference.rpartition(":")[0] for reference in pairs.references}


# --- the shipped pairs


def test_the_splits_hold_what_the_card_says() -> None:
    assert {split: len(verses_of(split)) for split in SPLITS} == CARD["verses"]
    assert {split: len(chapters(verses_of(split))) for split in SPLITS} == CARD["chapters"]
    assert CARD["verses"] == {"train": 28_139, "validation": 1_552, "test": 1_057}
    assert len(chapters(verses_of("test"))) == 45


def test_no_verse_occurs_twice_and_no_chapter_is_in_two_splits() -> None:
    references = [reference for split in SPLITS for reference in verses_of(split).references]
    assert max(Counter(references).values()) == 1
    in_splits = Counter(chapter for split in SPLITS for chapter in chapters(verses_of(split)))
    assert max(in_splits.values()) == 1


def test_every_chapter_is_where_its_hash_puts_it() -> None:
    for split in SPLITS:
        for chapter in chapters(verses_of(split)):
            book, _, number = chapter.rpartition(" ")
            assert split_of(book, int(number)) == split


@pytest.mark.parametrize("side", ["archaic", "modern"])
def test_no_training_verse_repeats_a_held_out_one(side: str) -> None:
    train = getattr(verses_of("train"), side)
    held_out = getattr(verses_of("validation"), side) + getattr(verses_of("test"), side)
    assert not any(repeated(train[::3], held_out))


def test_smaller_test_sets_are_part_of_larger_ones() -> None:
    every = verses_of("test")
    for n in CARD["fixed_test_sizes"]:
        chosen = load_verses("test", n)
        assert chosen.references == every.references[:n]
        assert (chosen.archaic, chosen.modern) == (every.archaic[:n], every.modern[:n])


def test_the_test_sets_stay_the_same() -> None:
    places = verses_of("test").references
    assert places[:3] == ("Hebrews 7:22", "Ephesians 4:32", "Deuteronomy 16:9")
    assert (places[199], places[499], places[1056]) == ("Psalms 113:9", "Ezekiel 5:5", "John 5:28")


def test_a_small_test_set_draws_on_most_test_chapters() -> None:
    assert len(chapters(load_verses("test", 200))) > 35


def test_some_validation_verses_are_spread_over_the_books() -> None:
    few = load_verses("validation", 61)
    assert len(few) == len(set(few.references)) == 61
    assert len(chapters(few)) > 30


@pytest.mark.parametrize("n", [0, -1, 1058])
def test_a_number_out_of_range_is_refused(n: int) -> None:
    with pytest.raises(DataError, match=f"n must be between 1 and 1057 for the test verses, got {n}."):
        load_verses("test", n)


@pytest.mark.parametrize("split", SPLITS)
def test_no_markup_quotes_or_stray_spaces_are_left(split: Split) -> None:
    for archaic, modern in verses_of(split):
        for text in (archaic, modern):
            assert not re.search(r"[<>¶“”‘’\"\\]", text), text
            assert text == " ".join(text.split())
            assert not re.search(r" [,.;:?!)]|[,.;:?!][A-Za-z]|[a-z][A-Z]", text), text
        assert comparable(archaic, modern)
        assert not re.search(r"(?<!\w)'|[^s]'(?!\w)", modern), modern  # a quotation's mark, no apostrophe


def test_the_last_verse_carries_no_glossary() -> None:
    assert verses_of("train").references[-1] == "Revelation of John 22:21"
    assert verses_of("train").modern[-1] == "The grace of the Lord Jesus Christ be with all the saints. Amen."


# --- damage


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "verses"
    shutil.copytree(VERSES_FOLDER, folder)
    monkeypatch.setattr(verses, "VERSES_FOLDER", folder)
    return folder


LOADERS: dict[str, Callable[[], object]] = {PAIRS_FILE: lambda: load_verses("test"), TOKENIZER_FILE: load_tokenizer}


def data_line(load: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", LOADERS)
def test_an_unharmed_copy_is_read(copied: Path, name: str) -> None:
    LOADERS[name]()


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("missing", ["itself", CARD_FILE])
def test_a_missing_file_is_named(copied: Path, name: str, missing: str) -> None:
    gone = copied / (name if missing == "itself" else missing)
    gone.unlink()
    assert data_line(LOADERS[name]) == f"{gone} is missing. Restore it from the package or repository."


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_flipped_bit_or_a_cut_is_noticed(copied: Path, name: str, where: float) -> None:
    path = copied / name
    whole = path.read_bytes()
    at = int(where * (len(whole) - 1))
    for content in (whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :], whole[:at]):
        path.write_bytes(content)
        assert data_line(LOADERS[name]).startswith(f"{path} is damaged")


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sha256": {}}', b'{"sha256": 3}', b"\xff\xfe"])
def test_a_damaged_card_is_named(copied: Path, name: str, content: bytes) -> None:
    (copied / CARD_FILE).write_bytes(content)
    assert data_line(LOADERS[name]).startswith(f"{copied / CARD_FILE} is damaged")


def test_a_folder_in_place_of_the_file_is_named(copied: Path) -> None:
    (copied / PAIRS_FILE).unlink()
    (copied / PAIRS_FILE).mkdir()
    assert f"{copied / PAIRS_FILE} can't be read" in data_line(LOADERS[PAIRS_FILE])


# --- tokenizer


def test_the_tokenizer_has_4096_pieces_and_the_special_ones_first() -> None:
    tokenizer = load_tokenizer()
    assert tokenizer.get_vocab_size() == 4096
    assert [tokenizer.id_to_token(i) for i in (PAD, BOS, EOS, UNK, MASK)] == list(SPECIAL_PIECES)


@pytest.mark.parametrize("split", SPLITS)
def test_decoding_gives_back_every_held_out_verse_and_a_quarter_of_training(split: Split) -> None:
    tokenizer, step = load_tokenizer(), 4 if split == "train" else 1
    texts = [*verses_of(split).archaic[::step], *verses_of(split).modern[::step]]
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    assert tokenizer.decode_batch(encoded) == texts
    assert not any(set(ids) & set(range(len(SPECIAL_PIECES))) for ids in encoded)


@given(st.lists(st.text([chr(code) for code in range(33, 127)], min_size=1)).map(" ".join))
def test_decoding_gives_back_any_ascii_text(text: str) -> None:
    tokenizer = load_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_special_pieces_vanish_in_decoding() -> None:
    tokenizer = load_tokenizer()
    ids = tokenizer.encode("Thou shalt not kill.").ids
    assert tokenizer.decode([BOS, *ids, EOS, PAD, PAD]) == "Thou shalt not kill."
    assert tokenizer.encode("<mask>").ids == [MASK]


# --- lines to pass


def bleu(texts: list[str], references: list[str]) -> float:
    return BLEU().corpus_score(texts, [references]).score


@pytest.mark.parametrize("n", CARD["fixed_test_sizes"])
def test_bleu_of_the_baselines_is_what_the_card_says(n: int) -> None:
    test, stated = load_verses("test", n), CARD["bleu_of_baselines"]
    copied = bleu(list(test.archaic), list(test.modern))
    replaced = bleu([substitute(text, learned_table()) for text in test.archaic], list(test.modern))
    assert copied == pytest.approx(stated["copy"][str(n)], abs=0.01)
    assert replaced == pytest.approx(stated["substitution"][str(n)], abs=0.01)
    assert replaced > copied + 5


def test_the_baselines_reach_what_was_measured() -> None:
    stated = CARD["bleu_of_baselines"]
    assert stated["copy"]["1057"] == pytest.approx(41.1, abs=0.05)
    assert stated["substitution"]["1057"] > 46
    assert stated["substitution_entries"] == len(learned_table())
    assert stated["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|")


def test_the_table_knows_common_archaic_words() -> None:
    expected = {"unto": "to", "thou": "you", "Thou": "You", "hath": "has", "saith": "says", "smote": "struck"}
    assert {word: learned_table().get(word) for word in expected} == expected


def test_only_a_single_word_between_matches_is_learned() -> None:
    pairs = [("he spake unto them", "he spoke to them"), ("he saith unto them", "he says this to them")] * 5
    assert learn_substitutions(pairs) == {}
    assert learn_substitutions([("he hath it, yea", "he has it, yes")] * 5) == {"hath": "has", "yea": "yes"}
    assert learn_substitutions([("he hath it", "he has it")] * 4) == {}
    assert learn_substitutions([("he hath it", "he has it")] * 4, min_count=4) == {"hath": "has"}


def test_a_word_that_is_mostly_kept_has_no_entry() -> None:
    changed, kept = [("in the meat", "in the food")] * 6, [("in the meat", "in the meat")] * 7
    assert learn_substitutions(changed + kept) == {}
    assert learn_substitutions(changed + kept[:5]) == {"meat": "food"}


def test_substitution_leaves_everything_else_alone() -> None:
    table = {"hath": "has", "thy": "your"}
    assert substitute("(He hath, thy  God's; Hath thyself!)", table) == "(He has, your  God's; Hath thyself!)"


# --- how the pairs are made


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ('<w lemma="x">God</w><note n="1"></note><w>created</w> it. <l eID="9"/>', "God created it."),
        ('it was said,<note n="1"></note><w>and</w> done<note></note>.', "it was said, and done."),
        ("¶ And the <divineName><w>LORD</w></divineName>’s house", "And the LORD’s house"),
        ("Because the \\nd LORD hath sworn", "Because the LORD hath sworn"),
        ('<speaker>Friends</speaker> <lg sID="1"/> We will be glad.', "We will be glad."),
        ('Amen. <div sID="1" type="glossary"/> <list>Abaddon is\nHebrew.', "Amen."),
        ("“Be made clean.”<q/>Immediately he\nwas.", "“Be made clean.” Immediately he was."),
        ("  ", ""),
    ],
)
def test_markup_is_cleaned(marked: str, text: str) -> None:
    assert clean(marked) == text


@pytest.mark.parametrize(
    ("quoted", "text"),
    [
        ("“He says, ‘Don’t go!’” But", "He says, Don't go! But"),
        ("his sons’ wives", "his sons' wives"),
        ("‘This is near’ in it", "This is near in it"),
        ("they said, “ ‘Go", "they said, Go"),
    ],
)
def test_quotation_marks_go_and_apostrophes_stay(quoted: str, text: str) -> None:
    assert drop_quotes(quoted) == text


def test_a_title_before_every_verse_is_dropped() -> None:
    title = '<title type="psalm">A Psalm 3\nof David.</title> <lg/>'
    marked = f"Psalms 2:12: Kiss the Son.\n{title} Psalms 3:1: LORD, how\n{title}Psalms 3:2: Many"
    cleaned = {key: clean(text) for key, text in split_verses(marked, "Psalms").items()}
    assert cleaned == {(2, 12): "Kiss the Son.", (3, 1): "LORD, how", (3, 2): "Many"}


def test_sides_of_very_different_length_are_no_pair() -> None:
    assert comparable("one two three four", "one, two!")
    assert not comparable("one two three four", "one")
    assert not comparable("one two", "one two three four five")
    assert not comparable("", "")
    assert not comparable("one", "")


def test_half_of_the_runs_in_one_held_out_text_is_a_repetition() -> None:
    held_out = ["a b c d e f", "g h i j k"]
    texts = ["a b c d e x", "A, b c; d e x y", "a b c d e f g h i j k", "Amen.", "b c d e f x"]
    assert repeated(texts, held_out) == [True, False, False, False, True]
    assert repeated(["Amen."], ["amen"]) == [True]
