"""Weights as floats of 16 or 8 bits, and as NF4: values to codes and back."""

import torch
from torch import Tensor

from gencomp_core.errors import RecipeError
from gencomp_core.recipes.formats import FloatFormat

NF4_LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""Quantiles of a normal distribution. Source: Dettmers 2023 (arXiv:2305.14314), appendix E."""

NF4_BLOCK = 64
_HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def largest_value(format: FloatFormat) -> float:
    """Largest number that a code stands for, before any scale."""
    if format.name == "nf4":
        return 1.0
    return float(torch.finfo(_HALVES.get(format.name, torch.float8_e4m3fn)).max)


def encode(values: Tensor, format: FloatFormat) -> Tensor:
    """Codes of the nearest numbers of a format: float32 -> int16, the same shape; -0.0 becomes 0.

    Floats round half to even, as torch casts.

    Raises:
        RecipeError: values beyond the largest number.
    """
    if format.name == "nf4":
        levels = torch.tensor(NF4_LEVELS, device=values.device)
        return torch.bucketize(values.contiguous(), (levels[1:] + levels[:-1]) / 2).to(torch.int16)
    if format.name == "float8_e4m3fn":
        codes = values.to(torch.float8_e4m3fn).view(torch.uint8).to(torch.int16)
    else:
        half = values.to(_HALVES[format.name])
        if not bool(half.isfinite().all()):
            raise RecipeError(
                f"Weights must be at most {largest_value(format):,.0f} to be {format.name}, got "
                f"{float(values.abs().max()):,.0f}. Use bfloat16, or skip the layer with such large weights."
            )
        codes = half.view(torch.int16)
    return codes.masked_fill(decode(codes, format) == 0, format.zero_code)


def decode(codes: Tensor, format: FloatFormat) -> Tensor:
    """The numbers that codes stand for: int16 -> float32, the same shape."""
    if format.name == "nf4":
        return torch.tensor(NF4_LEVELS, device=codes.device)[codes.long()]
    if format.name == "float8_e4m3fn":
        return codes.to(torch.uint8).view(torch.float8_e4m3fn).float()
    return codes.contiguous().view(_HALVES[format.name]).float()
