"""The length of a weights file, told without writing it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gencomp_core.artifact.footprint import about_bytes, file_bytes, footprints_of
from gencomp_core.artifact.packing import pack
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Workload
from tests.tiny import Bare, TinyDiffusion, TinyGAN, TinyVAE, TinyVerses, pruning, quantization, recipe

WORKLOADS = {cls.name: cls for cls in (Bare, TinyDiffusion, TinyGAN, TinyVAE, TinyVerses)}
RECIPES = [
    recipe(),
    recipe(pruning(0.5)),
    recipe(pruning(0.97)),
    recipe(quantization(1), pruning(0.4)),
    recipe(quantization(2, clipping="ternary", group_size=8)),
    recipe(pruning(0.7), quantization(4, group_size=16, symmetric=False, layers={"*a*": {"skip": True}})),
    recipe({"kind": "float-format", "format": "nf4"}),
]


def packed(workload: Workload, chosen: Recipe) -> bytes:
    variant = compress(workload, chosen)
    return pack(variant.model, variant.quantized, variant.changes).content


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("chosen", RECIPES, ids=lambda chosen: chosen.title())
def test_the_length_of_a_file_follows_from_what_it_holds(name: str, chosen: Recipe) -> None:
    content = packed(WORKLOADS[name](), chosen)
    footprints, metadata = footprints_of(content)
    assert file_bytes(footprints.values(), metadata) == len(content)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_footprints_of_several_files_add_up_to_the_file_that_mixes_them(data: st.DataObject) -> None:
    both = [pruning(0.5), quantization(5)]
    options: list[list[dict[str, Any]]] = [[], [pruning(0.6)], [quantization(3, group_size=4)], both]
    layers = ["tokens", "linear", "conv1d", "conv2d", "transposed", "grouped"]
    chosen = {layer: data.draw(st.sampled_from(options), label=layer) for layer in layers}
    mixed: dict[str, Any] = {}
    stages = []
    for layer, own in chosen.items():
        found, metadata = footprints_of(packed(Bare(), recipe(*own)))
        mixed = {**found, **mixed} if mixed else found
        mixed[f"{layer}.weight"] = found[f"{layer}.weight"]
        stages += [{**stage, "layers": {other: {"skip": True} for other in layers if other != layer}} for stage in own]
    assert file_bytes(mixed.values(), metadata) == len(packed(Bare(), recipe(*stages)))


def test_shares_of_tensors_add_up_to_the_file_within_a_percent() -> None:
    content = packed(TinyDiffusion(), recipe(quantization(4, group_size=32)))
    footprints, _ = footprints_of(content)
    told = sum(about_bytes(own, file_bytes=len(content)) for own in footprints.values())
    assert told == pytest.approx(len(content), rel=0.01)


def test_a_layer_whose_name_is_part_of_another_keeps_its_own_bytes() -> None:
    content = packed(TinyVerses(), recipe(quantization(4)))
    footprints, _ = footprints_of(content)
    names = set(TinyVerses().model.state_dict())
    assert set(footprints) <= names
