"""AdaRound: learn for each weight whether to round down or up, by what the layer's output loses.

Source: Nagel 2020 (arXiv:2004.10568), equations 16, 23, 24 and 25. The output error of a layer is
‖(W - Wq) X‖² = tr(D G Dᵀ), so that no inputs need be kept, and each row is a problem of its own.
"""

from dataclasses import replace

import torch
from torch import Tensor

from gencomp_core.compression.gptq import layer_error
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.recipes.formats import IntegerFormat

ZETA, GAMMA = 1.1, -0.1  # the sigmoid is stretched, so that it reaches 0 and 1
FIRST_BETA, LAST_BETA = 20.0, 2.0
WARM_UP = 0.2  # of the iterations, without regulariser
STRENGTH = 10.0  # of the regulariser, against an error that is 1 a weight when rounded to nearest
LEARNING_RATE = 0.01
CHECK_EVERY = 50


def round_by_adaround(
    rows: Tensor, gram: Tensor, nearest: QuantizedWeight, *, iterations: int = 2000
) -> QuantizedWeight:
    """Codes next to the weights, below or above, with a small error of the layer's output.

    A row whose error did not fall keeps the nearest codes, and so do weights that are exactly zero.
    Scales stay. Stops early once every weight has decided; in the end single decisions are flipped for as long
    as that helps, which the paper does not do.

    Args:
        rows: weights (out, columns) float32.
        gram: second moments of the inputs (columns, columns) float32.
        nearest: the same weights rounded to nearest, for its format and scales.
        iterations: steps of Adam, at most.
    """
    low, high = _neighbours(rows, nearest)
    scale, point = nearest.spread(nearest.scale).float(), _spread_points(nearest)
    width = scale * (high - low)
    below = scale * (low - point) - rows  # error when everything rounds down
    nearest_error = layer_error(scale * (nearest.codes - point) - rows, gram)
    unit = (nearest_error / rows.shape[1]).clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    ideal = (-below / width.clamp_min(torch.finfo(torch.float32).tiny)).clamp(0.01, 0.99)
    logits = torch.logit((ideal - GAMMA) / (ZETA - GAMMA))
    optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE)
    is_open = width > 0
    for step in range(iterations):
        soft = rectified_sigmoid(logits)
        slope = 2 * ((below + width * soft) @ gram) * width / unit
        if step >= WARM_UP * iterations:
            slope += STRENGTH * _regulariser_slope(soft, _beta(step, iterations))
            if step % CHECK_EVERY == 0 and bool((((soft == 0) | (soft == 1)) | ~is_open).all()):
                break
        sigmoid = logits.sigmoid()
        inside = (soft > 0) & (soft < 1)
        logits.grad = slope * inside * sigmoid * (1 - sigmoid) * (ZETA - GAMMA)
        optimizer.step()
    up = (rectified_sigmoid(logits) >= 0.5) & is_open
    up = flip_while_better(up, below, width, gram)
    codes = torch.where(up, high, low)
    better = layer_error(scale * (codes - point) - rows, gram) < nearest_error
    return replace(nearest, codes=torch.where(better[:, None], codes, nearest.codes).to(torch.int16))


def flip_while_better(up: Tensor, below: Tensor, width: Tensor, gram: Tensor) -> Tensor:
    """In each row, turn over the decision that lowers the error most, until there is none.

    To change the error d of one weight by δ adds 2 δ (d G)_j + δ² G_jj.

    Args:
        up: (out, columns) bool.
        below: errors when everything rounds down, float32; `width` more where it rounds up.
        gram: (columns, columns).
    """
    row = torch.arange(len(up), device=up.device)
    slope = (below + width * up) @ gram
    for _ in range(up.shape[1]):
        change = torch.where(up, -width, width)
        gain = change * (2 * slope + change * gram.diagonal())
        least, column = gain.min(1)
        better = least < -1e-6 * (slope * change).abs().amax(1)
        if not bool(better.any()):
            break
        up = up.clone()
        up[row[better], column[better]] ^= True
        slope[better] += change[better, column[better]][:, None] * gram[column[better]]
    return up


def rectified_sigmoid(logits: Tensor) -> Tensor:
    """h(V) = clip(σ(V) (ζ - γ) + γ, 0, 1), equation 23: the share of rounding up."""
    return (logits.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def _regulariser_slope(soft: Tensor, beta: float) -> Tensor:
    """Derivative of 1 - |2h - 1|^β by h, equation 24."""
    centred = 2 * soft - 1
    return -2 * beta * centred.sign() * centred.abs() ** (beta - 1)


def _beta(step: int, iterations: int) -> float:
    """β falls from 20, where only what is nearly decided is pushed, to 2."""
    share = (step / iterations - WARM_UP) / (1 - WARM_UP)
    return FIRST_BETA + (LAST_BETA - FIRST_BETA) * share


def _neighbours(rows: Tensor, nearest: QuantizedWeight) -> tuple[Tensor, Tensor]:
    """Codes below and above each weight, the same where there is no choice: two (out, columns) float32."""
    integers = nearest.format
    assert isinstance(integers, IntegerFormat)
    point = _spread_points(nearest)
    if integers.is_binary:
        low, high = torch.full_like(rows, -1.0), torch.ones_like(rows)
    else:
        floor = (rows / nearest.spread(nearest.scale).float()).floor() + point
        low, high = (code.clamp(integers.lowest, integers.highest) for code in (floor, floor + 1))
    fixed = rows == 0
    return torch.where(fixed, point, low), torch.where(fixed, point, high)


def _spread_points(nearest: QuantizedWeight) -> Tensor:
    """Zero points, broadcastable to the weights."""
    if nearest.zero_point is None:
        return torch.zeros(1, 1, device=nearest.codes.device)
    return nearest.spread(nearest.zero_point).float()
