"""Workloads and models small enough for every test; random weights, none of them zero."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from gencomp_core.models.diffusion import FlowUNet, UNetConfig
from gencomp_core.models.gan import GANConfig, Generator
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.models.vae import FashionVAE, VAEConfig
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.workloads.calibration import CalibrationBatch
from gencomp_core.workloads.fashion import FashionDiffusion, FashionGAN, FashionVAEWorkload
from gencomp_core.workloads.verses import VersesTransformer


@torch.no_grad()
def randomise_(model: nn.Module, seed: int) -> nn.Module:
    """Give every parameter and float buffer random values that keep activations near 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator)
        is_scale = "norm" in name and name.endswith("weight")
        fan_in = value[0].numel() if value.ndim > 1 else 100
        value.copy_(noise.abs() + 1 if name.endswith("running_var") else noise / fan_in**0.5 + is_scale)
    return model.eval().requires_grad_(False)


class Unlearned:
    """Random weights in place of a checkpoint; put it before the workload class."""

    empty_network: Callable[[], nn.Module]

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @cached_property
    def model(self) -> nn.Module:
        return randomise_(self.empty_network(), self.seed)

    @property
    def weights_hash(self) -> str:
        return f"{self.seed:016x}"


class TinyDiffusion(Unlearned, FashionDiffusion):
    """The diffusion workload on a network of 64,052 parameters, unlearned."""

    name = "tiny-diffusion"
    title = "Tiny diffusion"
    summary = "flow-matching U-Net with random weights"

    def empty_network(self) -> nn.Module:
        return FlowUNet(UNetConfig(channels=(16, 16))).eval()


class TinyGAN(Unlearned, FashionGAN):
    """The GAN workload on a small generator, unlearned."""

    name = "tiny-gan"
    title = "Tiny GAN"
    summary = "generator of transposed convolutions with random weights"

    def empty_network(self) -> nn.Module:
        return Generator(GANConfig(channels=(16, 16, 16), latent_dim=8)).eval()


class TinyVAE(Unlearned, FashionVAEWorkload):
    """The VAE workload on a network of 75,265 parameters, unlearned."""

    name = "tiny-vae"
    title = "Tiny VAE"
    summary = "variational autoencoder with random weights"

    def empty_network(self) -> nn.Module:
        return FashionVAE(VAEConfig(channels=(16, 16), latent_dim=8)).eval()


class TinyVerses(Unlearned, VersesTransformer):
    """The text workload on a small network, unlearned."""

    name = "tiny-verses"
    title = "Tiny verses"
    summary = "encoder–decoder with random weights"

    def empty_network(self) -> nn.Module:
        shape = Seq2SeqConfig(dim=32, n_heads=2, encoder_layers=1, decoder_layers=1, feed_forward=2)
        return Seq2Seq(shape).eval()


class Layers(nn.Module):
    """One layer of each kind with odd shapes; `head` shares the weight of `tokens`."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 6)
        self.linear = nn.Linear(7, 5)
        self.conv1d = nn.Conv1d(3, 4, 5)
        self.conv2d = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.transposed = nn.ConvTranspose2d(5, 3, 4)
        self.grouped = nn.ConvTranspose2d(4, 6, 3, groups=2)
        self.head = nn.Linear(6, 11)
        self.head.weight = self.tokens.weight


def layers(seed: int = 0) -> Layers:
    """`Layers` with random weights."""
    model = Layers()
    randomise_(model, seed)
    return model


@dataclass(eq=False)
class Bare:
    """As much of a workload as compressing needs: a name, a model and its shape."""

    model: nn.Module = field(default_factory=layers)
    name: str = "tiny-layers"

    def empty_network(self) -> nn.Module:
        return Layers()


class Made(Bare):
    """A workload around any network, calibrated on given inputs, each at a stage of its own."""

    def __init__(self, model: nn.Module, *inputs: Tensor, name: str = "made") -> None:
        super().__init__(model.eval().requires_grad_(False), name)
        self.inputs = inputs

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.inputs[0]

    def empty_network(self) -> nn.Module:
        return copy.deepcopy(self.model)

    def forward_batches(self, n: int, *, seed: int) -> list[CalibrationBatch]:
        return [CalibrationBatch(f"t={i}", {"all": n}, lambda model, x=x: model(x)) for i, x in enumerate(self.inputs)]

    def loss_batches(self, n: int, *, seed: int) -> list[CalibrationBatch]:
        return [
            CalibrationBatch(f"t={i}", {"all": n}, lambda model, x=x: model(x).square().mean())
            for i, x in enumerate(self.inputs)
        ]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def on_noise(network: nn.Module, *shape: int) -> Made:
    """A network with random weights as a workload, calibrated on four samples of noise."""
    return Made(randomise_(network, 0), noise(4, *shape, seed=1))


def pruning(sparsity: float, **fields: object) -> dict[str, object]:
    """Plain form of a pruning stage."""
    return {"kind": "magnitude-pruning", "sparsity": sparsity, **fields}


def quantization(bits: int, **fields: object) -> dict[str, object]:
    """Plain form of a quantization stage."""
    return {"kind": "weight-quantization", "bits": bits, **fields}


def activations(bits: int = 8, **fields: object) -> dict[str, object]:
    """Plain form of a stage that rounds activations."""
    return {"kind": "activation-quantization", "bits": bits, **fields}


def recipe(*stages: dict[str, object]) -> Recipe:
    """Recipe of plain stages."""
    return Recipe.from_dict({"stages": list(stages)})


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal bit for bit: +0.0 is not -0.0."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    raw = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in (first, second)]
    return torch.equal(*raw)
