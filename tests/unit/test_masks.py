import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from gencomp_core.compression.importance import magnitude
from gencomp_core.compression.masks import keep_largest, keep_largest_of_rows, keep_largest_overall, keep_n_of_m

scores = hnp.arrays(
    "float32", hnp.array_shapes(max_dims=4, max_side=6), elements=st.floats(0, 4, width=16) | st.sampled_from([0, 1.0])
).map(torch.from_numpy)
sparsities = st.floats(0, 1, exclude_max=True)
matrices = hnp.arrays(
    "float32", st.tuples(st.integers(1, 5), st.integers(0, 20)), elements=st.floats(0, 4, width=16)
).map(torch.from_numpy)
patterns = st.integers(2, 9).flatmap(lambda m: st.tuples(st.integers(1, m - 1), st.just(m)))


@given(scores, sparsities)
def test_exactly_the_rounded_share_is_dropped(importance: Tensor, sparsity: float) -> None:
    keep = keep_largest(importance, sparsity)
    assert keep.shape == importance.shape
    assert keep.dtype == torch.bool
    assert int((~keep).sum()) == round(sparsity * importance.numel())


@given(scores, sparsities)
def test_nothing_kept_is_below_anything_dropped(importance: Tensor, sparsity: float) -> None:
    keep = keep_largest(importance, sparsity)
    if keep.any() and not keep.all():
        assert importance[keep].min() >= importance[~keep].max()


@given(scores, sparsities, sparsities)
def test_a_higher_sparsity_drops_a_superset(importance: Tensor, first: float, second: float) -> None:
    low, high = sorted((first, second))
    kept_by_high = keep_largest(importance, high)
    assert keep_largest(importance, low)[kept_by_high].all()


@given(scores, sparsities)
def test_masking_twice_drops_nothing_more(importance: Tensor, sparsity: float) -> None:
    keep = keep_largest(importance + 1, sparsity)
    masked = (importance + 1) * keep
    assert torch.equal(keep_largest(masked, sparsity), keep)


def test_equal_scores_are_dropped_from_the_front() -> None:
    assert keep_largest(torch.ones(4), 0.5).tolist() == [False, False, True, True]
    assert keep_largest(torch.tensor([2.0, 1.0, 0.0, 1.0]), 0.5).tolist() == [True, False, False, True]


def test_no_sparsity_keeps_all() -> None:
    assert keep_largest(torch.zeros(3, 2), 0).all()


def test_the_scores_are_left_alone() -> None:
    importance = torch.tensor([3.0, 1.0, 2.0])
    keep_largest(importance, 0.7)
    assert importance.tolist() == [3.0, 1.0, 2.0]


@given(st.dictionaries(st.text(max_size=3), scores, min_size=1, max_size=4), sparsities)
def test_the_global_ranking_is_that_of_all_scores_together(importance: dict[str, Tensor], sparsity: float) -> None:
    keep = keep_largest_overall(importance, sparsity)
    together = torch.cat([each.flatten() for each in importance.values()])
    assert {name: mask.shape for name, mask in keep.items()} == {name: own.shape for name, own in importance.items()}
    assert torch.equal(torch.cat([mask.flatten() for mask in keep.values()]), keep_largest(together, sparsity))


def test_a_global_ranking_takes_all_from_the_weakest_layer() -> None:
    importance = {"weak": torch.full((2, 2), 0.1), "strong": torch.full((4,), 9.0)}
    keep = keep_largest_overall(importance, 0.5)
    assert not keep["weak"].any()
    assert keep["strong"].all()
    assert [int(keep_largest(own, 0.5).sum()) for own in importance.values()] == [2, 2]


def test_magnitude_ignores_the_sign() -> None:
    assert magnitude(torch.tensor([-3.0, 2.0, -0.0])).tolist() == [3.0, 2.0, 0.0]


@given(matrices, sparsities)
def test_every_row_drops_the_same_share(rows: Tensor, sparsity: float) -> None:
    keep = keep_largest_of_rows(rows, sparsity)
    for row, kept in zip(rows, keep, strict=True):
        assert torch.equal(kept, keep_largest(row, sparsity))


@given(matrices, patterns)
def test_every_full_group_keeps_exactly_n_and_the_rest_in_proportion(rows: Tensor, pattern: tuple[int, int]) -> None:
    n, m = pattern
    keep = keep_n_of_m(rows, n, m)
    assert keep.shape == rows.shape
    for first in range(0, rows.shape[1], m):
        group = keep[:, first : first + m]
        expected = n if group.shape[1] == m else math.ceil(group.shape[1] * n / m)
        assert (group.sum(1) == expected).all()


@given(matrices, patterns)
def test_every_group_keeps_its_largest(rows: Tensor, pattern: tuple[int, int]) -> None:
    keep = keep_n_of_m(rows, *pattern)
    for first in range(0, rows.shape[1], pattern[1]):
        for row, kept in zip(rows[:, first : first + pattern[1]], keep[:, first : first + pattern[1]], strict=True):
            if kept.any() and not kept.all():
                assert row[kept].min() >= row[~kept].max()


@given(matrices, patterns)
def test_a_pattern_applied_twice_drops_nothing_more(rows: Tensor, pattern: tuple[int, int]) -> None:
    keep = keep_n_of_m(rows + 1, *pattern)
    assert torch.equal(keep_n_of_m((rows + 1) * keep, *pattern), keep)


def test_two_of_four_as_by_hand() -> None:
    rows = torch.tensor([[3.0, 1.0, 2.0, 0.0, 5.0, 6.0, 7.0]])
    assert keep_n_of_m(rows, 2, 4).tolist() == [[True, False, True, False, False, True, True]]
    assert keep_n_of_m(torch.ones(1, 4), 1, 4).tolist() == [[False, False, False, True]]
