"""What every option of every layer costs, read from files that were really packed."""

from collections.abc import Generator, Mapping, Sequence

from gencomp_core.analysis.planning.options import recipe_of
from gencomp_core.artifact.footprint import footprints_of
from gencomp_core.artifact.packing import pack
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.errors import RecipeError
from gencomp_core.evaluate.cost import count_layer_macs, count_macs
from gencomp_core.records import LayerOption, Progress
from gencomp_core.records.footprints import Footprint, LayerPrice, LayerPrices, PriceList
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Workload, complete_settings

NOTHING = LayerOption()


def price_list(workload: Workload, options: Sequence[LayerOption]) -> Generator[Progress, None, PriceList]:
    """Footprint of each layer's weight under each option, from one packed file for each option.

    A layer that an option can't be applied to does without it. A layer whose weight the file has under another name,
    being a parameter of the network itself, is left alone.

    Args:
        options: distinct; doing nothing is added where it is missing.
    """
    layers = list(weight_layers(workload.model))
    chosen = [NOTHING, *(option for option in dict.fromkeys(options) if not option.is_nothing)]
    found: dict[str, list[LayerPrice]] = {name: [] for name in layers}
    dense: dict[str, Footprint] = {}
    for number, option in enumerate(chosen):
        yield Progress("pricing options", number, len(chosen))
        for name, price in _priced(workload, option, layers).items():
            found[name].append(price)
        if option == NOTHING:
            dense, metadata = footprints_of(pack(workload.model, {}).content)
    settings = complete_settings(workload)
    macs = count_layer_macs(workload, workload.model, settings)
    return PriceList(
        workload=workload.name,
        weights_hash=workload.weights_hash,
        fixed=tuple(own for tensor, own in dense.items() if not found.get(tensor.removesuffix(".weight"))),
        layers=tuple(
            LayerPrices(
                layer=name,
                n_weights=weight_of(layer).numel(),
                macs=macs.get(name, 0),
                options=tuple(found[name]),
            )
            for name, layer in weight_layers(workload.model).items()
            if found[name]
        ),
        macs=count_macs(workload, workload.model, settings),
        metadata=metadata,
    )


def _priced(workload: Workload, option: LayerOption, layers: Sequence[str]) -> Mapping[str, LayerPrice]:
    """The price of one option by layer; all layers at once where none of them refuses it."""
    try:
        return _packed(workload, option, layers, layers)
    except RecipeError:
        found: dict[str, LayerPrice] = {}
        for name in layers:
            try:
                found |= _packed(workload, option, [name], layers)
            except RecipeError:
                continue  # such as weights too large for the format: the layer has no such option
        return found


def _packed(
    workload: Workload, option: LayerOption, chosen: Sequence[str], layers: Sequence[str]
) -> dict[str, LayerPrice]:
    variant = compress(workload, recipe_of({name: option if name in chosen else NOTHING for name in layers}))
    packed = pack(variant.model, variant.quantized)
    footprints, _ = footprints_of(packed.content)
    zeros = {tensor.name: tensor.n_zeros for tensor in packed.tensors}
    return {
        name: LayerPrice(option=option, footprint=footprints[f"{name}.weight"], n_zeros=zeros[f"{name}.weight"])
        for name in chosen
        if f"{name}.weight" in footprints
    }
