"""The bundled workloads: generators that were trained on Fashion-MNIST and ship with the product."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from gencomp_core.data.fashion_mnist import CLASS_NAMES
from gencomp_core.models.diffusion import FlowUNet, Solver, UNetConfig, guided_velocity, trajectory
from gencomp_core.models.gan import GANConfig, Generator
from gencomp_core.models.vae import FashionVAE, VAEConfig
from gencomp_core.runtime_env import device
from gencomp_core.workloads.base import (
    Preview,
    SamplingOption,
    Settings,
    cycling_labels,
    device_of,
    numbered_noise,
    to_pixels,
)
from gencomp_core.workloads.checkpoints import checkpoint_path, file_hash, fill, read_checkpoint


class _FashionWorkload(ABC):
    """What the image workloads share: classes, metric, and weights read from a checkpoint."""

    modality: Literal["image"] = "image"
    metric = "fid"
    class_names = CLASS_NAMES
    name: str

    def __init__(self, checkpoint: Path | None = None) -> None:
        self.checkpoint = checkpoint or checkpoint_path(self.name)

    @cached_property
    def _content(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return read_checkpoint(self.checkpoint)

    @cached_property
    def model(self) -> nn.Module:
        """Dense model in eval mode; shared, never changed by anyone."""
        return fill(self.empty_network(), self._content[0], self.checkpoint).to(device())

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the dense weights."""
        return file_hash(self.checkpoint)

    @abstractmethod
    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights."""


class FashionDiffusion(_FashionWorkload):
    """Flow-matching U-Net, sampled with Euler or Heun."""

    name = "fashion-diffusion"
    title = "Fashion diffusion"
    summary = "class-conditional flow-matching U-Net with attention, 28 × 28 clothing"
    options = (
        SamplingOption("steps", 16, "sampler steps; more is slower and better", low=1, high=100),
        SamplingOption("solver", "euler", "integrator; heun calls the network twice a step", choices=("euler", "heun")),
        SamplingOption("guidance", 1.0, "classifier-free guidance scale; 1 is off", low=0, high=10),
    )
    preview = Preview(n_samples=16, settings={"steps": 4})

    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights."""
        shape = dict(self._content[1])
        return FlowUNet(UNetConfig(**{**shape, "channels": tuple(shape["channels"])})).eval()

    @torch.inference_mode()
    def generate(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> Tensor:
        """Samples number `start` to `stop - 1`: (n, 1, 28, 28) uint8."""
        *_, last = self.denoise(model, start, stop, seed=seed, settings=settings)
        return to_pixels((last + 1) / 2)

    def denoise(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> "list[Tensor]":
        """States from noise to image of the numbered samples: steps + 1 tensors (n, 1, 28, 28) float32."""
        where = device_of(model)
        noise = numbered_noise((1, 28, 28), start, stop, seed=seed).to(where)
        labels = cycling_labels(start, stop, len(CLASS_NAMES)).to(where)
        velocity = guided_velocity(model, guidance=float(settings["guidance"]), n_classes=len(CLASS_NAMES))
        solver = cast(Solver, settings["solver"])
        return list(trajectory(velocity, noise, labels, steps=int(settings["steps"]), solver=solver))


class _LatentWorkload(_FashionWorkload):
    """What the models share that make an image from a latent in one step."""

    options = (SamplingOption("temperature", 1.0, "scale of the latent noise; lower is safer", low=0, high=2),)
    preview = Preview(n_samples=64)

    @abstractmethod
    def latent_dim(self, model: nn.Module) -> int:
        """Size of the latent."""

    @abstractmethod
    def brightness(self, model: nn.Module, latent: Tensor, labels: Tensor) -> Tensor:
        """latent (n, latent_dim), labels (n,) -> (n, 1, 28, 28) float32 in [0, 1]."""

    @torch.inference_mode()
    def generate(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> Tensor:
        """Samples number `start` to `stop - 1`: (n, 1, 28, 28) uint8."""
        where = device_of(model)
        noise = numbered_noise((self.latent_dim(model),), start, stop, seed=seed).to(where)
        labels = cycling_labels(start, stop, len(CLASS_NAMES)).to(where)
        return to_pixels(self.brightness(model, noise * float(settings["temperature"]), labels))


class FashionGAN(_LatentWorkload):
    """Generator of transposed convolutions, one step a sample. Its critic ships beside it, for recovery."""

    name = "fashion-gan"
    title = "Fashion GAN"
    summary = "class-conditional generator of transposed convolutions, one step a sample"

    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights."""
        shape = dict(self._content[1])
        sizes = {key: tuple(shape[key]) for key in ("channels", "critic_channels")}
        return Generator(GANConfig(**{**shape, **sizes})).eval()

    def latent_dim(self, model: nn.Module) -> int:
        """Size of the latent."""
        return cast(Generator, model).config.latent_dim

    def brightness(self, model: nn.Module, latent: Tensor, labels: Tensor) -> Tensor:
        """latent (n, latent_dim), labels (n,) -> (n, 1, 28, 28) float32 in [0, 1]."""
        image: Tensor = model(latent, labels)
        return (image + 1) / 2


class FashionVAEWorkload(_LatentWorkload):
    """Variational autoencoder, sampled from its fitted class priors."""

    name = "fashion-vae"
    title = "Fashion VAE"
    summary = "class-conditional convolutional variational autoencoder, one step a sample"

    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights."""
        shape = dict(self._content[1])
        return FashionVAE(VAEConfig(**{**shape, "channels": tuple(shape["channels"])})).eval()

    def latent_dim(self, model: nn.Module) -> int:
        """Size of the latent."""
        return cast(FashionVAE, model).config.latent_dim

    def brightness(self, model: nn.Module, latent: Tensor, labels: Tensor) -> Tensor:
        """latent (n, latent_dim), labels (n,) -> (n, 1, 28, 28) float32 in [0, 1]."""
        return cast(FashionVAE, model).generate(latent, labels)
