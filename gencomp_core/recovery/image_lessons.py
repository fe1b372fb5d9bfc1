"""Tuning the bundled image models on the training images that ship with the product."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from gencomp_core.data.fashion_mnist import LabelledImages, load_split
from gencomp_core.models import losses
from gencomp_core.models.gan import Generator
from gencomp_core.models.vae import FashionVAE
from gencomp_core.recovery.lesson import FEATURE_WEIGHT, Stateless, Teaching, feature_difference, shared_names, watched
from gencomp_core.training.augmentation import random_flips
from gencomp_core.training.image_batches import N_CLASSES, chunks, to_unit_range
from gencomp_core.training.task import to_device
from gencomp_core.training.validation import sample_fid
from gencomp_core.workloads.base import device_of
from gencomp_core.workloads.fashion import fashion_critic

N_HELD_OUT = 1000
N_HELD_OUT_SAMPLES = 1000
HELD_OUT_SEED = 5_000_000
LABEL_DROPOUT = 0.1
R1, R1_EVERY = 0.5, 8
CRITIC_RATE, CRITIC_BETAS = 3e-4, (0.0, 0.99)


@dataclass
class ShippedImages:
    """The class-balanced training images that ship, but for the last 1,000.

    Attributes:
        batch_size: images a step.
    """

    batch_size: int

    @cached_property
    def all(self) -> LabelledImages:
        """Training images with those held out."""
        return load_split("subset")

    @property
    def n_train(self) -> int:
        """Images that may be drawn."""
        return len(self.all) - N_HELD_OUT

    @property
    def held_out(self) -> LabelledImages:
        """1,000 images, as many of each class."""
        return LabelledImages(self.all.images[self.n_train :].clone(), self.all.labels[self.n_train :].clone())

    def draw(self, generator: torch.Generator, *, flips: bool) -> tuple[Tensor, Tensor]:
        """Random images (n, 1, 28, 28) uint8 and their labels (n,)."""
        index = torch.randint(0, self.n_train, (self.batch_size,), generator=generator)
        images, labels = self.all.images[index], self.all.labels[index]
        return (random_flips(images, generator) if flips else images), labels


class DiffusionLesson(Stateless):
    """Velocity regression on the flow-matching path, and the teacher's velocities at the same points."""

    def __init__(self, teaching: Teaching, batch_size: int) -> None:
        self.teaching, self.images = teaching, ShippedImages(batch_size)

    def loss(self, model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        """Mean squared velocity error, against the data and against the teacher."""
        images, labels = self.images.draw(generator, flips=True)
        noise = torch.randn(images.shape, generator=generator)
        t = losses.logit_normal_times(len(images), generator)
        dropped = torch.rand(len(labels), generator=generator) < LABEL_DROPOUT
        labels = torch.where(dropped, N_CLASSES, labels)
        images, labels, noise, t = to_device(model, images, labels, noise, t)
        x, target = losses.flow_matching_pair(to_unit_range(images), noise, t)
        teaching = self.teaching
        names = shared_names(model, teaching.teacher) if teaching.with_features else []
        with watched(model, names) as own:
            velocity = model(x, t, labels).float()
        of_data: Tensor = (velocity - target).square().mean()
        if not teaching.weight:
            return of_data
        with torch.no_grad(), watched(teaching.teacher, names) as theirs:
            taught = teaching.teacher(x, t, labels).float()
        of_teacher = (velocity - taught).square().mean()
        if names:
            of_teacher = of_teacher + FEATURE_WEIGHT * feature_difference(own, theirs)
        return teaching.mix(of_data, of_teacher)

    def held_out(self, model: nn.Module) -> float:
        """Mean squared velocity error on 1,000 images at fixed noise and times."""
        held_out = self.images.held_out
        noise = torch.randn(held_out.images.shape, generator=torch.Generator().manual_seed(0))
        t = torch.linspace(0.02, 0.98, len(held_out))[torch.randperm(len(held_out), generator=_fixed())]
        total = 0.0
        for part in chunks(len(held_out), 250):
            images, labels, own, times = to_device(
                model, held_out.images[part], held_out.labels[part], noise[part], t[part]
            )
            x, target = losses.flow_matching_pair(to_unit_range(images), own, times)
            total += (model(x, times, labels) - target).square().flatten(1).mean(1).sum().item()
        return total / len(held_out)


class StepLesson(DiffusionLesson):
    """One Euler step of the student against two of half the length of the teacher.

    Source: Salimans & Ho 2022 (arXiv:2202.00512), algorithm 2.

    Args:
        sampler_steps: of the student.
    """

    def __init__(self, teaching: Teaching, batch_size: int, *, sampler_steps: int) -> None:
        super().__init__(teaching, batch_size)
        self.sampler_steps = sampler_steps

    def loss(self, model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        """Mean squared difference of velocities, mixed with the plain loss."""
        plain = super().loss(model, step, generator) if self.teaching.weight < 1 else torch.zeros(())
        images, labels = self.images.draw(generator, flips=True)
        noise = torch.randn(images.shape, generator=generator)
        number = torch.randint(0, self.sampler_steps, (len(images),), generator=generator)
        return self.teaching.mix(plain, self._error(model, images, labels, noise, number).mean())

    def held_out(self, model: nn.Module) -> float:
        """The same error on 1,000 images, at each step of the sampler in turn."""
        held_out = self.images.held_out
        noise = torch.randn(held_out.images.shape, generator=_fixed())
        number = torch.arange(len(held_out)) % self.sampler_steps
        parts = [(held_out.images[p], held_out.labels[p], noise[p], number[p]) for p in chunks(len(held_out), 250)]
        return torch.cat([self._error(model, *part) for part in parts]).mean().item()

    def _error(self, model: nn.Module, images: Tensor, labels: Tensor, noise: Tensor, number: Tensor) -> Tensor:
        """Squared difference of each image: (n,); `number` counts sampler steps from the noise."""
        t = 1 - number / self.sampler_steps
        images, labels, noise, t = to_device(model, images, labels, noise, t)
        x, _ = losses.flow_matching_pair(to_unit_range(images), noise, t)
        half = 0.5 / self.sampler_steps
        with torch.no_grad():
            first = self.teaching.teacher(x, t, labels).float()
            second = self.teaching.teacher(x - half * first, t - half, labels).float()
        wanted = (first + second) / 2
        errors: Tensor = (model(x, t, labels).float() - wanted).square().flatten(1).mean(1)
        return errors


class VAELesson(Stateless):
    """Negative evidence lower bound, and the teacher's latents and reconstructions."""

    def __init__(self, teaching: Teaching, batch_size: int) -> None:
        self.teaching, self.images = teaching, ShippedImages(batch_size)

    def loss(self, model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        """Nats a pixel; the teacher's part is the squared distance of latents and logits of the same noise."""
        images, labels = self.images.draw(generator, flips=False)
        noise = torch.randn(len(images), cast(FashionVAE, model).config.latent_dim, generator=generator)
        images, labels, noise = to_device(model, images, labels, noise)
        pixels, teaching = to_unit_range(images), self.teaching
        names = shared_names(model, teaching.teacher) if teaching.with_features else []
        with watched(model, names) as own:
            logits, mean, log_variance = (part.float() for part in model(pixels, labels, noise))
        error = losses.gaussian_nll_optimal_variance(logits.sigmoid(), images.float() / 255)
        kl = losses.gaussian_kl(mean, log_variance).mean(0).sum()
        of_data = (error + kl) / pixels[0].numel()
        if not teaching.weight:
            return of_data
        with torch.no_grad(), watched(teaching.teacher, names) as theirs:
            taught = [part.float() for part in teaching.teacher(pixels, labels, noise)]
        brightness = (logits.sigmoid() - taught[0].sigmoid()).square().mean()
        of_teacher = brightness / taught[0].sigmoid().var()
        of_teacher = of_teacher + ((mean - taught[1]).square() / taught[2].exp()).mean()
        of_teacher = of_teacher + (log_variance - taught[2]).square().mean()
        if names:
            of_teacher = of_teacher + FEATURE_WEIGHT * feature_difference(own, theirs)
        return teaching.mix(of_data, of_teacher)

    def held_out(self, model: nn.Module) -> float:
        """Negative evidence lower bound of 1,000 images at fixed noise, nats an image."""
        held_out = self.images.held_out
        noise = torch.randn(len(held_out), cast(FashionVAE, model).config.latent_dim, generator=_fixed())
        images, labels, noise = to_device(model, held_out.images, held_out.labels, noise)
        logits, mean, log_variance = model(to_unit_range(images), labels, noise)
        error = losses.gaussian_nll_optimal_variance(logits.sigmoid(), images.float() / 255)
        return (error + losses.gaussian_kl(mean, log_variance).mean(0).sum()).item()

    @torch.no_grad()
    def finish_(self, model: nn.Module) -> None:
        """Fit each class's prior to where the tuned encoder puts the training images."""
        network, generator, latents, n = cast(FashionVAE, model), _fixed(), [], self.images.n_train
        images, labels = self.images.all.images[:n].clone(), self.images.all.labels[:n].clone()
        for part in chunks(n, 1000):
            mean, log_variance = network.encode(*_on(model, to_unit_range(images[part]), labels[part]))
            noise = torch.randn(mean.shape, generator=generator)
            latents.append(mean.cpu() + noise * (log_variance.cpu() / 2).exp())
        network.set_prior(torch.cat(latents), labels)


class GANLesson:
    """The generator against a critic that is tuned along, and the teacher's images of the same latents."""

    def __init__(self, teaching: Teaching, batch_size: int) -> None:
        self.teaching, self.images = teaching, ShippedImages(batch_size)
        self.critic = copy.deepcopy(fashion_critic()).to(device_of(teaching.teacher)).requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.critic.parameters(), lr=CRITIC_RATE, betas=CRITIC_BETAS)

    def loss(self, model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        """Non-saturating loss after an update of the critic; the teacher's part is the mean absolute difference."""
        latent_dim, n = cast(Generator, model).config.latent_dim, self.images.batch_size
        noise = torch.randn(n, latent_dim, generator=generator)
        labels = torch.randint(0, N_CLASSES, (n,), generator=generator)
        noise, labels = to_device(model, noise, labels)
        teaching = self.teaching
        names = shared_names(model, teaching.teacher) if teaching.with_features else []
        with watched(model, names) as own:
            images = model(noise, labels).float()
        of_data: Tensor | float = 0.0
        if teaching.weight < 1:
            self._update_critic(images.detach(), labels, step, generator)
            of_data = losses.generator_loss(self.critic(images, labels).float(), "non-saturating")
        if not teaching.weight:
            return torch.as_tensor(of_data)
        with torch.no_grad(), watched(teaching.teacher, names) as theirs:
            taught = teaching.teacher(noise, labels).float()
        of_teacher = IMAGE_DIFFERENCE_WEIGHT * (images - taught).abs().mean()
        if names:
            of_teacher = of_teacher + FEATURE_WEIGHT * feature_difference(own, theirs)
        return teaching.mix(of_data, of_teacher)

    def held_out(self, model: nn.Module) -> float:
        """FID of 1,000 samples at noise that no measurement uses."""
        latent_dim = cast(Generator, model).config.latent_dim

        def sample(noise: Tensor, labels: Tensor) -> Tensor:
            return cast(Tensor, (model(noise, labels) + 1) / 2)

        return sample_fid(model, N_HELD_OUT_SAMPLES, (latent_dim,), sample, seed=HELD_OUT_SEED)

    def finish_(self, model: nn.Module) -> None:
        """Nothing to do: norm statistics were trained along."""

    def state(self) -> dict[str, Any]:
        """The critic and its optimizer."""
        return {"critic": self.critic.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _update_critic(self, fake: Tensor, fake_labels: Tensor, step: int, generator: torch.Generator) -> None:
        images, labels = self.images.draw(generator, flips=True)
        images, labels = to_device(self.critic, images, labels)
        real = to_unit_range(images)
        self.critic.requires_grad_(True)
        scores = self.critic(real, labels).float(), self.critic(fake, fake_labels).float()
        loss = losses.critic_loss(*scores, "non-saturating")
        if step % R1_EVERY == 0:
            with torch.autocast(real.device.type, enabled=False):  # second derivatives need float32
                loss = loss + R1_EVERY * R1 * losses.r1_penalty(lambda x: self.critic(x, labels), real)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.critic.requires_grad_(False)  # the generator's gradient passes through it


IMAGE_DIFFERENCE_WEIGHT = 10.0
"""Of the mean absolute pixel difference, beside losses of the critic that are near 1 (Isola 2017, arXiv:1611.07004)."""


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _on(model: nn.Module, *tensors: Tensor) -> list[Tensor]:
    return to_device(model, *tensors)
