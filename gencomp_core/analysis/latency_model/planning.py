"""Milliseconds of options for one layer, as a planner asks for them. No model is run."""

from collections.abc import Callable
from dataclasses import replace

from gencomp_core.analysis.latency_model.layers import FLOAT, INT8, INT8_WEIGHTS, LayerWork, Table
from gencomp_core.analysis.latency_model.model import GenerationCosts
from gencomp_core.records import LayerOption


def option_ms(
    costs: GenerationCosts, table: Table, runtime: str, *, integer_inputs: bool = False, dense_ms: float | None = None
) -> tuple[Callable[[str, LayerOption], float], float]:
    """What each layer contributes to a batch under an option, and what calls contribute whatever is chosen.

    Zeros change nothing, because no runtime here skips them. Channels that are removed are those that a layer puts
    out: what the next layer saves by it is not counted.

    Args:
        table: of the dense model.
        integer_inputs: rounded layers get rounded inputs as well, and compute with integers.
        dense_ms: measured latency of the dense model in the same runtime and batch, which corrects the scale.
    """
    scale = 1.0 if dense_ms is None else dense_ms / costs.predict(table, runtime).value

    def ms_of(layer: str, option: LayerOption) -> float:
        own = table.get(layer)
        return 0.0 if own is None else scale * costs.layer_ms(_under(own, option, integer_inputs), runtime)

    return ms_of, scale * costs.other_ms(table, runtime)


def _under(work: LayerWork, option: LayerOption, integer_inputs: bool) -> LayerWork:
    """The work that is left of a layer."""
    rounded = INT8 if integer_inputs else INT8_WEIGHTS
    kept = work.narrowed(1.0, 1.0 - option.pruning_ratio)
    return replace(kept, format=FLOAT if option.bits is None else rounded)
