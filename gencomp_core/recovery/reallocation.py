"""Bits that move between layers while they are trained, at equal bytes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from gencomp_core.compression.quantizers import QuantizedWeight, quantize_weight
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.recovery.grids import IntegerGrid
from gencomp_core.recovery.programs import FreezeRanges
from gencomp_core.recovery.weights import Trainee, TunedWeight

NARROWEST, WIDEST = 2, 8
LAST = 0.5
"""Of the steps: bits that moved need time to be trained."""


class Reallocated(FreezeRanges):
    """Each round every layer may gain or lose a bit; the bits of all weights never add up to more than at the start.

    What a width costs is ½ Σ E[g²] Δ², with the rounding error Δ of the weights as they are now and the gradients g
    since the round before. The cheapest choice within the bits is a multiple-choice knapsack, solved exactly.

    Source: E[g²] in place of the Hessian: Zandonati 2022 (arXiv:2210.08502), equation 6; widths as an integer
    program: Yao 2021 (arXiv:2011.10680), section 3.4; chosen anew while training: Huang 2022 (arXiv:2212.05122).

    Args:
        steps: of the stage.
        rounds: times that bits move, evenly over the first half of the steps.
    """

    def __init__(self, steps: int, rounds: int) -> None:
        super().__init__(steps)
        self.schedule = {max(1, round(LAST * steps * (i + 1) / rounds)) for i in range(rounds)}
        self.squares: dict[str, Tensor] = {}
        self.n_bits: int | None = None

    @torch.no_grad()
    def before_step_(self, trainee: Trainee, step: int) -> None:
        """Move bits in a round."""
        super().before_step_(trainee, step)
        grids = movable(trainee)
        if self.n_bits is None:
            self.n_bits = sum(own.base.numel() * grid.format.bits for own, grid in grids.values())
        if step in self.schedule and self.squares:
            self._move_(grids)
            self.squares.clear()

    @torch.no_grad()
    def after_backward_(self, trainee: Trainee, step: int) -> None:
        """Add this step's squared gradients."""
        if step >= max(self.schedule):
            return
        for name, (own, _) in movable(trainee).items():
            if own.parameter.grad is not None:
                square = own.parameter.grad.float().square()
                self.squares[name] = square if name not in self.squares else self.squares[name].add_(square)

    def figures(self, trainee: Trainee) -> dict[str, float]:
        """Bits a weight, over the layers whose bits may move, and the narrowest and widest of these layers."""
        grids = movable(trainee)
        n = sum(own.base.numel() for own, _ in grids.values())
        if not n:
            return {}
        bits = [grid.format.bits for _, grid in grids.values()]
        mean = sum(own.base.numel() * grid.format.bits for own, grid in grids.values()) / n
        return {"bits": mean, "fewest_bits": float(min(bits)), "most_bits": float(max(bits))}

    def state(self) -> dict[str, Any]:
        """Squared gradients so far, and the bits that there are."""
        return {"squares": dict(self.squares), "n_bits": self.n_bits}

    def load_(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.squares, self.n_bits = dict(state["squares"]), state["n_bits"]

    def _move_(self, grids: Mapping[str, tuple[TunedWeight, IntegerGrid]]) -> None:
        assert self.n_bits is not None
        names = [name for name in grids if name in self.squares]
        fixed = sum(own.base.numel() * grid.format.bits for name, (own, grid) in grids.items() if name not in names)
        options = {name: _options(*grids[name]) for name in names}
        damages = [
            [_damage(self.squares[name], grids[name][0], option) for option in options[name].values()] for name in names
        ]
        costs = [[grids[name][0].base.numel() * bits for bits in options[name]] for name in names]
        for name, choice in zip(names, cheapest(damages, costs, self.n_bits - fixed), strict=True):
            grid, bits = grids[name][1], list(options[name])[choice]
            if bits != grid.format.bits:
                grid.replace_(options[name][bits])


def movable(trainee: Trainee) -> dict[str, tuple[TunedWeight, IntegerGrid]]:
    """Weights on integers of two bits and more, with their grids."""
    return {
        name: (own, own.grid)
        for name, own in trainee.weights.items()
        if isinstance(own.grid, IntegerGrid) and NARROWEST <= own.grid.format.bits <= WIDEST
    }


def cheapest(damages: Sequence[Sequence[float]], costs: Sequence[Sequence[int]], limit: int) -> list[int]:
    """One option of each group, with the least damage whose cost is within the limit.

    Args:
        damages: >= 0, of each option of each group.
        costs: of the same; some choice is within the limit.
    """
    sizes = [len(group) for group in damages]
    if not sizes:
        return []
    flat = np.concatenate([np.asarray(group, float) for group in damages])
    picks = np.zeros((len(sizes), len(flat)))
    ends = np.cumsum([0, *sizes])
    for group, (first, last) in enumerate(pairwise(ends)):
        picks[group, first:last] = 1
    within = LinearConstraint(np.concatenate([np.asarray(group, float) for group in costs])[None], ub=limit)
    scale = flat.max() or 1.0
    found = milp(
        flat / scale, constraints=[within, LinearConstraint(picks, 1, 1)], integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
    )  # fmt: skip
    chosen = np.asarray(found.x)
    return [int(chosen[first:last].argmax()) for first, last in pairwise(ends)]


def _options(own: TunedWeight, grid: IntegerGrid) -> dict[int, QuantizedWeight]:
    """The weight at its own width as it is trained, and rounded anew one bit narrower and wider."""
    bits, latent = grid.format.bits, _masked(own)
    found = {}
    for width in range(max(NARROWEST, bits - 1), min(WIDEST, bits + 1) + 1):
        if width == bits:
            found[width] = grid.quantized(latent)
        else:
            found[width] = _rounded(latent, grid.own, IntegerFormat(width, grid.format.symmetric))
    return found


def _rounded(latent: Tensor, like: QuantizedWeight, format: IntegerFormat) -> QuantizedWeight:
    granularity = "group" if like.scale.shape[1] > 1 else "channel"
    if like.scale.numel() == 1 and like.codes.shape[0] > 1:
        granularity = "tensor"
    return quantize_weight(
        latent, format, granularity=granularity, group_size=like.group_size, clip_mse=True, transposed=like.transposed
    )


def _damage(squares: Tensor, own: TunedWeight, option: QuantizedWeight) -> float:
    return float((squares * (option.dequantize() - _masked(own)).square()).sum()) / 2


def _masked(own: TunedWeight) -> Tensor:
    latent = own.latent().detach()
    return latent if own.mask is None else torch.where(own.mask, latent, 0.0)
