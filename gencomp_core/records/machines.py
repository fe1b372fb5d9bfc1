"""What a machine was found to take for single layers, by runtime and number format."""

from gencomp_core.records.base import Record

MACHINE_VERSION = "1"
"""Raise when layers are timed in another way; an older profile is then measured anew."""


class LayerPoint(Record):
    """One kind of layer at one size.

    Attributes:
        kind: `linear`, `conv3`, `conv1` or `transposed`: a 4 × 4 transposed convolution with stride 2.
        width: channels in and out.
        positions: rows or pixels of the input, for each sample.
        batch: samples together.
        macs: multiply-accumulates of one layer for the whole batch.
    """

    kind: str
    width: int
    positions: int
    batch: int
    macs: int


class LayerTiming(Record):
    """What one layer took in one runtime and format.

    Attributes:
        point: which layer.
        runtime: registered name.
        format: `float`, `int8` or `int8 weights`.
        ran: what really ran.
        ms: processor time of a layer, without the call: median of the rounds.
        low_ms, high_ms: quartiles.
        speed_up: times faster than `float` in the same runtime, median of the same rounds.
        noise_low, noise_high: speed-ups that mean nothing here: dense against itself, at least ±5 %.
    """

    point: LayerPoint
    runtime: str
    format: str
    ran: str
    ms: float
    low_ms: float
    high_ms: float
    speed_up: float
    noise_low: float
    noise_high: float


class WholeFit(Record):
    """How whole generations relate to their layers in one runtime.

    Attributes:
        runtime: registered name.
        shares: of layers, of values between them, of calls of the network, of calls of layers.
        n_measured: generations that it was fitted to.
        spread: 95 % of predictions for unseen workloads are off by less, as a part of the value.
        anchored_spread: the same where the dense model was measured.
    """

    runtime: str
    shares: tuple[float, float, float, float]
    n_measured: int
    spread: float
    anchored_spread: float


class MachineProfile(Record):
    """All timings of one machine.

    Attributes:
        machine, versions, measured_at: provenance.
        threads: CPU threads that were used.
        call_ms: processor time of one call that computes nothing, by runtime.
        timings: of every point, runtime and format.
        fits: of whole generations; empty where none were measured.
        version: `MACHINE_VERSION` that it was measured under.
    """

    machine: dict[str, str | int]
    versions: dict[str, str]
    measured_at: str
    threads: int
    call_ms: dict[str, float]
    timings: tuple[LayerTiming, ...]
    fits: tuple[WholeFit, ...] = ()
    version: str = MACHINE_VERSION
