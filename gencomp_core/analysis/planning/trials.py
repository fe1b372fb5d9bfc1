"""What makes a network faster, tried to the end of the generation: groups of channels removed, inputs rounded.

A scan of weights says nothing of either. Removed channels come with their refit, which a first-order effect can't see
(without it the same removal costs the VAE 23 FID in place of 0.5); rounded inputs change no weight at all.
"""

import copy
from collections.abc import Generator, Iterator

from torch import nn

from gencomp_core.analysis.latency_model.layers import layer_table
from gencomp_core.analysis.planning.anchors import N_SAMPLES, EndToEnd
from gencomp_core.analysis.planning.narrowing import TRIED, levels_of
from gencomp_core.analysis.planning.options import ROUNDED_INPUTS, removal_of
from gencomp_core.artifact.packing import pack
from gencomp_core.compression.activations import BUFFER, QuantizedInputs, quantizer_of
from gencomp_core.compression.layers import weight_layers
from gencomp_core.compression.structure import Family, families, side_size
from gencomp_core.compression.traced import structure_of
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.activations import ActivationQuantization
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Progress
from gencomp_core.records.speed import LayerUse, SpeedBasis, WidthGroup, WidthTrial
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Workload, complete_settings

CALIBRATION_SAMPLES = 16
"""Of a trial; what is planned is made with as many as its stages take by themselves."""


def speed_basis(workload: Workload, *, seed: int = 0) -> Generator[Progress, None, SpeedBasis]:
    """Try every group of channels and every layer's input alone, and note the work of each layer."""
    error_of = EndToEnd(workload, N_SAMPLES, seed=seed)
    groups = yield from _tried_groups(workload, error_of, seed=seed)
    input_errors, input_bytes = yield from _tried_inputs(workload, error_of, seed=seed)
    table = layer_table(workload, workload.model, batch=1, settings=complete_settings(workload))
    uses = {
        name: LayerUse.model_validate({field: getattr(own, field) for field in LayerUse.model_fields})
        for name, own in table.items()
    }
    return SpeedBasis(groups=groups, input_errors=input_errors, input_bytes=input_bytes, uses=uses)


def width_groups(workload: Workload, *, seed: int = 0) -> list[WidthGroup]:
    """Channels and heads that can shrink, with the layers that have them."""
    structure = structure_of(workload, workload.model, seed=seed)
    found = [_group(workload.model, family) for family in families(workload.model, structure.widths)[0]]
    return [group for group in found if group.makers]


def _group(model: nn.Module, family: Family) -> WidthGroup:
    parts: dict[str, dict[str, float]] = {"out": {}, "in": {}}
    for slot in (slot for width in family.widths for slot in width.slots):
        own = parts[slot.side]
        size = side_size(model.get_submodule(slot.layer), slot.side)
        own[slot.layer] = own.get(slot.layer, 0.0) + slot.index.numel() / size
    makers = tuple(name for name in parts["out"] if name in weight_layers(model))
    return WidthGroup(
        name=makers[0] if makers else "",
        makers=makers,
        n_steps=family.n_steps,
        outputs=parts["out"],
        inputs=parts["in"],
    )


def _tried_groups(
    workload: Workload, error_of: EndToEnd, *, seed: int
) -> Generator[Progress, None, tuple[WidthGroup, ...]]:
    found = []
    groups = width_groups(workload, seed=seed)
    for number, group in enumerate(groups):
        yield Progress("trying narrower layers", number, len(groups))
        trials = []
        for n in levels_of(group.n_steps, TRIED):
            stage = removal_of(groups, {group.name: n}).model_copy(update={"calibration_samples": CALIBRATION_SAMPLES})
            try:
                variant = compress(workload, Recipe(stages=(stage,)), seed=seed)
            except RecipeError:
                break  # such as channels that a tracer found and no slice fits: the group stays whole
            trials.append(WidthTrial(n_removed=n, error=error_of(variant.model)))
        found.append(group.model_copy(update={"trials": tuple(trials)}))
    return tuple(found)


def _tried_inputs(
    workload: Workload, error_of: EndToEnd, *, seed: int
) -> Generator[Progress, None, tuple[dict[str, float], float]]:
    """Error by layer, and bytes that each takes in the file. Ranges are calibrated once, for all layers."""
    yield Progress("calibrating inputs", 0, 1)
    stage = ActivationQuantization(**ROUNDED_INPUTS, calibration_samples=CALIBRATION_SAMPLES)
    try:
        variant = compress(workload, Recipe(stages=(stage,)), seed=seed)
    except RecipeError:
        return {}, 0.0
    layers = {name: layer for name, layer in variant.model.named_modules() if _is_static(layer)}
    errors = {}
    for number, (name, own) in enumerate(_one_by_one(workload.model, layers)):
        yield Progress("trying rounded inputs", number, len(layers))
        errors[name] = error_of(own)
    added = pack(variant.model, {}, variant.changes).size_bytes - pack(workload.model, {}).size_bytes
    return errors, added / max(1, len(layers))


def _is_static(layer: nn.Module) -> bool:
    own = quantizer_of(layer)
    return own is not None and not own.dynamic


def _one_by_one(model: nn.Module, layers: dict[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """The dense model with the rounded input of one layer."""
    for name, layer in layers.items():
        own = copy.deepcopy(model)
        quantizer = quantizer_of(layer)
        assert quantizer is not None
        QuantizedInputs({name: quantizer}).apply_(own)
        getattr(own.get_submodule(name), BUFFER).copy_(getattr(layer, BUFFER))
        yield name, own
