"""What single layers cost at the end of the generation, for the few options that were tried."""

from gencomp_core.records.base import Record
from gencomp_core.records.scores import LayerOption


class Anchor(Record):
    """The error of the finished samples when one layer alone is compressed.

    Attributes:
        layer: dotted module name.
        option: what was done to it.
        error: of samples of the same seeds: half the squared error relative to the variance, or KL in nats a piece.
    """

    layer: str
    option: LayerOption
    error: float
