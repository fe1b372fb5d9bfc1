"""Gates on weights that are drawn at random while they are learned: zero, one, or between.

Source: Louizos 2018 (arXiv:1712.01312), the hard concrete distribution.
"""

import math

import torch
from torch import Tensor

GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3
"""The paper's γ, ζ and β (section 4)."""
START = 2.0
PACE = 100.0  # Adam moves each parameter by the learning rate; the logarithm has to go several units
SMALLEST = 1e-6


class Gate:
    """One gate a weight: z = min(1, max(0, s (ζ - γ) + γ)), s = σ((ln u - ln (1 - u) + ln α) / β), u uniform.

    Where no gradients are wanted, z is taken at its usual place, s = σ(ln α).

    Args:
        weight: what it is in front of; gates before larger weights start wider open.

    Attributes:
        parameter: ln α over a constant, of the weight's shape.
        is_open: whether it is still in front of the weight, or a mask has taken its place.

    Source: Louizos 2018, equations 10 to 13.
    """

    def __init__(self, weight: Tensor) -> None:
        size = weight.abs()
        relative = (size / size.median().clamp_min(SMALLEST)).clamp(SMALLEST, 1 / SMALLEST).log()
        self.parameter = ((START + relative.clamp(-START, START)) / PACE).detach().clone()
        self.is_open = True

    @property
    def log_alpha(self) -> Tensor:
        """ln α of each weight."""
        return self.parameter * PACE

    def draw(self) -> Tensor:
        """z of each weight, in [0, 1]; drawn from torch's global generator while gradients are wanted."""
        place = self.log_alpha
        if torch.is_grad_enabled():
            u = torch.rand_like(place).clamp(SMALLEST, 1 - SMALLEST)
            place = (u.log() - (1 - u).log() + place) / BETA
        return (place.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def chance(self) -> Tensor:
        """P(z ≠ 0) of each weight: equation 12."""
        return (self.log_alpha - BETA * math.log(-GAMMA / ZETA)).sigmoid()
