"""Damaged texts: as many pieces gone as asked, in spans, from a seeded generator."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.data.verses import MASK, PAD
from gencomp_core.training.batches import padded
from gencomp_core.training.denoising import DROPPED, MEAN_SPAN, mask_spans

ratios = st.floats(0, 0.99)
rows = st.lists(st.integers(1, 60).map(lambda n: list(range(10, 10 + n))), min_size=1, max_size=5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(tokens: torch.Tensor) -> list[list[int]]:
    return [[piece for piece in row if piece != PAD] for row in tokens.tolist()]


def runs_between(kept: list[int], first: int, stop: int) -> list[int]:
    """Lengths of the gaps in what was kept of the pieces first, first + 1, ..., stop - 1."""
    edges = [first - 1, *kept, stop]
    return [right - left - 1 for left, right in itertools.pairwise(edges) if right - left > 1]


@given(rows, ratios, st.integers(0, 5))
def test_the_asked_share_of_each_text_is_gone_and_the_rest_stands_in_order(
    whole: list[list[int]], ratio: float, seed: int
) -> None:
    for before, after in zip(whole, texts(mask_spans(padded(whole), ratio, generator(seed))), strict=True):
        kept = [piece for piece in after if piece != MASK]
        assert len(before) - len(kept) == min(round(ratio * len(before)), len(before) - 1)
        assert kept == sorted(kept)
        assert set(kept) <= set(before)


@given(rows, ratios)
def test_a_mask_stands_only_where_a_span_is_gone_and_once_for_it(whole: list[list[int]], ratio: float) -> None:
    for before, after in zip(whole, texts(mask_spans(padded(whole), ratio, generator())), strict=True):
        kept = [piece for piece in after if piece != MASK]
        assert after.count(MASK) <= len(runs_between(kept, 10, 10 + len(before)))
        marked = [9, *after, 10 + len(before)]
        for left, piece, right in zip(marked, marked[1:], marked[2:], strict=False):
            if piece == MASK:
                assert left != MASK and right != MASK
                assert right - left > 1


@given(rows)
def test_at_ratio_zero_nothing_changes(whole: list[list[int]]) -> None:
    assert torch.equal(mask_spans(padded(whole), 0.0, generator()), padded(whole))


@given(rows, ratios, st.integers(1, 9))
def test_padding_is_neither_masked_nor_counted(whole: list[list[int]], ratio: float, width: int) -> None:
    tokens = padded(whole)
    wider = torch.cat([tokens, torch.full((len(whole), width), PAD)], dim=1)
    damaged = mask_spans(tokens, ratio, generator())
    assert torch.equal(mask_spans(wider, ratio, generator()), damaged)
    for row in damaged.tolist():
        assert PAD not in row[: len(row) - row.count(PAD)]


def test_the_damage_is_the_same_at_the_same_seed_alone() -> None:
    tokens = torch.arange(10, 70)[None]
    first = mask_spans(tokens, 0.35, generator(3))
    assert torch.equal(first, mask_spans(tokens, 0.35, generator(3)))
    assert texts(first) != texts(mask_spans(tokens, 0.35, generator(4)))
    assert torch.equal(tokens, torch.arange(10, 70)[None])


def test_spans_have_the_stated_mean_and_one_in_five_leaves_no_mask() -> None:
    tokens = torch.arange(10, 130).expand(200, 120)
    spans, n_masks = [], 0
    for row in texts(mask_spans(tokens, 0.3, generator())):
        spans += runs_between([piece for piece in row if piece != MASK], 10, 130)
        n_masks += row.count(MASK)
    assert sum(spans) == 200 * 36
    assert sum(spans) / len(spans) == MEAN_SPAN
    assert {1, 2, 3, 4, 5, 6} <= set(spans)
    assert n_masks / len(spans) == pytest.approx(1 - DROPPED, abs=0.02)


def test_no_place_of_a_text_is_spared_and_both_ends_are_alike() -> None:
    tokens = torch.arange(10, 40).expand(3000, 30)
    kept = torch.zeros(40)
    for row in texts(mask_spans(tokens, 0.35, generator())):
        for piece in row:
            kept[piece] += piece != MASK
    gone = 1 - kept[10:] / 3000
    assert gone.min() > 0.1  # fewer spans reach the first and the last piece
    assert (gone - gone.flip(0)).abs().max() < 0.05
    assert gone[3:-3].max() - gone[3:-3].min() < 0.06
