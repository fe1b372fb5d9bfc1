"""Number formats: which values a quantized weight may take."""

from dataclasses import dataclass
from typing import Literal

FloatName = Literal["float16", "bfloat16", "float8_e4m3fn", "nf4"]


@dataclass(frozen=True)
class IntegerFormat:
    """Uniform integers of one width.

    Attributes:
        bits: width, 1 to 8.
        symmetric: signed integers around 0, without the most negative one, so that ±w mirror each
            other; otherwise unsigned integers with a zero point (affine). One symmetric bit is ±1:
            it has no code for 0, so that weights that are exactly 0 are stored apart.

    Source: Krishnamoorthi 2018 (arXiv:1806.08342), section 2; one bit: Rastegari 2016 (arXiv:1603.05279).
    """

    bits: int
    symmetric: bool

    @property
    def lowest(self) -> int:
        """Smallest integer: -(2^(bits-1) - 1), or 0 when affine."""
        return -self.highest if self.symmetric else 0

    @property
    def highest(self) -> int:
        """Largest integer: 2^(bits-1) - 1, at least 1; or 2^bits - 1 when affine."""
        return max(1, (1 << (self.bits - 1)) - 1) if self.symmetric else (1 << self.bits) - 1

    @property
    def is_binary(self) -> bool:
        """Whether the integers are -1 and 1."""
        return self.symmetric and self.bits == 1


@dataclass(frozen=True)
class FloatFormat:
    """Floating-point numbers, or a codebook of sixteen numbers.

    Attributes:
        name: `float16` and `bfloat16` hold weights as they are; `float8_e4m3fn` has a scale per output
            channel; `nf4` one per block of weights of a channel.

    Source: FP8: Micikevicius 2022 (arXiv:2209.05433); NF4: Dettmers 2023 (arXiv:2305.14314).
    """

    name: FloatName

    @property
    def bits(self) -> int:
        """Width of a code."""
        return {"float16": 16, "bfloat16": 16, "float8_e4m3fn": 8, "nf4": 4}[self.name]

    @property
    def is_scaled(self) -> bool:
        """Whether codes are multiplied by a scale."""
        return self.bits < 16

    @property
    def zero_code(self) -> int:
        """Code of exactly 0."""
        return 7 if self.name == "nf4" else 0


NumberFormat = IntegerFormat | FloatFormat
