"""What every recipe stage promises. A new stage needs examples here, and nothing else."""

import json
from typing import Any

import pydantic
import pytest

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.compression.layers import weight_layers
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.stages import STAGES
from gencomp_core.services.techniques import technique_table
from gencomp_core.variant import APPLY, Variant, compress
from tests.tiny import Bare, TinyDiffusion, TinyVAE, pruning, quantization, recipe, same_bits

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "magnitude-pruning": [
        pruning(0.5),
        pruning(0.9, scope="global"),
        pruning(0.3, layers={"*": {"sparsity": 0.7}}),
    ],
    "weight-quantization": [
        quantization(8),
        quantization(2, granularity="tensor"),
        quantization(4, group_size=16, symmetric=False),
        quantization(3, clipping="mse", layers={"*": {"bits": 5}}),
    ],
}
CASES = [pytest.param(stage, id=f"{kind}-{n}") for kind, stages in EXAMPLES.items() for n, stage in enumerate(stages)]
WORKLOADS = [TinyDiffusion(), TinyVAE(), Bare()]

of_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
of_kind = pytest.mark.parametrize("kind", STAGES)
of_example = pytest.mark.parametrize("stage", CASES)


def changed_layers(workload: Bare, variant: Variant) -> set[str]:
    dense = weight_layers(workload.model)
    own = weight_layers(variant.model)
    return {name for name in dense if not same_bits(dense[name].weight.detach(), own[name].weight.detach())}


def test_every_stage_has_examples_and_a_function() -> None:
    assert EXAMPLES.keys() == STAGES.keys()
    assert APPLY.keys() == set(STAGES.values())
    assert all(stage["kind"] == kind for kind, stages in EXAMPLES.items() for stage in stages)


@of_kind
def test_it_says_what_it_does_and_who_says_so(kind: str) -> None:
    row = next(row for row in technique_table() if row["kind"] == kind)
    assert 10 < len(row["help"]) < 100
    assert row["help"].endswith(".")
    assert "\n" not in row["help"]
    assert any(f"{year}" in row["source"] for year in range(1989, 2100))


@of_kind
def test_its_schema_describes_every_field(kind: str) -> None:
    schema = json.loads(json.dumps(STAGES[kind].model_json_schema()))
    assert schema["properties"]["kind"]["const"] == kind
    assert schema["additionalProperties"] is False
    own = {name: field for name, field in schema["properties"].items() if name not in ("kind", "layers")}
    assert own
    assert all(field.get("description") for field in own.values())


@of_example
def test_it_reads_back_as_an_equal_stage(stage: dict[str, Any]) -> None:
    made = recipe(stage)
    assert Recipe.from_text(made.to_yaml()) == made
    assert Recipe.from_text(json.dumps(made.to_dict())) == made
    assert Recipe.from_text(made.to_yaml()).signature == made.signature
    assert made.title()
    assert "\n" not in made.title()


@of_example
def test_it_is_frozen(stage: dict[str, Any]) -> None:
    made = recipe(stage).stages[0]
    assert isinstance(made, Stage)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        made.kind = "other"


@of_workload
@of_example
def test_it_applies_and_leaves_dense_alone(workload: Bare, stage: dict[str, Any]) -> None:
    before = {name: value.clone() for name, value in workload.model.state_dict().items()}
    variant = compress(workload, recipe(stage))
    assert changed_layers(workload, variant)
    assert all(same_bits(value, before[name]) for name, value in workload.model.state_dict().items())


@of_workload
@of_example
def test_packing_it_is_exact(workload: Bare, stage: dict[str, Any]) -> None:
    variant = compress(workload, recipe(stage))
    packed = pack(variant.model, variant.quantized)
    network = workload.empty_network()
    quantized = unpack_into(packed.content, network).quantized
    assert quantized.keys() == variant.quantized.keys()
    own = variant.model.state_dict()
    assert all(same_bits(value, own[name]) for name, value in network.state_dict().items())
    assert packed.size_bytes < pack(workload.model, {}).size_bytes


@of_workload
@of_example
def test_it_does_the_same_every_time(workload: Bare, stage: dict[str, Any]) -> None:
    first, second = (compress(workload, recipe(stage)) for _ in range(2))
    assert pack(first.model, first.quantized).content == pack(second.model, second.quantized).content


@of_workload
@of_kind
def test_any_one_layer_can_be_skipped(workload: Bare, kind: str) -> None:
    stage = {name: value for name, value in EXAMPLES[kind][0].items() if name != "layers"}
    everywhere = changed_layers(workload, compress(workload, recipe(stage)))
    assert everywhere == set(weight_layers(workload.model))
    for layer in weight_layers(workload.model):
        variant = compress(workload, recipe({**stage, "layers": {layer: {"skip": True}}}))
        assert changed_layers(workload, variant) == everywhere - {layer}, layer


@of_workload
@of_kind
def test_skipping_every_layer_is_dense(workload: Bare, kind: str) -> None:
    variant = compress(workload, recipe({**EXAMPLES[kind][0], "layers": {"*": {"skip": True}}}))
    assert variant.quantized == {}
    assert pack(variant.model, {}).content == pack(workload.model, {}).content


@of_workload
@of_kind
def test_a_layer_that_is_not_there_is_refused_with_the_one_that_was_meant(workload: Bare, kind: str) -> None:
    layer = next(iter(weight_layers(workload.model)))
    chosen = recipe({**EXAMPLES[kind][0], "layers": {f"{layer}x": {"skip": True}}})
    with pytest.raises(RecipeError, match=f"must name a layer of {workload.name}.*Did you mean {layer!r}") as raised:
        compress(workload, chosen)
    assert "\n" not in str(raised.value)
