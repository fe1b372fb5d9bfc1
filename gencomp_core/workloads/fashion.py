"""The bundled image workloads: generators that were trained on Fashion-MNIST."""

import types
from abc import abstractmethod
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gencomp_core.data.fashion_mnist import CLASS_NAMES
from gencomp_core.models.diffusion import FlowUNet, Solver, UNetConfig, guided_velocity, trajectory
from gencomp_core.models.gan import GANConfig, Generator
from gencomp_core.models.vae import FashionVAE, VAEConfig
from gencomp_core.workloads.base import (
    Preview,
    SamplingOption,
    Settings,
    cycling_labels,
    device_of,
    numbered_noise,
    to_pixels,
)
from gencomp_core.workloads.checkpoints import CheckpointWeights


class _FashionWorkload(CheckpointWeights):
    """What the image workloads share: classes and metric."""

    modality: Literal["image"] = "image"
    metric = "fid"
    class_names = CLASS_NAMES
    licences = types.MappingProxyType({"weights": "Apache-2.0", "data": "Fashion-MNIST, MIT (Zalando SE 2017)"})


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
        shape = self.shape
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
        shape = self.shape
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
        shape = self.shape
        return FashionVAE(VAEConfig(**{**shape, "channels": tuple(shape["channels"])})).eval()

    def latent_dim(self, model: nn.Module) -> int:
        """Size of the latent."""
        return cast(FashionVAE, model).config.latent_dim

    def brightness(self, model: nn.Module, latent: Tensor, labels: Tensor) -> Tensor:
        """latent (n, latent_dim), labels (n,) -> (n, 1, 28, 28) float32 in [0, 1]."""
        return cast(FashionVAE, model).generate(latent, labels)
