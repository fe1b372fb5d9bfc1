"""What every recipe stage promises. A new stage needs examples here, and nothing else."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
from torch import Tensor, nn

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.charts.theme import family
from gencomp_core.compression.factorization import whole_layers
from gencomp_core.compression.layers import weight_layers
from gencomp_core.compression.scaling import homogeneous_pairs
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.recovery import TuningStage
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.stages import STAGES
from gencomp_core.recovery import image_lessons
from gencomp_core.recovery.text_lesson import SelfCriticalLesson, TextLesson
from gencomp_core.services.techniques import technique_table
from gencomp_core.variant import APPLY, Variant, compress
from gencomp_core.workloads.calibration import CalibrationBatch
from tests.tiny import Bare, TinyDiffusion, TinyVAE, TinyVerses, pruning, quantization, recipe, same_bits

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "magnitude-pruning": [
        pruning(0.5),
        pruning(0.9, scope="global"),
        pruning(0.3, layers={"*": {"sparsity": 0.7}}),
        pruning(0.6, scope="lamp"),
        pruning(0.6, scope="erk"),
        {"kind": "magnitude-pruning", "pattern": "1:4", "layers": {"*a*": {"sparsity": 0.5}}},
    ],
    "wanda-pruning": [
        {"kind": "wanda-pruning", "sparsity": 0.5, "calibration_samples": 2},
        {"kind": "wanda-pruning", "pattern": "2:4", "calibration_samples": 2},
        {"kind": "wanda-pruning", "sparsity": 0.6, "group": "layer", "calibration_samples": 2},
    ],
    "sparsegpt-pruning": [
        {"kind": "sparsegpt-pruning", "sparsity": 0.5, "calibration_samples": 2},
        {"kind": "sparsegpt-pruning", "pattern": "4:8", "calibration_samples": 2},
    ],
    "gradient-pruning": [
        {"kind": "gradient-pruning", "sparsity": 0.5, "scope": "layer", "calibration_samples": 2},
        {"kind": "gradient-pruning", "sparsity": 0.7, "criterion": "taylor", "calibration_samples": 2},
        {"kind": "gradient-pruning", "sparsity": 0.5, "criterion": "snip", "calibration_samples": 2},
    ],
    "adaptive-pruning": [
        {"kind": "adaptive-pruning", "max_output_change": 9.0, "max_sparsity": 0.5, "calibration_samples": 1},
    ],
    "weight-quantization": [
        quantization(8),
        quantization(2, granularity="tensor"),
        quantization(4, group_size=16, symmetric=False),
        quantization(3, clipping="mse", layers={"*": {"bits": 5}}),
        quantization(1),
        quantization(2, clipping="ternary", group_size=8),
        quantization(3, rounding="gptq", calibration_samples=2),
        quantization(4, rounding="gptq", act_order=True, symmetric=False, group_size=16, calibration_samples=2),
        quantization(4, rounding="adaround", adaround_iterations=20, calibration_samples=2),
        quantization(3, awq=True, calibration_samples=2),
    ],
    "float-format": [
        {"kind": "float-format", "format": name} for name in ("nf4", "float8_e4m3fn", "float16", "bfloat16")
    ],
    "low-rank-correction": [
        {"kind": "low-rank-correction", "rank": 2, "calibration_samples": 2},
        {"kind": "low-rank-correction", "weighting": "none", "layers": {"*a*": {"rank": 3}}},
    ],
    "bias-correction": [{"kind": "bias-correction", "calibration_samples": 2}],
    "cross-layer-equalization": [{"kind": "cross-layer-equalization"}],
    "smooth-quant": [
        {"kind": "smooth-quant", "calibration_samples": 2},
        {"kind": "smooth-quant", "alpha": 0.7, "calibration_samples": 2, "layers": {"*a*": {"alpha": 0.4}}},
    ],
    "activation-quantization": [
        {"kind": "activation-quantization", "keep_ends": False, "calibration_samples": 2},
        {"kind": "activation-quantization", "observer": "mse", "symmetric": True, "calibration_samples": 2},
        {"kind": "activation-quantization", "percentile": 99.0, "steps": "last", "calibration_samples": 2},
        {"kind": "activation-quantization", "bits": 4, "mode": "dynamic", "split": False},
    ],
    "channel-pruning": [
        {"kind": "channel-pruning", "pruning_ratio": 0.5, "refit": False},
        {"kind": "channel-pruning", "pruning_ratio": 0.3, "scope": "global", "calibration_samples": 2},
        {"kind": "channel-pruning", "pruning_ratio": 0.4, "importance": "taylor", "calibration_samples": 2},
    ],
    "head-pruning": [
        {"kind": "head-pruning", "pruning_ratio": 0.5, "refit": False},
        {"kind": "head-pruning", "pruning_ratio": 0.5, "importance": "random", "calibration_samples": 2},
    ],
    "block-removal": [{"kind": "block-removal", "n_blocks": 1, "calibration_samples": 2}],
    "low-rank-factorization": [
        {"kind": "low-rank-factorization", "rank": 1, "weighting": "none"},
        {"kind": "low-rank-factorization", "energy": 0.5, "calibration_samples": 2, "layers": {"*a*": {"rank": 2}}},
    ],
    "fine-tune": [
        {"kind": "fine-tune", "steps": 2, "batch_size": 8, "checks": 1},
        {"kind": "fine-tune", "steps": 2, "batch_size": 4, "checks": 1, "trainable": "low-rank", "match": "features"},
    ],
    "quantization-aware-training": [
        {"kind": "quantization-aware-training", "steps": 2, "batch_size": 8, "checks": 1},
    ],
    "iterative-pruning": [
        {"kind": "iterative-pruning", "sparsity": 0.7, "steps": 3, "batch_size": 8, "checks": 1, "rounds": 2},
    ],
    "hard-concrete-pruning": [
        {"kind": "hard-concrete-pruning", "sparsity": 0.7, "steps": 3, "batch_size": 8, "checks": 1},
    ],
    "movement-pruning": [
        {"kind": "movement-pruning", "sparsity": 0.7, "steps": 3, "batch_size": 8, "checks": 1, "rounds": 2},
    ],
    "regularized-pruning": [
        {"kind": "regularized-pruning", "sparsity": 0.7, "steps": 3, "batch_size": 8, "checks": 1},
    ],
    "regrowth": [{"kind": "regrowth", "steps": 2, "batch_size": 8, "checks": 1}],
    "step-distillation": [{"kind": "step-distillation", "steps": 2, "batch_size": 8, "checks": 1, "sampler_steps": 4}],
    "self-critical-tuning": [
        {"kind": "self-critical-tuning", "steps": 1, "batch_size": 4, "checks": 1, "reward": 0.1},
    ],
}


class Shown(Bare):
    """`Bare` with calibration: each layer on noise of its own."""

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        yield CalibrationBatch("all", {"all": n}, lambda model: self.outputs(model, n, seed))

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        yield CalibrationBatch("all", {"all": n}, lambda model: self.outputs(model, n, seed).square().mean())

    def outputs(self, model: Any, n: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shapes = {"linear": (7,), "conv1d": (3, 8), "conv2d": (3, 5, 5), "transposed": (5, 3, 3), "grouped": (4, 3, 3)}
        found = [getattr(model, name)(torch.randn(n, *shape, generator=generator)) for name, shape in shapes.items()]
        found.append(model.tokens(torch.arange(11)))
        return torch.cat([own.flatten() for own in found])


OF_INPUTS = {"smooth-quant", "activation-quantization"}
"""Stages that work on the float inputs of layers, which embeddings don't have, and save no bytes of their own."""
CORRECTIONS = {"low-rank-correction", "bias-correction"}
"""Stages that correct what another did to layers with a float input; it comes before them."""
TUNING = {kind for kind, stage in STAGES.items() if issubclass(stage, TuningStage)}
"""Stages that train."""
STRUCTURAL = {"channel-pruning", "head-pruning", "block-removal"}
"""Stages that change shapes: one layer takes others along, and some workloads have nothing to remove."""
CASES = [pytest.param(stage, id=f"{kind}-{n}") for kind, stages in EXAMPLES.items() for n, stage in enumerate(stages)]
WORKLOADS = [TinyDiffusion(), TinyVAE(), Shown()]

of_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
of_kind = pytest.mark.parametrize("kind", STAGES)
of_example = pytest.mark.parametrize("stage", CASES)
of_calibrated = pytest.mark.parametrize(
    "stage", [case for case in CASES if "calibration_samples" in STAGES[case.values[0]["kind"]].model_fields]
)


def suited(workload: Bare, kind: str) -> Bare:
    """The workload, or one that has what a structural stage removes."""
    if kind == "head-pruning":
        if workload.name != "tiny-diffusion":
            pytest.skip("one workload with several heads is enough")
        return TinyVerses()  # type: ignore[return-value]
    if kind == "cross-layer-equalization" and workload.name != "tiny-diffusion":
        pytest.skip("norms or no layers lie behind each of its layers")
    if kind == "step-distillation" and workload.name != "tiny-diffusion":
        pytest.skip("only diffusion models take steps")
    if kind == "self-critical-tuning":
        if workload.name != "tiny-diffusion":
            pytest.skip("only texts have a BLEU")
        return TinyVerses()  # type: ignore[return-value]
    if kind in STRUCTURAL and workload.name == "tiny-layers":
        pytest.skip("no layer hands its channels to another")
    return workload


def stages_with(stage: dict[str, Any]) -> Recipe:
    """The stage, after another where it needs one."""
    return Recipe(stages=(*stages_before(stage["kind"]).stages, *recipe(stage).stages))


def stages_before(kind: str) -> Recipe:
    """What a stage needs before it."""
    if kind == "regrowth":
        return recipe(pruning(0.5))
    return recipe(*([quantization(2)] if kind in CORRECTIONS | {"quantization-aware-training"} else []))


@pytest.fixture(autouse=True)
def _few_held_out_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out figures of tuning on 50 images, and never BLEU: here they only decide what is kept."""
    monkeypatch.setattr(image_lessons, "N_HELD_OUT", 50)
    monkeypatch.setattr(SelfCriticalLesson, "held_out", TextLesson.held_out)


def changed_layers(workload: Bare, variant: Variant) -> set[str]:
    dense, own = weight_layers(workload.model), weight_layers(variant.model)
    return {name for name, layer in dense.items() if name not in own or not same_layer(layer, own[name])}


def changed_between(before: Variant, after: Variant) -> set[str]:
    """Layers that differ between two variants."""
    one, other = weight_layers(before.model), weight_layers(after.model)
    return {name for name, layer in one.items() if not same_layer(layer, other[name])}


def with_input(workload: Bare) -> set[str]:
    """Layers with a float input."""
    return {name for name, layer in weight_layers(workload.model).items() if not isinstance(layer, nn.Embedding)}


def same_layer(first: nn.Module, second: nn.Module) -> bool:
    """Whether weights, biases, buffers and hooks are the same."""
    one, other = first.state_dict(), second.state_dict()
    hooked = len(first._forward_pre_hooks) == len(second._forward_pre_hooks)
    hooked &= len(first._forward_hooks) == len(second._forward_hooks)
    return hooked and one.keys() == other.keys() and all(same_bits(value, other[name]) for name, value in one.items())


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
    workload = suited(workload, stage["kind"])
    before = {name: value.clone() for name, value in workload.model.state_dict().items()}
    variant = compress(workload, stages_with(stage))
    assert changed_layers(workload, variant)
    assert all(same_bits(value, before[name]) for name, value in workload.model.state_dict().items())


@of_workload
@of_example
def test_packing_it_is_exact(workload: Bare, stage: dict[str, Any]) -> None:
    workload = suited(workload, stage["kind"])
    variant = compress(workload, stages_with(stage))
    packed = pack(variant.model, variant.quantized, variant.changes)
    network = workload.empty_network()
    found = unpack_into(packed.content, network)
    assert found.quantized.keys() == variant.quantized.keys()
    assert found.changes == variant.changes
    own = variant.model.state_dict()
    assert all(same_bits(value, own[name]) for name, value in network.state_dict().items())
    saves_nothing = family([stage["kind"]]) == "recovery" and not stages_before(stage["kind"]).stages
    if not saves_nothing and stage["kind"] not in OF_INPUTS | CORRECTIONS | {"cross-layer-equalization"}:
        assert packed.size_bytes < pack(workload.model, {}).size_bytes


@of_workload
@of_calibrated
def test_it_keeps_what_it_was_calibrated_with(
    workload: Bare, stage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = suited(workload, stage["kind"])
    used: list[CalibrationBatch] = []

    def watched(batches: Iterable[CalibrationBatch]) -> Iterator[CalibrationBatch]:
        for batch in batches:
            yield replace(batch, run=lambda model, batch=batch: used.append(batch) or batch.run(model))  # type: ignore

    for name in ("forward_batches", "loss_batches"):
        own = getattr(workload, name)
        monkeypatch.setattr(workload, name, lambda n, *, seed, own=own: watched(own(n, seed=seed)))
    found = compress(workload, stages_with(stage)).calibration
    seen: dict[str, dict[str, int]] = {}
    for batch in used:
        for stratum, n in batch.strata.items():
            seen.setdefault(batch.stage, {})[stratum] = n
    if stage["kind"] == "gradient-pruning":  # it looks at all time steps, and takes the informative ones
        assert found
        assert found == {title: seen[title] for title in found}
    else:
        assert found == seen


@of_workload
@of_example
def test_it_does_the_same_every_time(
    workload: Bare, stage: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = suited(workload, stage["kind"])
    first = compress(workload, stages_with(stage))
    monkeypatch.setenv("GENCOMP_HOME", str(home / "other"))  # where nothing is kept of the first time
    second = compress(workload, stages_with(stage))
    contents = [pack(own.model, own.quantized, own.changes).content for own in (first, second)]
    assert contents[0] == contents[1]


@of_workload
@of_kind
def test_any_one_layer_can_be_skipped(workload: Bare, kind: str) -> None:
    stage = {name: value for name, value in EXAMPLES[kind][0].items() if name != "layers"}
    if kind in STRUCTURAL:
        workload = suited(workload, kind)
        for layer in list(weight_layers(workload.model))[::5]:
            variant = compress(workload, recipe({**stage, "layers": {layer: {"skip": True}}}))
            assert layer not in changed_layers(workload, variant), layer
        return
    workload = suited(workload, kind)
    if kind == "cross-layer-equalization":
        everywhere = changed_layers(workload, compress(workload, recipe(stage)))
        assert everywhere == {name for pair in homogeneous_pairs(workload.model) for name in pair}
        for pair in homogeneous_pairs(workload.model):
            variant = compress(workload, recipe({**stage, "layers": {pair[0]: {"skip": True}}}))
            assert changed_layers(workload, variant) == everywhere - set(pair)
        return
    if kind == "low-rank-factorization":
        everywhere = changed_layers(workload, compress(workload, recipe(stage)))
        assert everywhere == set(whole_layers(workload.model)[0])
        for layer in sorted(everywhere)[::9]:
            variant = compress(workload, recipe({**stage, "layers": {layer: {"skip": True}}}))
            assert changed_layers(workload, variant) == everywhere - {layer}, layer
        return
    if kind in TUNING:
        before, after = (compress(workload, of) for of in (stages_before(kind), stages_with(stage)))
        everywhere = changed_between(before, after)
        assert everywhere == set(weight_layers(workload.model))
        for layer in sorted(everywhere)[::20]:
            variant = compress(workload, stages_with({**stage, "layers": {layer: {"skip": True}}}))
            assert changed_between(before, variant) == everywhere - {layer}, layer
        return
    if kind in CORRECTIONS:
        before, after = (compress(workload, of) for of in (recipe(quantization(2)), stages_with(stage)))
        everywhere = changed_between(before, after)
        assert everywhere <= with_input(workload)
        for layer in sorted(everywhere)[::9]:
            variant = compress(workload, stages_with({**stage, "layers": {layer: {"skip": True}}}))
            assert changed_between(before, variant) == everywhere - {layer}, layer
        return
    everywhere = changed_layers(workload, compress(workload, recipe(stage)))
    expected = weight_layers(workload.model).items()
    assert everywhere == {n for n, own in expected if kind not in OF_INPUTS or not isinstance(own, nn.Embedding)}
    step = 9 if "calibration_samples" in stage else 1  # calibrating for every layer would take minutes
    for layer in list(weight_layers(workload.model))[::step]:
        variant = compress(workload, recipe({**stage, "layers": {layer: {"skip": True}}}))
        assert changed_layers(workload, variant) == everywhere - {layer}, layer


@of_workload
@of_kind
def test_skipping_every_layer_is_dense(workload: Bare, kind: str) -> None:
    variant = compress(workload, recipe({**EXAMPLES[kind][0], "layers": {"*": {"skip": True}}}))
    assert variant.quantized == {}
    assert variant.changes == ()
    assert pack(variant.model, {}).content == pack(workload.model, {}).content


@of_workload
@of_kind
def test_a_layer_that_is_not_there_is_refused_with_the_one_that_was_meant(workload: Bare, kind: str) -> None:
    layer = next(iter(weight_layers(workload.model)))
    chosen = recipe({**EXAMPLES[kind][0], "layers": {f"{layer}x": {"skip": True}}})
    with pytest.raises(RecipeError, match=f"must name a layer of {workload.name}.*Did you mean {layer!r}") as raised:
        compress(workload, chosen)
    assert "\n" not in str(raised.value)
