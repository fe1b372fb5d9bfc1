"""Scores per weight: how much would be lost without it. Higher = keep."""

import torch
from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """|w|, any shape (Han 2015, arXiv:1506.02626)."""
    return weight.abs()


def lamp(weight: Tensor) -> Tensor:
    """w² over the sum of squares of the layer's weights that are not smaller, itself included: any shape.

    Comparable between layers; the largest weight of each layer scores 1. Equal weights count as
    ascending in the order in which they stand.

    Source: Lee 2021 (arXiv:2010.07611), equation 3.
    """
    squares = weight.flatten().double().square()
    order = squares.argsort(stable=True)
    ascending = squares[order]
    not_smaller = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.zeros_like(squares)
    scores[order] = ascending / not_smaller.clamp_min(torch.finfo(torch.float64).tiny)  # a layer of zeros scores 0
    return scores.view(weight.shape)


def wanda(rows: Tensor, input_norms: Tensor) -> Tensor:
    """|w| times the norm of its input.

    Args:
        rows: weights (out, columns).
        input_norms: root mean square of each input column, (columns,); the paper's ‖X‖₂ is that times √n.

    Source: Sun 2023 (arXiv:2306.11695), equation 1.
    """
    return rows.abs() * input_norms


def taylor(weight: Tensor, mean_abs_gradient: Tensor) -> Tensor:
    """|g · w|, averaged over batches: the size of the first-order change of the loss, any shape.

    Source: Molchanov 2017 (arXiv:1611.06440), equation 8; Molchanov 2019 (arXiv:1906.10771) squares it.
    """
    return weight.abs() * mean_abs_gradient


def fisher(weight: Tensor, mean_squared_gradient: Tensor) -> Tensor:
    """w² · h / 2 with the empirical Fisher E[g²] for the curvature h, any shape.

    Source: LeCun 1989 (Optimal Brain Damage), equation 5; Theis 2018 (arXiv:1801.05787) for E[g²].
    """
    return weight.square() * mean_squared_gradient / 2


def snip(weight: Tensor, mean_gradient: Tensor) -> Tensor:
    """|g · w| with the gradient of the mean loss, any shape; divide by the sum over the network.

    Source: Lee 2019 (arXiv:1810.02340), equation 5.
    """
    return (weight * mean_gradient).abs()
