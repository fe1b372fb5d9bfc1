"""What a plan needs to know to make a network faster: channels that shrink together, integer inputs, and work."""

from gencomp_core.records.base import Record


class LayerUse(Record):
    """The work of one layer in the generation of one sample, all calls together.

    Attributes:
        kind: `linear`, `conv1`, `conv3` or `transposed`.
        in_channels, out_channels: of the layer.
        n_weights: of its weight.
        calls: how often it is called.
        macs: multiply-accumulates.
        n_in, n_out: values that go in and come out.
    """

    kind: str
    in_channels: int
    out_channels: int
    n_weights: int
    calls: int
    macs: float
    n_in: float
    n_out: float


class WidthTrial(Record):
    """What removing some channels of a group alone did to the finished samples.

    Attributes:
        n_removed: shares of the group that were removed.
        error: of the samples, in the units of anchors.
    """

    n_removed: int
    error: float


class WidthGroup(Record):
    """Channels or heads that can only shrink together.

    Attributes:
        name: the first layer that makes them.
        makers: all weight layers that do; a recipe names them.
        n_steps: equal shares that they can be removed in; one stays.
        outputs, inputs: part of a layer's outputs or inputs that they are, by layer, norms included.
        trials: what was found, mild before harsh.
    """

    name: str
    makers: tuple[str, ...]
    n_steps: int
    outputs: dict[str, float]
    inputs: dict[str, float]
    trials: tuple[WidthTrial, ...] = ()


class SpeedBasis(Record):
    """What plans under milliseconds or multiply-accumulates rest on beside prices and scores.

    Attributes:
        groups: of channels.
        input_errors: error of the finished samples when the input of a layer alone is rounded to 8 bits, by layer.
        input_bytes: of the weights file for each layer with rounded inputs.
        uses: work of each layer for one sample.
    """

    groups: tuple[WidthGroup, ...]
    input_errors: dict[str, float]
    input_bytes: float
    uses: dict[str, LayerUse]
