"""torch.compile: a network small enough to be compiled in a test, and what happens where it can't be."""

from typing import Any

import pytest
import torch
from torch import nn

from gencomp_core.analysis.measurement import Shipped
from gencomp_core.errors import EvaluationError, MissingDependencyError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtimes import compiled
from gencomp_core.runtimes.registry import runtimes
from tests.tiny import TinyGAN, quantization, recipe


class Smallest(TinyGAN):
    """Two linear layers make a picture of four pixels."""

    name = "smallest"

    def empty_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 4)).eval()

    def generate(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Any) -> torch.Tensor:
        noise = torch.randn(stop, 8, generator=torch.Generator().manual_seed(seed))[start:]
        return model(noise).sigmoid().mul(255).round().to(torch.uint8).view(-1, 1, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [Recipe(), recipe(quantization(4))], ids=["dense", "4 bits"])
def test_compiled_networks_sample_what_the_model_samples_at_every_size(home: Any, chosen: Recipe) -> None:
    workload = Smallest()
    shipped = Shipped.of(workload, chosen)
    opened = runtimes["compile"](shipped.subject)
    for n in (1, 3):
        images = [workload.generate(own, 0, n, seed=1, settings={}).float() for own in (opened.network, shipped.model)]
        assert (images[0] - images[1]).abs().max() <= 1
    assert "compiled for each batch size" in opened.ran
    assert ("weights widened" in opened.ran) == (not chosen.is_dense)


def test_a_machine_without_a_compiler_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(MissingDependencyError, match="needs a C.. compiler, found none named no-such-compiler.*eager"):
        runtimes["compile"](Shipped.of(Smallest(), Recipe()).subject)


def test_a_compiler_that_fails_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, home: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CppCompileError: no header\nand many lines more")

    monkeypatch.setattr(compiled.torch, "compile", lambda *_, **__: fail)
    workload = Smallest()
    opened = runtimes["compile"](Shipped.of(workload, Recipe()).subject)
    with pytest.raises(EvaluationError, match=r"could not compile the model \(.*no header\). Use --runtime eager.$"):
        workload.generate(opened.network, 0, 2, seed=0, settings={})
