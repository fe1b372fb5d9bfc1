"""An embedding that is the output layer too: what stages that look at inputs make of it."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.compression.calibration import gradient_moments
from gencomp_core.compression.gptq import layer_error
from gencomp_core.compression.layers import shared_layers, weight_layers
from gencomp_core.compression.smoothing import BUFFER
from gencomp_core.errors import RecipeError
from gencomp_core.evaluate.likelihood import PieceScores
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import TextWorkload
from gencomp_core.workloads.calibration import CalibrationBatch, histogram, loss_batches
from tests.tiny import Bare, TinyVAE, TinyVerses, layers, quantization, randomise_, recipe

N = 8


def sparsegpt(sparsity: float) -> dict[str, object]:
    return {"kind": "sparsegpt-pruning", "sparsity": sparsity, "calibration_samples": N}


class Tied(nn.Module):
    """An embedding whose weight is the output layer, in a module of its own or as the network declares it."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.inner = nn.Embedding(9, 6), nn.Linear(6, 6)

    def forward(self, ids: Tensor) -> Tensor:
        return F.linear(self.inner(self.tokens(ids)), self.tokens.weight)

    def tied_layers(self) -> tuple[str, ...]:
        return ("tokens",)


class OfTied(Bare):
    """`Tied` as a workload, with a training loss where `losses`."""

    def __init__(self, *, losses: bool = True, scale: float = 1.0) -> None:
        super().__init__(randomise_(Tied(), 0), "tied")
        self.losses, self.scale = losses, scale

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        yield CalibrationBatch("all", {"all": n}, lambda model: model(self.ids(n, seed)))

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        if self.losses:
            ids = self.ids(n, seed)
            yield CalibrationBatch(
                "loss", {"all": n}, lambda model: self.scale * F.cross_entropy(model(ids[:-1]), ids[1:])
            )

    def ids(self, n: int, seed: int) -> Tensor:
        return torch.randint(9, (n + 1,), generator=torch.Generator().manual_seed(seed))


def test_layers_with_a_second_use_are_found() -> None:
    assert shared_layers(layers()) == {"tokens"}  # another module has its weight
    assert shared_layers(TinyVerses().model) == {"embedding"}  # the network says so
    assert shared_layers(nn.ModuleDict({"inside": Tied()})) == {"inside.tokens"}
    assert shared_layers(TinyVAE().model) == set()


def test_what_the_network_declares_is_used_outside_of_the_layer() -> None:
    """Rows that no id looks up have a gradient, which only the output layer can give."""
    workload = TinyVerses()
    used: set[int] = set()
    network = workload.model
    handle = network.embedding.register_forward_pre_hook(lambda _, inputs: used.update(inputs[0].flatten().tolist()))
    (name,) = shared_layers(network)
    weight = network.get_submodule(name).weight.requires_grad_(True)
    next(iter(loss_batches(workload, 2, seed=0))).run(network).backward()
    handle.remove()
    unused = torch.tensor([i for i in range(len(weight)) if i not in used])
    assert len(unused) > 1000
    assert bool((weight.grad[unused] != 0).any(1).all())


def test_moments_of_gradients_are_their_products_averaged_over_batches() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 2, bias=False), "up": nn.ConvTranspose2d(2, 4, 1, bias=False)})
    first, second = torch.randn(2, 3), torch.randn(2, 4, 1, 1)
    batches = [
        CalibrationBatch(
            "all", {}, lambda m, k=k: k * ((m["a"].weight * first).sum() + (m["up"].weight * second).sum())
        )
        for k in (1.0, 2.0)
    ]
    with torch.no_grad():
        found = gradient_moments(model, weight_layers(model), batches)
    torch.testing.assert_close(found["a"], first.T @ first * (1 + 4) / 2)
    rows = second.flatten(1).T  # one row per output channel
    torch.testing.assert_close(found["up"], rows.T @ rows * (1 + 4) / 2)


@pytest.mark.parametrize("rounding", ["gptq", "adaround"])
def test_it_is_rounded_by_what_the_loss_feels(rounding: str) -> None:
    workload: Any = OfTied()
    weight = workload.model.tokens.weight
    gram = gradient_moments(workload.model, {"tokens": workload.model.tokens}, loss_batches(workload, 64, seed=0))[
        "tokens"
    ]
    found = {r: compress(workload, recipe(quantization(3, rounding=r))) for r in ("nearest", rounding)}
    errors = {r: float(layer_error(v.model.tokens.weight - weight, gram).sum()) for r, v in found.items()}
    assert errors[rounding] < 0.8 * errors["nearest"]


def test_sparsegpt_updates_what_stays_of_it() -> None:
    workload: Any = OfTied()
    weight, dense = compress(workload, recipe(sparsegpt(0.5))).model.tokens.weight, workload.model.tokens.weight
    stays = weight != 0
    assert int(stays.sum()) == 27
    assert not torch.allclose(weight[stays], dense[stays])


def test_without_a_loss_or_with_look_ups_alone_it_is_rounded_to_nearest_and_pruned_by_magnitude() -> None:
    class LookedUp(OfTied):
        def __init__(self) -> None:
            super().__init__()
            self.model.tied_layers = lambda: ()  # type: ignore[assignment]

    for workload in (OfTied(losses=False), LookedUp()):
        for stage in (quantization(3, rounding="gptq"), quantization(3, rounding="adaround")):
            codes = compress(workload, recipe(stage)).quantized["tokens"].codes
            assert torch.equal(codes, compress(workload, recipe(quantization(3))).quantized["tokens"].codes)
        pruned = compress(workload, recipe(sparsegpt(0.5))).model.tokens.weight
        plain = {"kind": "magnitude-pruning", "sparsity": 0.5}
        assert torch.equal(pruned, compress(workload, recipe(plain)).model.tokens.weight)


def test_its_input_is_never_scaled() -> None:
    stages = [quantization(4, awq=True, calibration_samples=N), {"kind": "smooth-quant", "calibration_samples": N}]
    for stage in stages:
        model = compress(TinyVerses(), recipe(stage)).model
        assert BUFFER not in dict(model.embedding.named_buffers())


def test_integers_that_are_masked_stay_integers() -> None:
    workload: Any = OfTied()
    before = compress(workload, recipe(quantization(4))).quantized["tokens"]
    after = compress(workload, recipe(quantization(4), sparsegpt(0.5))).quantized["tokens"]
    assert int(after.zero_codes.sum()) == 27
    assert torch.equal(after.codes[~after.zero_codes], before.codes[~after.zero_codes])


def test_its_loss_must_be_finite() -> None:
    with pytest.raises(RecipeError, match=r"loss at loss must be finite to take gradients of, got inf"):
        compress(OfTied(scale=torch.inf), recipe(quantization(4, rounding="gptq")))


def test_samples_of_the_loss_are_counted() -> None:
    workload: Any = OfTied()
    variant = compress(workload, recipe(quantization(4, rounding="gptq", calibration_samples=N)))
    assert variant.calibration["loss"] == histogram(loss_batches(workload, N, seed=0))["loss"] == {"all": N}


@pytest.mark.parametrize(
    ("plain", "better"),
    [
        (quantization(3), quantization(3, rounding="gptq", clipping="mse")),
        ({"kind": "magnitude-pruning", "sparsity": 0.6}, {"kind": "sparsegpt-pruning", "sparsity": 0.6}),
    ],
    ids=["gptq", "sparsegpt"],
)
def test_half_of_what_the_simple_way_loses_of_the_verse_model_comes_back(
    plain: dict[str, object], better: dict[str, object]
) -> None:
    workload = load_workload("verses-transformer")
    assert isinstance(workload, TextWorkload)
    dense, targets, real = workload.log_probs(workload.model, 0, 20)

    def kl(stage: dict[str, object]) -> float:
        found, _, _ = workload.log_probs(compress(workload, recipe(stage)).model, 0, 20)
        return PieceScores.of(found, dense, targets, real).kl_per_piece().value

    assert kl(better) < kl(plain) / 2
