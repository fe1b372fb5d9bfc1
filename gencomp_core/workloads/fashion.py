"""The bundled image workloads: generators that were trained on Fashion-MNIST."""

import types
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cache
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gencomp_core.data.fashion_mnist import CLASS_NAMES, LabelledImages, load_split
from gencomp_core.errors import RecipeError
from gencomp_core.models import losses
from gencomp_core.models.diffusion import FlowUNet, Solver, UNetConfig, guided_velocity, trajectory
from gencomp_core.models.gan import Critic, GANConfig, Generator
from gencomp_core.models.vae import FashionVAE, VAEConfig
from gencomp_core.workloads import examples
from gencomp_core.workloads.base import (
    Preview,
    SamplingOption,
    Settings,
    Workload,
    complete_settings,
    cycling_labels,
    device_of,
    numbered_noise,
    to_pixels,
)
from gencomp_core.workloads.calibration import CalibrationBatch, PositionedBatch
from gencomp_core.workloads.checkpoints import CheckpointWeights, checkpoint_path, fill, read_checkpoint

N_LOSS_TIMES = 10
SHELLS = ("|z| small", "|z| usual", "|z| large")


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
    example = examples.FLOW

    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights."""
        shape = self.shape
        return FlowUNet(UNetConfig(**{**shape, "channels": tuple(shape["channels"])})).eval()

    @torch.inference_mode()
    def generate(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> Tensor:
        """Samples number `start` to `stop - 1`: (n, 1, 28, 28) uint8."""
        *_, last = self.denoise(model, start, stop, seed=seed, settings=settings)
        return to_pixels((last + 1) / 2)

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """The network along the dense model's own trajectories: every time step with the states it meets there."""
        settings = complete_settings(cast(Workload, self))
        with torch.no_grad():
            states = self.denoise(self.model, 0, n, seed=seed, settings=settings)
        labels = cycling_labels(0, n, len(CLASS_NAMES))
        times = torch.linspace(1, 0, len(states)).tolist()
        for time, state in zip(times[:-1], states[:-1], strict=True):
            yield CalibrationBatch(f"t={time:.3f}", class_counts(labels), _velocity(state, time, labels))

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """Velocity error on training images, at times spread evenly, the noisiest first."""
        images, labels = training_images(n)
        noise = numbered_noise((1, 28, 28), 0, n, seed=seed)
        for time in torch.linspace(0.95, 0.05, N_LOSS_TIMES).tolist():
            t = torch.full((n,), time)
            x, target = losses.flow_matching_pair(images, noise, t)
            yield CalibrationBatch(f"t={time:.2f}", class_counts(labels), _velocity_error(x, target, time, labels))

    def denoise(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> "list[Tensor]":
        """States from noise to image of the numbered samples: steps + 1 tensors (n, 1, 28, 28) float32."""
        where = device_of(model)
        noise = numbered_noise((1, 28, 28), start, stop, seed=seed).to(where)
        labels = cycling_labels(start, stop, len(CLASS_NAMES)).to(where)
        velocity = guided_velocity(model, guidance=float(settings["guidance"]), n_classes=len(CLASS_NAMES))
        solver = cast(Solver, settings["solver"])
        return list(trajectory(velocity, noise, labels, steps=int(settings["steps"]), solver=solver))


def _velocity(state: Tensor, time: float, labels: Tensor) -> Callable[[nn.Module], Tensor]:
    def run(model: nn.Module) -> Tensor:
        where = device_of(model)
        t = torch.full((len(state),), time, device=where)
        velocity: Tensor = model(state.to(where), t, labels.to(where))
        return velocity

    return run


def _velocity_error(x: Tensor, target: Tensor, time: float, labels: Tensor) -> Callable[[nn.Module], Tensor]:
    predict = _velocity(x, time, labels)

    def run(model: nn.Module) -> Tensor:
        velocity = predict(model)
        return (velocity - target.to(velocity.device)).square().mean()

    return run


class FashionDiffusionThreeQuarters(FashionDiffusion):
    """The same network at 0.75 of the width, trained from scratch with as many steps."""

    name = "fashion-diffusion-w75"
    title = "Fashion diffusion, width 0.75"
    summary = "the diffusion model at 0.75 of its width, trained from scratch"


class FashionDiffusionHalf(FashionDiffusion):
    """The same network at half the width, trained from scratch with as many steps."""

    name = "fashion-diffusion-w50"
    title = "Fashion diffusion, width 0.5"
    summary = "the diffusion model at half its width, trained from scratch"


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

    def position_batches(self, n: int, *, seed: int) -> Iterator[PositionedBatch]:
        """Images from latents, cut by how far the latents lie from the centre: the nearest third first."""
        noise = numbered_noise((self.latent_dim(self.model),), 0, n, seed=seed)
        labels = cycling_labels(0, n, len(CLASS_NAMES))
        thirds = noise.norm(dim=1).argsort(stable=True).tensor_split(len(SHELLS))

        def run(model: nn.Module) -> Tensor:
            return self.brightness(model, noise.to(device_of(model)), labels.to(device_of(model)))

        yield PositionedBatch(run, dict(zip(SHELLS, thirds, strict=True)))


class FashionGAN(_LatentWorkload):
    """Generator of transposed convolutions, one step a sample. Its critic ships beside it, for recovery."""

    name = "fashion-gan"
    title = "Fashion GAN"
    summary = "class-conditional generator of transposed convolutions, one step a sample"
    example = examples.GENERATOR

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

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """The generator on numbered latents."""
        noise = numbered_noise((self.latent_dim(self.model),), 0, n, seed=seed)
        labels = cycling_labels(0, n, len(CLASS_NAMES))

        def run(model: nn.Module) -> Tensor:
            images: Tensor = model(noise.to(device_of(model)), labels.to(device_of(model)))
            return images

        yield CalibrationBatch("latent", class_counts(labels), run)

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """What the generator lost against the shipped critic."""
        for batch in self.forward_batches(n, seed=seed):
            labels = cycling_labels(0, n, len(CLASS_NAMES))

            def run(model: nn.Module, generate: Callable[[nn.Module], Tensor] = batch.run) -> Tensor:
                critic = fashion_critic().to(device_of(model))
                scores = critic(generate(model), labels.to(device_of(model)))  # noqa: B023 (used at once)
                return losses.generator_loss(scores, "non-saturating")

            yield CalibrationBatch(batch.stage, batch.strata, run)


@cache
def fashion_critic() -> Critic:
    """The critic that the shipped GAN was trained against; shared and frozen."""
    path = checkpoint_path("fashion-gan").with_name("critic.safetensors")
    tensors, shape = read_checkpoint(path)
    network = Critic(GANConfig(**{**shape, **{key: tuple(shape[key]) for key in ("channels", "critic_channels")}}))
    fill(network, tensors, path)
    return network


class FashionVAEWorkload(_LatentWorkload):
    """Variational autoencoder, sampled from its fitted class priors."""

    name = "fashion-vae"
    title = "Fashion VAE"
    summary = "class-conditional convolutional variational autoencoder, one step a sample"
    entry = "generate"
    example = examples.DECODER

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

    @torch.inference_mode()
    def posterior_means(self, model: nn.Module, n: int) -> Tensor:
        """Means of q(z | image) of the first n shipped training images: (n, latent_dim) float32."""
        images, labels = training_images(n)
        mean, _ = cast(FashionVAE, model).encode(images.to(device_of(model)), labels.to(device_of(model)))
        return mean.cpu()

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """Both halves on training images through the posterior, and the decoder on prior samples."""
        noise = numbered_noise((self.latent_dim(self.model),), 0, n, seed=seed)
        images, labels = training_images(n)
        drawn = cycling_labels(0, n, len(CLASS_NAMES))

        def reconstruct(model: nn.Module) -> Tensor:
            logits: Tensor = model(*(x.to(device_of(model)) for x in (images, labels, noise)))[0]
            return logits.sigmoid()

        yield CalibrationBatch("posterior", class_counts(labels), reconstruct)
        yield CalibrationBatch("prior", class_counts(drawn), lambda model: self.brightness(model, noise, drawn))

    def position_batches(self, n: int, *, seed: int) -> Iterator[PositionedBatch]:
        """Reconstructions through the posterior, and images from latents of the prior."""
        posterior = next(iter(self.forward_batches(n, seed=seed)))
        yield PositionedBatch(posterior.run, {posterior.stage: None})
        yield from super().position_batches(n, seed=seed)

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """Negative evidence lower bound of training images, nats a pixel."""
        noise = numbered_noise((self.latent_dim(self.model),), 0, n, seed=seed)
        images, labels = training_images(n)

        def run(model: nn.Module) -> Tensor:
            where = device_of(model)
            logits, mean, log_variance = model(images.to(where), labels.to(where), noise.to(where))
            brightness = (images.to(where) + 1) / 2
            error = losses.gaussian_nll_optimal_variance(logits.sigmoid(), brightness)
            return (error + losses.gaussian_kl(mean, log_variance).mean(0).sum()) / images[0].numel()

        yield CalibrationBatch("posterior", class_counts(labels), run)


def training_images(n: int) -> tuple[Tensor, Tensor]:
    """The first n of the shipped class-balanced training images, and their classes.

    Returns:
        (n, 1, 28, 28) float32 in [-1, 1], (n,) int64.

    Raises:
        RecipeError: there are fewer.
    """
    subset = _subset()
    if n > len(subset):
        raise RecipeError(f"calibration samples must be at most {len(subset)}, got {n}. Ask for fewer.")
    # A copy: the subset may have been read in inference mode, whose tensors no gradient can be taken through.
    return subset.images[:n].float().div(127.5).sub(1), subset.labels[:n].clone()


def class_counts(labels: Tensor) -> dict[str, int]:
    """Samples of each class, by its name."""
    counts = labels.bincount(minlength=len(CLASS_NAMES)).tolist()
    return dict(zip(CLASS_NAMES, counts, strict=True))


@cache
def _subset() -> LabelledImages:
    return load_split("subset")
