"""The work of one layer, as the latency model takes it. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

FLOAT, INT8, INT8_WEIGHTS = "float", "int8", "int8 weights"


@dataclass(frozen=True)
class LayerWork:
    """One layer in the generation of one batch, all calls together.

    Attributes:
        kind: `linear`, `conv1`, `conv3` (any kernel of more than one weight) or `transposed`.
        in_channels, out_channels: of the layer.
        n_weights: of its weight.
        calls: how often it is called.
        macs: multiply-accumulates.
        n_in, n_out: values that go in and come out.
        format: `float`, `int8` or `int8 weights`.
    """

    kind: str
    in_channels: int
    out_channels: int
    n_weights: int
    calls: int
    macs: float
    n_in: float
    n_out: float
    format: str = FLOAT

    def narrowed(self, kept_in: float, kept_out: float) -> "LayerWork":
        """The same layer with so much of its channels left, each in (0, 1]."""
        return replace(
            self,
            in_channels=max(1, round(self.in_channels * kept_in)),
            out_channels=max(1, round(self.out_channels * kept_out)),
            n_weights=max(1, round(self.n_weights * kept_in * kept_out)),
            macs=self.macs * kept_in * kept_out,
            n_in=self.n_in * kept_in,
            n_out=self.n_out * kept_out,
        )


Table = Mapping[str, LayerWork]
"""Work by layer name."""
