"""Texts beside each other: what is marked, what is escaped, what is kept."""

import html
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.charts.texts import aligned_texts, marked_changes, n_changed_words
from gencomp_core.errors import StoreError
from gencomp_core.services.texts import TEXTS, SideBySide, pack_texts, stored_texts
from gencomp_core.store import Store

words = st.text(alphabet="ab .,&<'’é\"", max_size=30)


def plain(marked: str) -> str:
    """Text of the HTML without tags and carets."""
    without = re.sub(r'<span class="gone"[^>]*>‸</span>', "", marked)
    text = re.sub(r"</?mark[^>]*>", "", without)
    return html.unescape(text)


def test_only_words_that_changed_are_marked() -> None:
    marked = marked_changes("He said to him, go now.", "He said to them, go.")
    assert marked == 'He said to <mark title="was: them">him</mark>, go <mark title="new">now</mark>.'


def test_words_that_are_gone_leave_a_caret() -> None:
    assert '<span class="gone" title="gone: very">‸</span>' in marked_changes("a good man", "a very good man")


def test_equal_texts_are_left_alone() -> None:
    assert marked_changes("Peace be with you.", "Peace be with you.") == "Peace be with you."
    assert n_changed_words("Peace be with you.", "Peace be with you.") == 0


@given(words, words)
def test_the_text_itself_is_never_lost_or_changed(text: str, original: str) -> None:
    assert plain(marked_changes(text, original)) == text


@given(words, words)
def test_nothing_is_counted_as_changed_only_for_equal_words(text: str, original: str) -> None:
    token = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
    assert (n_changed_words(text, original) == 0) == (token.findall(text) == token.findall(original))


def test_code_in_a_text_stays_text() -> None:
    evil = "<script>alert(1)</script>"
    table = aligned_texts({"dense": [evil], evil: [evil]}, changed=evil, original="dense", numbers=[0])
    assert "<script" not in table
    assert "&lt;script&gt;" in table


def test_a_table_has_a_row_per_number_in_the_order_asked_for() -> None:
    columns = {"source": ["s0", "s1", "s2"], "dense": ["a", "b", "c"], "new": ["a", "x", "c"]}
    table = aligned_texts(columns, changed="new", original="dense", numbers=[2, 1])
    assert re.findall(r'<th scope="row">(\d+)</th>', table) == ["3", "2"]
    assert table.index("s2") < table.index("s1")
    assert "s0" not in table
    assert table.count("<mark") == 1
    assert table.count('<th scope="col">') == 4


def test_kept_texts_come_back(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'texts.db'}")
    sheet = SideBySide(["thou"], ["you"], ["ye"])
    assert pack_texts(sheet) == pack_texts(sheet)
    store.save_picture("0" * 16, TEXTS, pack_texts(sheet))
    assert stored_texts(store, "0" * 16) == sheet
    assert stored_texts(store, "1" * 16) is None


def test_damaged_texts_are_one_clear_line(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'texts.db'}")
    store.save_picture("0" * 16, TEXTS, pack_texts(SideBySide(["a"], ["b"], ["c"]))[:-9])
    with pytest.raises(StoreError, match=f"texts of measurement {'0' * 16} are damaged"):
        stored_texts(store, "0" * 16)
