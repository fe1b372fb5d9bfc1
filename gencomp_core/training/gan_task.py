"""Training a GAN on Fashion-MNIST: generator and critic against each other."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gencomp_core.models import losses
from gencomp_core.models.gan import Critic, GANConfig, Generator
from gencomp_core.training import augmentation
from gencomp_core.training.config import GANTraining
from gencomp_core.training.image_batches import N_CLASSES, N_HELD_OUT, FashionBatches, to_unit_range
from gencomp_core.training.task import Player, to_device
from gencomp_core.training.validation import sample_fid


class GANTask:
    """Critic and generator against each other, with a gradient penalty on the critic."""

    def __init__(self, config: GANTraining) -> None:
        self.config = config
        shape = GANConfig(
            config.channels,
            width=config.width,
            latent_dim=config.latent_dim,
            residual=config.residual,
            minibatch_std=config.minibatch_std,
            depth=config.depth,
            spectral_norm=config.spectral_norm,
        )
        self.network = Generator(shape).to(memory_format=torch.channels_last)
        self.critic = Critic(shape).to(memory_format=torch.channels_last)
        self.players = (
            Player("critic", self.critic, self.critic_loss, repeats=config.n_critic),
            Player("generator", self.network, self.generator_loss),
        )
        self.batches = FashionBatches(config.batch_size, config.balanced, config.flips, config.shifts)

    def critic_loss(
        self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice
    ) -> Tensor:
        """Adversarial loss of the critic, with its penalty every few steps."""
        config, critic = self.config, networks["critic"]
        images, labels = self.batches.draw_augmented(generator)
        noise = torch.randn(len(images), config.latent_dim, generator=generator)
        mix = torch.rand(len(images), generator=generator)
        real_chances, fake_chances = self._chances(generator), self._chances(generator)
        images, labels, noise, mix = to_device(critic, images[share], labels[share], noise[share], mix[share])
        real = to_unit_range(images)
        with torch.no_grad():
            fake = networks["generator"](noise, labels).float()
        real, fake = self._augment(real, real_chances[share]), self._augment(fake, fake_chances[share])
        loss = losses.critic_loss(critic(real, labels).float(), critic(fake, labels).float(), config.loss)
        if step % config.penalty_every == 0:
            loss = loss + config.penalty_every * self._penalty(critic, real, fake, labels, mix)
        return loss

    def generator_loss(
        self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice
    ) -> Tensor:
        """Adversarial loss of the generator."""
        noise = torch.randn(self.config.batch_size, self.config.latent_dim, generator=generator)
        labels = torch.randint(0, N_CLASSES, (self.config.batch_size,), generator=generator)
        chances = self._chances(generator)
        noise, labels = to_device(self.network, noise[share], labels[share])
        if self.config.mode_seeking:
            labels = _paired(labels)
        images = networks["generator"](noise, labels)
        scores = networks["critic"](self._augment(images, chances[share]), labels)
        loss = losses.generator_loss(scores.float(), self.config.loss)
        if self.config.mode_seeking:
            loss = loss + self.config.mode_seeking * losses.mode_seeking_loss(images.float(), noise)
        return loss

    def validate(self, network: nn.Module) -> dict[str, float]:
        """FID over 2,000 samples at fixed noise."""

        def sample(noise: Tensor, labels: Tensor) -> Tensor:
            images: Tensor = network(noise, labels)
            return (images + 1) / 2

        return {"fid": sample_fid(network, N_HELD_OUT, (self.config.latent_dim,), sample)}

    def badness(self, figures: Mapping[str, float]) -> float:
        """FID."""
        return figures["fid"]

    def finish(self, network: nn.Module) -> None:
        """Nothing to do: norm statistics are averaged with the weights."""

    def _chances(self, generator: torch.Generator) -> Tensor:
        """What decides one batch's augmentations: (n, N_CHANCES), or (n, 0) when there are none."""
        n_chances = augmentation.N_CHANCES if self.config.augment else 0
        return torch.rand(self.config.batch_size, n_chances, generator=generator)

    def _augment(self, images: Tensor, chances: Tensor) -> Tensor:
        """Images as the critic sees them: real and generated ones go through the same augmentations."""
        if not self.config.augment:
            return images
        return augmentation.diff_augment(images.float(), self.config.augment, chances.to(images.device))

    def _penalty(self, critic: nn.Module, real: Tensor, fake: Tensor, labels: Tensor, mix: Tensor) -> Tensor:
        with torch.autocast(real.device.type, enabled=False):  # second derivatives need float32

            def score(images: Tensor) -> Tensor:
                scores: Tensor = critic(images, labels)
                return scores

            penalty = real.new_zeros(())
            if self.config.r1:
                penalty = penalty + self.config.r1 * losses.r1_penalty(score, real)
            if self.config.gradient_penalty:
                penalty = penalty + self.config.gradient_penalty * losses.wgan_gp_penalty(score, real, fake, mix)
            return penalty


def _paired(labels: Tensor) -> Tensor:
    """Labels whose second half repeats the first; an odd last one stays: (n,) -> (n,)."""
    half = len(labels) // 2
    return torch.cat([labels[:half], labels[:half], labels[2 * half :]])
