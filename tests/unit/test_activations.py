"""Quantized activations: calibrated and run-time ranges, seams, and the change that travels with the weights."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gencomp_core.artifact.manifest import read_manifest
from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.artifact.save import save_artifact
from gencomp_core.compression.activations import (
    BUFFER,
    InputQuantizer,
    QuantizedInputs,
    activation_scales,
    calibrate,
    quantizer_of,
)
from gencomp_core.compression.layers import weight_layers
from gencomp_core.compression.observers import quantization_parameters
from gencomp_core.errors import RecipeError
from gencomp_core.models.diffusion import FlowUNet, UNetConfig
from gencomp_core.recipes.activations import ActivationQuantization
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import forward_batches, histogram
from tests.tiny import (
    Made,
    TinyDiffusion,
    TinyGAN,
    TinyVAE,
    TinyVerses,
    noise,
    pruning,
    quantization,
    recipe,
    same_bits,
)

WORKLOADS = [TinyDiffusion(), TinyGAN(), TinyVAE(), TinyVerses()]
of_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
of_mode = pytest.mark.parametrize("mode", ["static", "dynamic"])


def activations(**fields: object) -> dict[str, object]:
    """Plain form of the stage, on few samples."""
    return {"kind": "activation-quantization", "calibration_samples": 10, **fields}


def stage(**fields: Any) -> ActivationQuantization:
    made = recipe(activations(**fields)).stages[0]
    assert isinstance(made, ActivationQuantization)
    return made


def outputs(workload: Workload, model: nn.Module) -> list[Tensor]:
    with torch.inference_mode():
        return [batch.run(model) for batch in forward_batches(workload, 10, seed=3)]


def with_float_input(model: nn.Module) -> list[str]:
    return [name for name, layer in weight_layers(model).items() if not isinstance(layer, nn.Embedding)]


def quantized_layers(model: nn.Module) -> list[str]:
    return [name for name, layer in weight_layers(model).items() if quantizer_of(layer)]


def seen_by(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer multiplies when it is given x."""
    met: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: met.append(inputs[0]))
    with torch.inference_mode():
        layer(x)
    handle.remove()
    return met[0]


def compressed(workload: Made, *stages: dict[str, object]) -> Variant:
    return compress(workload, recipe(*stages))  # type: ignore[arg-type]


# Rounding


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=6, max_size=6), min_size=1, max_size=5),
    st.integers(4, 8),
    st.booleans(),
)
def test_a_dynamic_token_is_off_by_at_most_half_a_step(rows: list[list[float]], bits: int, symmetric: bool) -> None:
    x, layer = torch.tensor(rows), nn.Linear(6, 2)
    layer.register_forward_pre_hook(InputQuantizer(bits, symmetric, dynamic=True))
    low, high = x.amin(1).clamp_max(0), x.amax(1).clamp_min(0)
    scale, _ = quantization_parameters(low, high, IntegerFormat(bits, symmetric))
    error = (seen_by(layer, x) - x).abs()
    assert (error <= scale[:, None] / 2 + 1e-6 * x.abs().amax(1, keepdim=True)).all()


def test_each_token_and_each_sample_has_a_range_of_its_own() -> None:
    quantizer = InputQuantizer(4, symmetric=False, dynamic=True)
    for layer, x in ((nn.Linear(8, 2), noise(2, 3, 8)), (nn.Conv2d(3, 2, 1), noise(4, 3, 5, 5))):
        layer.register_forward_pre_hook(quantizer)
        alone = seen_by(layer, x)
        louder = x.clone()
        louder[0] *= 100
        assert torch.equal(seen_by(layer, louder)[1:], alone[1:])
        assert seen_by(layer, x[0]).shape == x[0].shape  # without a batch
        assert torch.equal(seen_by(layer, x[0]), alone[0])


def test_a_static_range_clips_and_rounds_what_it_was_not_calibrated_on() -> None:
    workload = Made(nn.Sequential(nn.Linear(2, 2)), torch.tensor([[-1.0, 1.55]]))
    layer = compressed(workload, activations(keep_ends=False, bits=8)).model[0]  # type: ignore[index]
    assert seen_by(layer, torch.tensor([[-9.0, 9.0], [0.0, 0.0149]])).tolist() == [
        pytest.approx([-1.0, 1.55]),
        pytest.approx([0.0, 0.01], abs=1e-6),
    ]


@of_mode
def test_gradients_pass_through_the_rounding(mode: str) -> None:
    workload = Made(nn.Sequential(nn.Linear(3, 2)), noise(4, 3))
    model = compressed(workload, activations(keep_ends=False, mode=mode)).model
    x = noise(4, 3).requires_grad_()
    model(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).any()


def test_an_integer_input_and_an_empty_one_are_left_alone() -> None:
    for dynamic in (False, True):
        layer = nn.Linear(3, 2)
        QuantizedInputs({"0": InputQuantizer(8, False, dynamic)}).apply_(nn.Sequential(layer))
        hook = quantizer_of(layer)
        assert hook is not None
        assert hook(layer, (torch.tensor([1, 2, 3]),)) is None
        assert layer(noise(0, 3)).shape == (0, 2)


# Calibration


@pytest.mark.parametrize("observer", ["min-max", "percentile", "mse"])
def test_the_order_of_batches_does_not_matter(observer: str) -> None:
    workload, own = TinyDiffusion(), stage(observer=observer)
    names = with_float_input(workload.model)
    quantizers = {name: InputQuantizer(8, False, False, 16 if "up1.0.block.conv1" in name else None) for name in names}
    batches = list(forward_batches(workload, 10, seed=0))
    found = [
        calibrate(workload.model, dict.fromkeys(names, own), quantizers, order) for order in (batches, batches[::-1])
    ]
    assert found[0] == found[1]
    assert found[0].keys() == set(names)
    assert len(found[0]["up1.0.block.conv1"]) == 2


def test_ranges_hold_every_step_or_only_the_last() -> None:
    workload = Made(nn.Sequential(nn.Linear(1, 1)), *(torch.tensor([[high]]) for high in (4.0, 2.0, 1.0)))
    for steps, expected in (("all", 4.0), ("last", 1.0)):
        variant = compressed(workload, activations(keep_ends=False, steps=steps))
        (scale,) = activation_scales(variant.model)["0"].scale
        assert scale * 255 == pytest.approx(expected)
        assert len(variant.calibration) == (3 if steps == "all" else 1)


@of_workload
def test_what_was_calibrated_with_is_kept(workload: Workload) -> None:
    variant = compress(workload, recipe(activations(calibration_samples=16)))
    assert variant.calibration == histogram(forward_batches(workload, 16, seed=0))
    assert compress(workload, recipe(activations(mode="dynamic"))).calibration == {}


@of_workload
def test_calibration_is_balanced_over_steps_and_classes_or_lengths(workload: Workload) -> None:
    found = compress(workload, recipe({"kind": "activation-quantization"})).calibration
    assert len({sum(counts.values()) for counts in found.values()}) == 1
    for counts in found.values():
        assert len(set(counts.values())) == 1
        assert len(counts) >= 5


def test_two_stages_on_the_same_samples_count_them_once() -> None:
    smooth = {"kind": "smooth-quant", "calibration_samples": 20}
    variant = compress(TinyGAN(), recipe(smooth, activations()))
    assert sum(variant.calibration["latent"].values()) == 20


def test_the_histogram_ships_in_the_manifest(tmp_path: Path) -> None:
    variant = compress(TinyGAN(), recipe(activations()))
    save_artifact(variant, tmp_path / "artifact", runtimes=[])
    assert read_manifest(tmp_path / "artifact").calibration == variant.calibration
    assert variant.calibration["latent"]["Bag"] == 1


def test_a_layer_that_is_never_met_is_dynamic() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    model = compressed(Made(Half(), noise(4, 2)), activations(keep_ends=False)).model
    quantizers = {name: quantizer_of(layer) for name, layer in weight_layers(model).items()}
    assert {name: own.dynamic for name, own in quantizers.items() if own} == {"used": False, "unused": True}


def test_an_input_that_is_not_finite_is_refused() -> None:
    workload = Made(nn.Sequential(nn.Linear(1, 1)), torch.tensor([[torch.inf]]))
    with pytest.raises(RecipeError, match=r"Inputs of 0 at t=0 must be finite to be calibrated, got 0.0 to inf"):
        compressed(workload, activations(keep_ends=False))


# Which layers


@of_workload
def test_all_but_the_ends_and_embeddings_are_rounded_under_their_names(workload: Workload) -> None:
    names = with_float_input(workload.model)
    model = compress(workload, recipe(activations())).model
    assert quantized_layers(model) == names[1:-1]
    assert list(weight_layers(model)) == list(weight_layers(workload.model))
    whole = compress(workload, recipe(activations(keep_ends=False))).model
    assert quantized_layers(whole) == names
    assert list(activation_scales(whole)) == names


def test_layers_may_differ() -> None:
    overrides = {"down0*": {"bits": 4}, "stem": {"mode": "dynamic"}, "up1*": {"skip": True}}
    model = compress(TinyDiffusion(), recipe(activations(symmetric=True, layers=overrides))).model
    scales = activation_scales(model)
    assert scales["down0.0.block.conv1"].bits == 4
    assert scales["middle.block.conv1"][1:] == ((0,), 8, True, None)
    assert "stem" not in scales
    assert quantizer_of(model.stem) == InputQuantizer(8, symmetric=True, dynamic=True)  # type: ignore[arg-type]
    assert not any(name.startswith("up1") for name in quantized_layers(model))


def test_a_later_stage_replaces_an_earlier_one() -> None:
    workload = TinyDiffusion()
    twice = compress(workload, recipe(activations(bits=4), activations(bits=8)))
    once = compress(workload, recipe(activations(bits=8)))
    assert activation_scales(twice.model) == activation_scales(once.model)
    for first, second in zip(outputs(workload, twice.model), outputs(workload, once.model), strict=True):
        assert torch.equal(first, second)
    network = workload.empty_network()
    unpack_into(pack(twice.model, {}, twice.changes).content, network.eval())
    for first, second in zip(outputs(workload, network), outputs(workload, once.model), strict=True):
        assert torch.equal(first, second)
    dynamic = compress(workload, recipe(activations(), activations(mode="dynamic")))
    assert activation_scales(dynamic.model) == {}
    assert not any(BUFFER in name for name in dynamic.model.state_dict())


@of_mode
def test_fewer_bits_mean_more_error(mode: str) -> None:
    workload = TinyVAE()
    dense = outputs(workload, workload.model)
    errors = []
    for bits in (8, 6, 4):
        own = outputs(workload, compress(workload, recipe(activations(mode=mode, bits=bits))).model)
        errors.append(sum(float((a - b).square().mean()) for a, b in zip(dense, own, strict=True)))
    assert 0 < errors[0] < errors[1] / 4 < errors[2] / 16


def test_weights_stay_as_they_were_and_zeros_stay_zeros() -> None:
    stages = (pruning(0.5), quantization(4))
    plain = compress(TinyVAE(), recipe(*stages))
    both = compress(TinyVAE(), recipe(*stages, activations()))
    assert both.quantized.keys() == plain.quantized.keys()
    for name, layer in weight_layers(both.model).items():
        assert same_bits(layer.weight, weight_layers(plain.model)[name].weight)


# Seams


def test_seams_lie_where_the_network_joins_skips() -> None:
    network = FlowUNet(UNetConfig(channels=(16, 48), depth=2)).eval()
    joined: list[Tensor] = []
    met: dict[str, Tensor] = {}
    for name, layer in weight_layers(network).items():
        layer.register_forward_pre_hook(lambda _, inputs, name=name: met.update({name: inputs[0]}))
    cat = torch.cat

    def watched(tensors: list[Tensor], dim: int = 0) -> Tensor:
        if dim == 1 and tensors[0].ndim == 4:
            joined.extend(tensors)
        return cat(tensors, dim)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "cat", watched)
        network(noise(2, 1, 28, 28), torch.rand(2), torch.tensor([0, 1]))
    seams = network.input_seams()
    skips = [name for name in seams if name.endswith("skip")]
    assert len(skips) == len(joined) / 2 == 6
    for name, first, second in zip(skips, joined[::2], joined[1::2], strict=True):
        assert torch.equal(met[name][:, : seams[name]], first)
        assert torch.equal(met[name][:, seams[name] :], second)
    assert {name.replace("skip", "conv1"): seams[name] for name in skips}.items() <= seams.items()
    assert set(seams) <= set(weight_layers(network))


def test_halves_have_ranges_of_their_own() -> None:
    workload = TinyDiffusion()
    assert isinstance(workload.model, FlowUNet)
    seams = workload.model.input_seams()
    split = activation_scales(compress(workload, recipe(activations())).model)
    whole = activation_scales(compress(workload, recipe(activations(split=False))).model)
    assert {name: own.seam for name, own in split.items() if own.seam} == seams
    assert all(len(own.scale) == (2 if name in seams else 1) for name, own in split.items())
    assert all(own.seam is None and len(own.scale) == 1 for own in whole.values())
    for name in seams:
        assert max(split[name].scale) <= whole[name].scale[0] * (1 + 1e-6)
        assert min(split[name].scale) < whole[name].scale[0]


@of_mode
def test_a_loud_half_does_not_coarsen_the_other(mode: str) -> None:
    layer, x = nn.Conv2d(4, 1, 1), noise(8, 4, 5, 5)
    x[:, 2:] *= 100
    errors = {}
    for seam in (None, 2):
        own = copy.deepcopy(layer)
        QuantizedInputs({"0": InputQuantizer(8, False, mode == "dynamic", seam)}).apply_(nn.Sequential(own))
        if mode == "static":
            low, high = (x[:, :2], x[:, 2:]) if seam else (x, x)
            ends = torch.tensor([[float(half.min()), float(half.max())] for half in (low, high)][: 2 if seam else 1])
            getattr(own, BUFFER).copy_(
                torch.stack(quantization_parameters(ends[:, 0], ends[:, 1], IntegerFormat(8, False)), dim=1)
            )
        errors[seam] = float((seen_by(own, x) - x)[:, :2].square().mean())
    assert errors[2] < errors[None] / 1000


# The change


@of_workload
@pytest.mark.parametrize(
    "fields", [{}, {"symmetric": True, "bits": 5, "observer": "mse"}, {"mode": "dynamic"}, {"split": False}], ids=str
)
def test_unpacking_restores_it_exactly(workload: Workload, fields: dict[str, object]) -> None:
    variant = compress(workload, recipe(quantization(4), activations(**fields)))
    packed = pack(variant.model, variant.quantized, variant.changes)
    network = workload.empty_network()
    found = unpack_into(packed.content, network.eval())
    assert found.changes == variant.changes
    assert activation_scales(network) == activation_scales(variant.model)
    assert quantized_layers(network) == quantized_layers(variant.model)
    for first, second in zip(outputs(workload, network), outputs(workload, variant.model), strict=True):
        assert same_bits(first, second)
    assert pack(network, found.quantized, found.changes).content == packed.content


def test_scales_are_stored_and_counted() -> None:
    variant = compress(TinyVAE(), recipe(activations()))
    packed = pack(variant.model, {}, variant.changes)
    stored = [tensor for tensor in packed.tensors if tensor.name.endswith(BUFFER)]
    assert len(stored) == len(activation_scales(variant.model))
    assert all(tensor.n_values == 2 for tensor in stored)
    assert packed.size_bytes > pack(TinyVAE().model, {}).size_bytes + 8 * len(stored)


def test_a_copy_goes_by_its_own_scales() -> None:
    workload = TinyVAE()
    model = compress(workload, recipe(activations())).model
    before = outputs(workload, model)
    twin = copy.deepcopy(model)
    assert activation_scales(twin) == activation_scales(model)
    for name, buffer in twin.named_buffers():
        if name.endswith(BUFFER):
            buffer[:, 0] *= 8
    assert all(torch.equal(a, b) for a, b in zip(outputs(workload, model), before, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(outputs(workload, twin), before, strict=True))


def test_a_fresh_process_knows_the_changes() -> None:
    code = "from gencomp_core.artifact.packing import CHANGES; print(*CHANGES)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"quantized-inputs", "smoothed-inputs"} <= set(found.split())


# The recipe


def test_a_percentile_implies_its_observer_and_has_a_default() -> None:
    assert stage(percentile=99.0).observer == "percentile"
    assert stage(observer="percentile").percentile == 99.9
    given_, implied = recipe(activations(observer="percentile", percentile=99.9)), recipe(activations(percentile=99.9))
    assert given_.signature == implied.signature == recipe(activations(observer="percentile")).signature


def test_an_override_of_the_mode_leaves_the_observer_behind() -> None:
    made = stage(percentile=99.0, layers={"a": {"mode": "dynamic"}, "b": {"observer": "mse"}})
    for_a, for_b = made.for_layer("a"), made.for_layer("b")
    assert for_a is not None
    assert (for_a.mode, for_a.observer, for_a.percentile) == ("dynamic", "min-max", None)
    assert for_b is not None
    assert (for_b.observer, for_b.percentile) == ("mse", None)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"observer": "mse", "percentile": 99.0}, "must have no percentile when observer is 'mse', got 99.0"),
        ({"mode": "dynamic", "observer": "mse"}, "must have no observer when mode is 'dynamic', got 'mse'"),
        ({"bits": 3}, r"bits must be in \[4, 8\], got 3"),
        ({"layers": {"a": {"keep_ends": False}}}, "layers.a may not change 'keep_ends'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(fields: dict[str, object], line: str) -> None:
    with pytest.raises(RecipeError, match=line) as raised:
        recipe(activations(**fields))
    assert "\n" not in str(raised.value)


def test_the_title_says_how_ranges_are_found() -> None:
    assert stage().title() == "8-bit activations (min-max)"
    assert stage(percentile=99.0, bits=6).title() == "6-bit activations (99.0%)"
    assert (
        stage(observer="mse", steps="last", symmetric=True).title() == "8-bit activations (MSE, last step, symmetric)"
    )
    assert stage(mode="dynamic", split=False).title() == "8-bit activations (dynamic, unsplit)"
