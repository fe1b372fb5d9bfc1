"""Operations on integers, as torch computes them; `onnx_translation.py` writes them in ONNX.

torch's own exporter has no translation for its fake quantization (pytorch issue 167063, open), and what engines take
for a pattern of quantize, dequantize and convolution also rounds the output, which our recipes leave float.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.library.custom_op("gencomp::quantize", mutates_args=())
def quantize(x: Tensor, scale: float, zero_point: int) -> Tensor:
    """Codes of 8 bits, round(x / scale) + zero_point clamped to 0..255: float32 -> uint8, the same shape."""
    return (torch.round(x / scale) + zero_point).clamp(0, 255).to(torch.uint8)


@quantize.register_fake
def _(x: Tensor, scale: float, zero_point: int) -> Tensor:
    return torch.empty_like(x, dtype=torch.uint8)


@torch.library.custom_op("gencomp::side_by_side", mutates_args=())
def side_by_side(
    codes: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    border: int,
) -> Tensor:
    """The codes that each output of a convolution sees, in one row, channels last.

    Args:
        codes: (n, ..., c) uint8.
        kernel, stride, dilation: of each dimension between.
        padding: before and after each of them, alternating.
        border: code beyond the borders.

    Returns:
        (n, ..., k · c) uint8: positions of the kernel, those of the last dimension outermost, then channels.
    """
    if any(padding):
        codes = F.pad(codes, [0, 0, *_reversed_pairs(padding)], value=border)
    for i, (size, step) in enumerate(zip(kernel, stride, strict=True), start=1):
        firsts = [place * dilation[i - 1] for place in range(size)]
        length = codes.shape[i] - firsts[-1]
        codes = torch.cat([codes.narrow(i, first, length) for first in firsts], dim=-1)
        codes = codes[(slice(None),) * i + (slice(None, None, step),)]
    return codes.contiguous()


@side_by_side.register_fake
def _(
    codes: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    border: int,
) -> Tensor:
    n, *sizes, channels = codes.shape
    seen = [
        (size + padding[2 * i] + padding[2 * i + 1] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i, size in enumerate(sizes)
    ]
    return codes.new_empty((n, *seen, channels * math.prod(kernel)))


def _reversed_pairs(padding: Sequence[int]) -> list[int]:
    """Padding as torch takes it: of the last dimension first."""
    return [size for i in range(len(padding) - 2, -1, -2) for size in padding[i : i + 2]]


@torch.library.custom_op("gencomp::integer_product", mutates_args=())
def integer_product(
    x: Tensor, scale: float, zero_point: int, codes: Tensor, scales: Tensor, bias: Tensor | None
) -> Tensor:
    """Product of integers, summed in 32 bits, as floats: (x − zero_point) @ codes · scale · scales + bias.

    Args:
        x: (..., k) uint8.
        codes: (k, n) int8.
        scales, bias: (n,) float32.

    Returns:
        (..., n) float32.

    Source: Jacob 2018 (arXiv:1712.05877), equation 4, without the step back to 8 bits.
    """
    product = (x.int() - zero_point).double() @ codes.double()  # exact below 2⁵³
    floats = (product * (scale * scales.double())).float()
    return floats if bias is None else floats + bias


@integer_product.register_fake
def _(x: Tensor, scale: float, zero_point: int, codes: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], codes.shape[1]), dtype=torch.float32)
