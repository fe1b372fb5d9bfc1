"""Milliseconds of options for one layer, as a planner asks for them. No model is run."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from gencomp_core.analysis.latency_model.model import GenerationCosts
from gencomp_core.analysis.latency_model.work import FLOAT, INT8, INT8_WEIGHTS, LayerWork, Table
from gencomp_core.records import LayerOption

Kept = Mapping[str, tuple[float, float]]
"""Parts of a layer's inputs and outputs that are left, by layer; all of them where it is missing."""


def option_ms(
    costs: GenerationCosts,
    table: Table,
    runtime: str,
    *,
    integer_inputs: bool = False,
    dense_ms: float | None = None,
    kept: Kept | None = None,
    weights_alone: bool = True,
) -> tuple[Callable[[str, LayerOption], float], float]:
    """What each layer contributes to a batch under an option, and what calls contribute whatever is chosen.

    Zeros change nothing, because no runtime here skips them. Channels that an option removes are those that a layer
    puts out: what the next layer saves by it is not counted, but for what `kept` says.

    Args:
        table: of the dense model.
        integer_inputs: rounded layers get rounded inputs as well, and compute with integers, whatever is asked.
        dense_ms: measured latency of the dense model in the same runtime and batch, which corrects the scale.
        kept: channels that the whole network has left.
        weights_alone: the runtime multiplies by integer weights where inputs are floats.
    """
    scale = 1.0 if dense_ms is None else dense_ms / costs.predict(table, runtime).value
    left = {name: own.narrowed(*(kept or {}).get(name, (1.0, 1.0))) for name, own in table.items()}
    known: dict[tuple[str, str, float], float] = {}

    def ms_of(layer: str, option: LayerOption) -> float:
        own = left.get(layer)
        if own is None:
            return 0.0
        form = _format(option, integer_inputs, weights_alone)
        key = (layer, form, option.pruning_ratio)
        if key not in known:
            known[key] = scale * costs.layer_ms(_under(own, form, option), runtime)
        return known[key]

    return ms_of, scale * costs.other_ms(table, runtime)


def _format(option: LayerOption, integer_inputs: bool, weights_alone: bool) -> str:
    if option.bits is None:
        return FLOAT
    if integer_inputs or option.activation_bits is not None:
        return INT8
    return INT8_WEIGHTS if weights_alone else FLOAT


def _under(work: LayerWork, form: str, option: LayerOption) -> LayerWork:
    """The work that is left of a layer."""
    return replace(work.narrowed(1.0, 1.0 - option.pruning_ratio), format=form)
