"""Scores per weight: how much would be lost without it. Higher = keep."""

from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """|w|, any shape (Han 2015, arXiv:1506.02626)."""
    return weight.abs()
