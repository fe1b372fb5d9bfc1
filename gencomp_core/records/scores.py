"""How much each layer minds what could be done to it, and what a plan makes of it."""

from typing import Literal

from gencomp_core.records.base import Estimate, Record

ScoreAxis = Literal["sparsity", "bits", "pruning_ratio", "joint"]
ScanMethod = Literal["fisher", "proxy", "metric"]
Direction = Literal["only-this", "all-but-this"]


class LayerOption(Record):
    """One thing that can be done to one layer: prune it, then round it.

    Attributes:
        sparsity: fraction of its weights set to zero.
        pruning_ratio: fraction of its channels removed.
        bits: of its weights; None keeps floats.
        group_size: weights that share a scale; None for one scale a channel.
        symmetric: integers around zero, without a zero point.
        clipping: how the range of rounding is found, a name of the weight-quantization stage.
    """

    sparsity: float = 0.0
    pruning_ratio: float = 0.0
    bits: int | None = None
    group_size: int | None = None
    symmetric: bool = True
    clipping: str = "none"

    @property
    def is_nothing(self) -> bool:
        """Whether the layer stays as it is."""
        return not self.sparsity and not self.pruning_ratio and self.bits is None


class LayerScore(Record):
    """What one option costs in quality, by one way of asking.

    Attributes:
        layer: dotted module name; tied layers have one score, under the first name.
        option: what was done.
        direction: to this layer alone, or to all others.
        method: how it was asked.
        position: step of the generation, token position or latent region that it holds for; None for all.
        damage: how much worse, ≥ 0 up to noise; in the units of the method, so that only one method's can be compared.
        size_bytes: of the layer's weight tensor under the option, as packed.
        dense_size_bytes: of the same tensor in float32.
    """

    layer: str
    option: LayerOption
    direction: Direction = "only-this"
    method: ScanMethod
    position: str | None = None
    damage: Estimate
    size_bytes: int
    dense_size_bytes: int
