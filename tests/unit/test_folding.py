"""Scales folded into norms: which norms take them, and that nothing is left at run time."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.folding import Fold, fold_, folds
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.compression.smoothing import BUFFER, smoothing_scale
from gencomp_core.variant import APPLY, compress
from gencomp_core.workloads.calibration import forward_batches
from tests.structures import DeepVerses, blocks
from tests.tiny import Made, TinyDiffusion, TinyGAN, TinyVAE, TinyVerses, noise, quantization, randomise_, recipe

BIAS = {"kind": "bias-correction", "calibration_samples": 4}
LOW_RANK = {"kind": "low-rank-correction", "rank": 2, "weighting": "none"}


def smoothing(**fields: object) -> dict[str, object]:
    return {"kind": "smooth-quant", "calibration_samples": 4, **fields}


def first_run(workload: Any) -> Callable[[nn.Module], Tensor]:
    return next(forward_batches(workload, 2, seed=0)).run


def drafted(workload: Any, *stages: dict[str, object]) -> Draft:
    draft = Draft.of(workload)
    for stage in recipe(*stages).stages:
        APPLY[type(stage)](draft, stage)
    return draft


def divided(model: nn.Module) -> set[str]:
    """Layers whose input is divided at run time."""
    return {name.removesuffix(f".{BUFFER}") for name, _ in model.named_buffers() if name.endswith(BUFFER)}


class Reads(nn.Module):
    """A norm, and what `body` makes of it with two linear layers."""

    def __init__(self, body: Callable[["Reads", Tensor], Tensor], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.norm, self.a, self.b = norm or nn.LayerNorm(6), nn.Linear(6, 4), nn.Linear(6, 4)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, self.norm(x))


def reading(body: Callable[[Reads, Tensor], Tensor] = lambda m, h: m.a(h) * m.b(h)) -> Made:
    """`Reads` as a workload whose input has a loud channel."""
    return Made(randomise_(Reads(body), 0), noise(50, 6) * torch.tensor([30.0, 1, 1, 1, 1, 1]))


def test_norms_of_a_transformer_take_scales_but_for_the_last_which_the_embedding_reads() -> None:
    found = {fold.norm: fold.readers for fold in folds(TinyVerses().model, first_run(TinyVerses()))}
    decoder = "decoder.0"
    assert found == {
        "encoder.0.attention_norm": tuple(f"encoder.0.attention.{name}" for name in "qkv"),
        "encoder.0.feed_norm": ("encoder.0.feed.inner",),
        "encoder_norm": tuple(f"{decoder}.cross_attention.{name}" for name in "kv"),
        f"{decoder}.self_norm": tuple(f"{decoder}.self_attention.{name}" for name in "qkv"),
        f"{decoder}.cross_norm": (f"{decoder}.cross_attention.q",),
        f"{decoder}.feed_norm": (f"{decoder}.feed.inner",),
    }


def test_norms_before_an_activation_take_none() -> None:
    assert {fold.norm.rpartition(".")[0] for fold in folds(TinyDiffusion().model, first_run(TinyDiffusion()))} == {
        f"{place}.attention" for place in ("down1.0", "middle", "up1.0", "up1.1")
    }
    for workload in (TinyVAE(), TinyGAN()):
        assert folds(workload.model, first_run(workload)) == []


NOT_FOLDED = {
    "activation": lambda m, h: m.a(F.silu(h)),
    "another reader": lambda m, h: m.a(h) + h[..., :4],
    "another input": lambda m, h: m.a(h) + m.a(h * 2 + 1),
    "other channels": lambda m, h: m.a(h.flip(-1)) + m.a(h),
    "reshaped": lambda m, h: m.a(h.reshape(-1, 2, 6).transpose(1, 2).reshape(-1, 6)),
}


@pytest.mark.parametrize("body", NOT_FOLDED.values(), ids=NOT_FOLDED)
def test_a_norm_that_something_else_reads_takes_none(body: Callable[[Reads, Tensor], Tensor]) -> None:
    assert folds(randomise_(Reads(body), 0), lambda model: model(torch.randn(4, 6))) == []


@pytest.mark.parametrize("norm", [nn.LayerNorm(6, elementwise_affine=False), nn.LayerNorm((2, 6))], ids=str)
def test_a_norm_without_a_weight_for_each_channel_takes_none(norm: nn.Module) -> None:
    network = randomise_(Reads(lambda m, h: m.a(h), norm), 0)
    assert folds(network, lambda model: model(torch.randn(4, 2, 6))) == []


@pytest.mark.parametrize("norm", [nn.LayerNorm(6), nn.BatchNorm1d(6), nn.GroupNorm(2, 6)], ids=str)
def test_moving_scales_leaves_the_output(norm: nn.Module) -> None:
    network = randomise_(Reads(lambda m, h: m.a(h) * m.b(h), norm), 0)
    x, scale = torch.randn(4, 6), torch.rand(6) + 0.5
    (fold,) = folds(network, lambda model: model(x))
    assert fold == Fold("norm", ("a", "b"))
    moved = copy.deepcopy(network)
    fold_(moved, fold, scale)
    torch.testing.assert_close(moved.norm(x) * scale, network.norm(x))
    torch.testing.assert_close(moved(x), network(x), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(moved.a.weight, network.a.weight)


@pytest.mark.parametrize("workload", [TinyVerses(), TinyDiffusion(), reading()], ids=lambda workload: workload.name)
def test_smoothing_leaves_no_division_where_it_folds(workload: Any) -> None:
    variant = compress(workload, recipe(smoothing()))
    readers = {name for fold in folds(workload.model, first_run(workload)) for name in fold.readers}
    with_input = {name for name, own in weight_layers(workload.model).items() if not isinstance(own, nn.Embedding)}
    assert divided(variant.model) == with_input - readers
    assert not any(variant.model.get_submodule(name)._forward_pre_hooks for name in readers)
    for batch in forward_batches(workload, 4, seed=1):
        dense = batch.run(workload.model)
        torch.testing.assert_close(batch.run(variant.model), dense, atol=1e-4 * float(dense.abs().max()), rtol=1e-4)
    network = workload.empty_network()
    unpack_into(pack(variant.model, variant.quantized, variant.changes).content, network)
    batch = next(iter(forward_batches(workload, 4, seed=1)))
    assert torch.equal(batch.run(network.eval()), batch.run(variant.model))


def test_readers_of_a_norm_share_the_scale_of_the_loudest_input_and_the_strongest_weight() -> None:
    workload = reading()
    dense, own = workload.model, compress(workload, recipe(smoothing(alpha=0.7))).model
    inputs = dense.norm(workload.x).abs().amax(0)
    weights = torch.maximum(dense.a.weight.abs().amax(0), dense.b.weight.abs().amax(0))
    scale = smoothing_scale(inputs, weights, alpha=0.7)
    torch.testing.assert_close(own.norm.weight, dense.norm.weight / scale)
    torch.testing.assert_close(own.norm.bias, dense.norm.bias / scale)
    for name in ("a", "b"):
        torch.testing.assert_close(own.get_submodule(name).weight, dense.get_submodule(name).weight * scale)


@pytest.mark.parametrize("override", [{"skip": True}, {"alpha": 0.3}], ids=str)
def test_readers_that_are_not_smoothed_alike_are_divided_at_run_time(override: dict[str, object]) -> None:
    workload = reading()
    model = compress(workload, recipe(smoothing(layers={"b": override}))).model
    assert torch.equal(model.norm.weight, workload.model.norm.weight)
    assert divided(model) == ({"a"} if "skip" in override else {"a", "b"})


def test_a_reader_with_a_branch_is_divided_at_run_time() -> None:
    workload = reading()
    model = compress(workload, recipe(quantization(3), LOW_RANK, smoothing())).model
    assert divided(model) == {"a", "b"}


def test_integers_behind_a_folded_norm_are_rounded_again() -> None:
    workload = reading()
    variant = compress(workload, recipe(quantization(4), smoothing()))
    assert divided(variant.model) == set()
    for name in ("a", "b"):
        assert torch.equal(weight_of(variant.model.get_submodule(name)), variant.quantized[name].dequantize())


def test_what_comes_after_is_compared_with_a_reference_that_is_folded_alike() -> None:
    workload = reading()
    draft = drafted(workload, smoothing())
    torch.testing.assert_close(draft.reference(workload.x), workload.model(workload.x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(draft.reference.norm.weight, draft.model.norm.weight)
    corrected = drafted(workload, smoothing(), quantization(2), BIAS)
    for name in ("a", "b"):
        x = corrected.reference.norm(workload.x)
        mean = corrected.model.get_submodule(name)(x).mean(0)
        torch.testing.assert_close(mean, workload.model.get_submodule(name)(workload.model.norm(workload.x)).mean(0))


def test_removed_heads_do_not_hinder_it() -> None:
    workload = TinyVerses()
    heads = {"kind": "head-pruning", "pruning_ratio": 0.5, "calibration_samples": 4, "refit": False}
    before, after = (compress(workload, recipe(*more)) for more in ([heads], [heads, smoothing()]))
    assert not any(name.endswith((".q", ".k", ".v", ".inner")) for name in divided(after.model))
    batch = next(iter(forward_batches(workload, 4, seed=1)))
    torch.testing.assert_close(batch.run(after.model), batch.run(before.model), atol=1e-3, rtol=1e-3)


def test_a_reference_with_more_blocks_is_folded_in_all_of_them() -> None:
    workload = DeepVerses()
    draft = drafted(workload, blocks(blocks=["decoder.1"]), smoothing())
    batch = next(iter(forward_batches(workload, 4, seed=1)))
    torch.testing.assert_close(batch.run(draft.reference), batch.run(workload.model), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(draft.reference.encoder_norm.weight, draft.model.encoder_norm.weight)
    assert not torch.equal(draft.model.encoder_norm.weight, workload.model.encoder_norm.weight)
