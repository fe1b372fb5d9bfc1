"""SmoothQuant: the function stays, outliers move from activations into weights, and both then round better."""

import copy

import pytest
import torch
from torch import Tensor, nn

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.compression.activations import activation_scales
from gencomp_core.compression.layers import largest_by_input, n_inputs, over_weight, weight_layers, weight_of
from gencomp_core.compression.smoothing import BUFFER, SmoothedInputs, largest_inputs, smoothing_scale
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches, histogram
from tests.tiny import (
    Made,
    TinyDiffusion,
    TinyGAN,
    TinyVAE,
    TinyVerses,
    noise,
    pruning,
    quantization,
    randomise_,
    recipe,
    same_bits,
)

WORKLOADS = [TinyDiffusion(), TinyGAN(), TinyVAE(), TinyVerses()]
of_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
_KINDS = [
    (nn.Linear(6, 4), (3, 5, 6)),
    (nn.Conv1d(6, 4, 3), (2, 6, 9)),
    (nn.Conv2d(6, 4, 3, padding=1), (2, 6, 5, 5)),
    (nn.Conv2d(6, 9, 3, groups=3), (2, 6, 5, 5)),
    (nn.Conv2d(6, 6, 3, groups=6), (2, 6, 5, 5)),
    (nn.ConvTranspose2d(6, 4, 4, stride=2), (2, 6, 5, 5)),
    (nn.ConvTranspose2d(6, 4, 3, groups=2), (2, 6, 5, 5)),
]
LAYERS = [(randomise_(layer, seed=0), shape) for layer, shape in _KINDS]


def smoothing(**fields: object) -> dict[str, object]:
    """Plain form of the stage, on few samples."""
    return {"kind": "smooth-quant", "calibration_samples": 10, **fields}


def activations(**fields: object) -> dict[str, object]:
    return {"kind": "activation-quantization", "keep_ends": False, "calibration_samples": 10, **fields}


def compressed(workload: Made, *stages: dict[str, object]) -> Variant:
    return compress(workload, recipe(*stages))  # type: ignore[arg-type]


def error_of(workload: Made, *stages: dict[str, object]) -> float:
    """Mean squared error of the output against dense."""
    with torch.inference_mode():
        return float((compressed(workload, *stages).model(workload.x) - workload.model(workload.x)).square().mean())


def with_outlier(layer: nn.Module, shape: tuple[int, ...]) -> Made:
    """A layer, and an input whose channel 2 is 60 times as loud as the others."""
    x = noise(*shape)
    x.select(-1 if isinstance(layer, nn.Linear) else 1, 2).mul_(60)
    return Made(nn.Sequential(copy.deepcopy(layer)), x)


def test_the_scale_is_that_of_the_paper() -> None:
    scale = smoothing_scale(torch.tensor([16.0, 1.0, 0.0, 5.0]), torch.tensor([4.0, 0.25, 3.0, 0.0]), alpha=0.5)
    assert scale.tolist() == pytest.approx([2.0, 2.0, 1.0, 1.0])  # a channel that carries nothing keeps its scale
    assert smoothing_scale(torch.tensor([16.0]), torch.tensor([4.0]), alpha=1).item() == pytest.approx(16)
    assert smoothing_scale(torch.tensor([16.0]), torch.tensor([4.0]), alpha=0).item() == pytest.approx(1 / 4)
    assert smoothing_scale(torch.tensor([16.0]), torch.tensor([4.0]), alpha=0.75).item() == pytest.approx(8 / 2**0.5)


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_channels_of_the_weight_are_those_of_the_input(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """What a single loud channel of the input gives must come from the weights that are called its own."""
    for channel in range(n_inputs(layer)):
        own = copy.deepcopy(layer).requires_grad_(False)
        chosen = torch.zeros(n_inputs(layer))
        chosen[channel] = 1
        own.weight *= over_weight(own, chosen)
        others = noise(*shape)
        others.select(-1 if isinstance(layer, nn.Linear) else 1, channel).zero_()
        nothing = torch.zeros(shape)
        torch.testing.assert_close(own(others), own(nothing))
        assert largest_by_input(own).nonzero().flatten().tolist() == [channel]
        assert largest_by_input(layer)[channel] == own.weight.abs().max()


@of_workload
def test_the_function_stays_the_same(workload: Workload) -> None:
    variant = compress(workload, recipe(smoothing()))
    with torch.inference_mode():
        for batch in forward_batches(workload, 10, seed=4):
            torch.testing.assert_close(batch.run(variant.model), batch.run(workload.model), atol=2e-5, rtol=1e-4)
    assert list(weight_layers(variant.model)) == list(weight_layers(workload.model))
    assert variant.calibration == histogram(forward_batches(workload, 10, seed=0))


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_an_outlier_channel_costs_less_at_8_bits(layer: nn.Module, shape: tuple[int, ...]) -> None:
    workload = with_outlier(layer, shape)
    rounded = (quantization(8), activations())
    assert error_of(workload, smoothing()) < 1e-8
    assert error_of(workload, smoothing(), *rounded) < error_of(workload, *rounded) / 2


@pytest.mark.parametrize(("layer", "shape"), LAYERS[:3], ids=str)
def test_ranges_of_activations_get_flatter(layer: nn.Module, shape: tuple[int, ...]) -> None:
    workload = with_outlier(layer, shape)

    def spread(model: nn.Module) -> float:
        met: list[Tensor] = []
        model[0].register_forward_pre_hook(lambda _, inputs: met.append(inputs[0]))  # type: ignore[index, union-attr]
        model(workload.x)
        by_channel = met[0].abs().movedim(-1 if isinstance(layer, nn.Linear) else 1, -1).flatten(0, -2).amax(0)
        return float(by_channel.max() / by_channel.min())

    assert spread(compressed(workload, smoothing()).model) < spread(copy.deepcopy(workload.model)) / 5
    (before,) = activation_scales(compressed(workload, activations()).model)["0"].scale
    (after,) = activation_scales(compressed(workload, smoothing(), activations()).model)["0"].scale
    assert after < before / 2


def test_the_loudest_of_all_batches_counts() -> None:
    model = nn.Sequential(nn.Linear(2, 1))
    loud = [torch.tensor([[1.0, -5.0]]), torch.tensor([[3.0, 2.0]]), torch.tensor([[-2.0, 1.0]])]
    batches = [CalibrationBatch("all", {"all": 1}, lambda model, x=x: model(x)) for x in loud]
    assert largest_inputs(model, ["0"], batches)["0"].tolist() == [3.0, 5.0]


def test_pruned_weights_stay_at_zero() -> None:
    pruned = compress(TinyVAE(), recipe(pruning(0.6)))
    both = compress(TinyVAE(), recipe(pruning(0.6), smoothing()))
    for name, layer in weight_layers(both.model).items():
        assert torch.equal(weight_of(layer) == 0, weight_of(weight_layers(pruned.model)[name]) == 0)


@pytest.mark.parametrize(
    "fields", [{}, {"granularity": "tensor"}, {"group_size": 5, "symmetric": False}], ids=["channel", "tensor", "group"]
)
def test_integers_are_rounded_again_in_their_own_format(fields: dict[str, object]) -> None:
    before = compress(TinyVAE(), recipe(pruning(0.5), quantization(4, **fields)))
    after = compress(TinyVAE(), recipe(pruning(0.5), quantization(4, **fields), smoothing()))
    assert after.quantized.keys() == before.quantized.keys()
    for name, own in after.quantized.items():
        known = before.quantized[name]
        assert own.format == known.format == IntegerFormat(4, fields.get("symmetric") is not False)
        assert own.scale.shape == known.scale.shape
        assert own.group_size == known.group_size
        assert own.zero_codes[known.zero_codes].all()
        assert same_bits(weight_of(weight_layers(after.model)[name]), own.dequantize())


def test_smoothing_twice_is_still_the_same_function() -> None:
    workload = with_outlier(nn.Linear(6, 4), (3, 5, 6))
    variant = compressed(workload, smoothing(alpha=0.3), smoothing(alpha=0.8))
    assert error_of(workload, smoothing(alpha=0.3), smoothing(alpha=0.8)) < 1e-8
    assert len(variant.model[0]._forward_pre_hooks) == 1  # type: ignore[index, union-attr]
    once = compressed(workload, smoothing(alpha=0.3)).model
    assert not torch.equal(getattr(variant.model[0], BUFFER), getattr(once[0], BUFFER))  # type: ignore[index]


def test_a_quantized_input_is_refused() -> None:
    with pytest.raises(RecipeError, match="smooth-quant must come before activation-quantization, got down0.0.block"):
        compress(
            TinyDiffusion(), recipe({**activations(mode="dynamic"), "layers": {"[!d]*": {"skip": True}}}, smoothing())
        )
    kept = {"layers": {"*": {"skip": True}, "out": {"alpha": 0.4}}}
    compress(TinyDiffusion(), recipe(activations(mode="dynamic", layers={"out": {"skip": True}}), smoothing(**kept)))


def test_a_weight_that_another_module_shares_is_left_alone() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.own = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.own(self.second(self.first(x)))
            return out

    workload = Made(Tied(), noise(5, 4))
    model = compressed(workload, smoothing()).model
    assert [name for name, _ in model.named_buffers()] == [f"own.{BUFFER}"]
    assert same_bits(model.first.weight, workload.model.first.weight)  # type: ignore[arg-type, union-attr]


def test_an_input_that_is_not_finite_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"Inputs of 0 at t=0 must be finite to be smoothed"):
        compressed(Made(nn.Sequential(nn.Linear(1, 1)), torch.tensor([[torch.nan]])), smoothing())


@of_workload
def test_unpacking_restores_it_exactly(workload: Workload) -> None:
    variant = compress(workload, recipe(smoothing(), quantization(8), activations()))
    packed = pack(variant.model, variant.quantized, variant.changes)
    network = workload.empty_network().eval()
    found = unpack_into(packed.content, network)
    assert found.changes == variant.changes
    assert isinstance(found.changes[0], SmoothedInputs)
    with torch.inference_mode():
        for batch in forward_batches(workload, 4, seed=1):
            assert same_bits(batch.run(network), batch.run(variant.model))


def test_a_copy_goes_by_its_own_scales() -> None:
    workload = with_outlier(nn.Linear(6, 4), (3, 5, 6))
    model = compressed(workload, smoothing()).model
    twin = copy.deepcopy(model)
    getattr(twin[0], BUFFER).mul_(2)  # type: ignore[index]
    torch.testing.assert_close(model(workload.x), workload.model(workload.x), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(twin(workload.x), model(workload.x))
