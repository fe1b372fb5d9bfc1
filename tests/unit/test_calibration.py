"""Calibration: the matrix that a layer multiplies, moments of inputs, gradients of losses, balanced batches."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.compression.calibration import (
    ROWS_A_BATCH,
    input_matrix,
    input_norms,
    input_statistics,
    loss_gradients,
    rows_of,
    visit_inputs,
)
from gencomp_core.compression.layers import weight_layers
from gencomp_core.errors import RecipeError
from gencomp_core.workloads import fashion
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches, histogram, loss_batches
from tests.tiny import Bare, TinyDiffusion, TinyGAN, TinyVAE, TinyVerses

WORKLOADS = [TinyDiffusion(), TinyGAN(), TinyVAE(), TinyVerses()]
LAYERS = [
    (nn.Linear(5, 3), (4, 7, 5)),
    (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 5)),
    (nn.Conv2d(3, 4, (2, 3), stride=(2, 1), padding=(0, 2), dilation=(1, 2)), (2, 3, 7, 8)),
    (nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1), (2, 3, 5, 6)),
    (nn.ConvTranspose2d(3, 4, (3, 2), stride=(1, 3), padding=(2, 0)), (2, 3, 5, 4)),
    (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (2, 3, 4, 4)),
    (nn.ConvTranspose2d(3, 4, (2, 3), stride=2, padding=(3, 0), dilation=(1, 2)), (2, 3, 6, 4)),
    (nn.Conv2d(3, 4, (4, 3), padding="same", padding_mode="reflect"), (2, 3, 6, 5)),
    (nn.Conv1d(3, 4, 5, stride=2, padding=2, padding_mode="circular"), (2, 3, 9)),
    (nn.Conv3d(3, 4, (1, 2, 3), stride=(1, 2, 1), padding=1, dilation=(1, 1, 2)), (2, 3, 3, 4, 5)),
    (nn.ConvTranspose1d(3, 4, 4, stride=3, output_padding=1), (2, 3, 5)),
    (nn.ConvTranspose3d(3, 4, (1, 2, 3), stride=(2, 1, 2), padding=(0, 1, 1)), (2, 3, 3, 4, 2)),
]


def noise(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def batch(run: object, stage: str = "all") -> CalibrationBatch:
    return CalibrationBatch(stage, {"all": 1}, run)  # type: ignore[arg-type]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda part: type(part).__name__)
def test_a_layer_is_the_product_of_its_input_matrix_and_its_rows(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = noise(shape)
    with torch.no_grad():
        layer.bias.zero_()  # type: ignore[union-attr, operator]
        output = layer(x)
    matrix = input_matrix(layer, x)
    assert matrix is not None
    product = matrix @ rows_of(layer).T
    expected = output if isinstance(layer, nn.Linear) else output.movedim(1, -1)
    torch.testing.assert_close(product, expected.reshape(-1, product.shape[1]), atol=1e-5, rtol=1e-5)


def test_embeddings_and_grouped_convolutions_have_no_such_matrix() -> None:
    assert input_matrix(nn.Embedding(4, 2), torch.tensor([1])) is None
    assert input_matrix(nn.Conv2d(4, 4, 3, groups=2), noise((1, 4, 5, 5))) is None
    assert input_matrix(nn.ConvTranspose2d(4, 4, 3, groups=2), noise((1, 4, 5, 5))) is None
    assert input_matrix(nn.Conv1d(4, 4, 3, groups=2), noise((1, 4, 5))) is None


def test_moments_are_those_of_all_rows_together() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    inputs = [noise((6, 4), 1), noise((10, 4), 2)]
    batches = [batch(lambda model, x=x: model(x)) for x in inputs]
    found = input_statistics(model, weight_layers(model), batches)
    joined = torch.cat(inputs)
    torch.testing.assert_close(found["0"].gram, joined.T @ joined / 16)
    hidden = model[1](model[0](joined)).detach()
    torch.testing.assert_close(found["2"].gram, hidden.T @ hidden / 16)
    torch.testing.assert_close(found["2"].norms(), hidden.square().mean(0).sqrt())
    norms = input_norms(model, weight_layers(model), batches)
    torch.testing.assert_close(norms["2"], hidden.square().mean(0).sqrt())
    assert found["0"].n == 16


def test_a_long_input_is_sampled_and_seeded() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    x = noise((ROWS_A_BATCH + 500, 2))
    seen: list[Tensor] = []
    for seed in (0, 0, 1):
        visit_inputs(model, weight_layers(model), [batch(lambda m: m(x))], lambda _, rows: seen.append(rows), seed=seed)
    assert [len(rows) for rows in seen] == [ROWS_A_BATCH] * 3
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_hooks_are_gone_even_after_a_failure() -> None:
    model = nn.Sequential(nn.Linear(2, 2))

    def fail(model: nn.Module) -> Tensor:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        visit_inputs(model, weight_layers(model), [batch(fail)], lambda *_: None)
    assert not model[0]._forward_pre_hooks


def test_gradients_are_those_of_the_loss() -> None:
    model = nn.Sequential(nn.Linear(3, 1, bias=False)).requires_grad_(False)
    x, y = noise((8, 3), 1), noise((8, 1), 2)
    losses = [batch(lambda m: F.mse_loss(m(x), y), "t=0.5")]
    (found,) = loss_gradients(model, weight_layers(model), losses)
    weight = model[0].weight
    expected = 2 * (x @ weight.T - y).T @ x / 8
    torch.testing.assert_close(found.by_layer["0"], expected)
    assert found.stage == "t=0.5"
    assert found.loss == pytest.approx(F.mse_loss(x @ weight.T, y).item())
    assert not weight.requires_grad


def test_a_loss_that_is_not_finite_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 1))
    endless = batch(lambda m: m[0].weight.square().sum() * math.inf, "t=1")
    with pytest.raises(RecipeError, match=r"loss at t=1 must be finite .* got inf"):
        list(loss_gradients(model, weight_layers(model), [endless]))


# What the workloads bring


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)
def test_every_layer_with_a_matrix_is_met_and_has_a_gradient(workload: Workload) -> None:
    layers = weight_layers(workload.model)
    norms = input_norms(workload.model, layers, forward_batches(workload, 20, seed=0))
    with_matrix = {name for name, layer in layers.items() if not isinstance(layer, nn.Embedding)}
    assert set(norms) == with_matrix
    seen: dict[str, Tensor] = {}
    for found in loss_gradients(workload.model, layers, loss_batches(workload, 20, seed=0)):
        assert math.isfinite(found.loss)
        for name, gradient in found.by_layer.items():
            seen[name] = seen.get(name, 0) + gradient.abs().sum()
    assert all(total > 0 for total in seen.values())
    assert set(seen) == set(layers)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)
def test_the_same_seed_gives_the_same_batches(workload: Workload) -> None:
    def outputs(seed: int) -> list[Tensor]:
        with torch.no_grad():
            return [batch.run(workload.model) for batch in forward_batches(workload, 20, seed=seed)]

    first, again, other = outputs(0), outputs(0), outputs(1)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(one.shape == two.shape and torch.equal(one, two) for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("workload", WORKLOADS[:3], ids=lambda w: w.name)
def test_batches_of_images_are_balanced_over_classes_at_every_stage(workload: Workload) -> None:
    for batches in (forward_batches(workload, 40, seed=0), loss_batches(workload, 40, seed=0)):
        found = histogram(batches)
        assert all(set(counts.values()) == {4} and len(counts) == 10 for counts in found.values())


def test_a_diffusion_model_is_calibrated_on_every_time_step() -> None:
    found = histogram(forward_batches(TinyDiffusion(), 10, seed=0))
    assert len(found) == 16
    assert next(iter(found)) == "t=1.000"


def test_a_vae_is_calibrated_on_prior_and_posterior() -> None:
    assert set(histogram(forward_batches(TinyVAE(), 10, seed=0))) == {"prior", "posterior"}


def test_texts_are_calibrated_from_short_to_long_and_never_on_test_verses() -> None:
    workload = TinyVerses()
    found = histogram(forward_batches(workload, 64, seed=0))["sentence"]
    starts = [int(title.split()[0]) for title in found]
    assert starts == sorted(starts)
    assert sum(found.values()) == 64


def test_a_workload_that_brings_nothing_is_sampled_as_a_whole_and_has_no_loss() -> None:
    class Plain(Bare):
        options = ()

        def generate(self, model: nn.Module, *_: object, **__: object) -> Tensor:
            return model.linear(noise((3, 7)))  # type: ignore[operator]

    workload: Workload = Plain()  # type: ignore[assignment]
    model = workload.model
    norms = input_norms(model, weight_layers(model), forward_batches(workload, 3, seed=0))
    assert set(norms) == {"linear"}
    with pytest.raises(RecipeError, match="tiny-layers has no training loss"):
        next(loss_batches(workload, 3, seed=0))


def test_more_samples_than_there_are_is_refused() -> None:
    with pytest.raises(RecipeError, match="must be at most 10000, got 10001"):
        list(loss_batches(TinyVAE(), 10_001, seed=0))


def test_gradients_can_be_taken_after_images_were_read_in_inference_mode() -> None:
    workload = TinyVAE()
    fashion._subset.cache_clear()
    workload.posterior_means(workload.model, 10)
    (found,) = loss_gradients(workload.model, weight_layers(workload.model), loss_batches(workload, 10, seed=0))
    assert math.isfinite(found.loss)
