"""Number formats: which integers a quantized weight may take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class IntegerFormat:
    """Uniform integers of one width.

    Attributes:
        bits: width, 2 to 8.
        symmetric: signed integers around 0, without the most negative one, so that ±w mirror each
            other; otherwise unsigned integers with a zero point (affine).

    Source: Krishnamoorthi 2018 (arXiv:1806.08342), section 2.
    """

    bits: int
    symmetric: bool

    @property
    def lowest(self) -> int:
        """Smallest integer: -(2^(bits-1) - 1), or 0 when affine."""
        return 1 - (1 << (self.bits - 1)) if self.symmetric else 0

    @property
    def highest(self) -> int:
        """Largest integer: 2^(bits-1) - 1, or 2^bits - 1 when affine."""
        return (1 << (self.bits - 1)) - 1 if self.symmetric else (1 << self.bits) - 1
