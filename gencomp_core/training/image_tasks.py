"""Training on Fashion-MNIST: classifier, diffusion model, GAN and VAE."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gencomp_core.data.fashion_mnist import CLASS_NAMES, LabelledImages, load_split
from gencomp_core.evaluate.features import feature_spaces
from gencomp_core.evaluate.fid import fid
from gencomp_core.models.classifier import FashionClassifier
from gencomp_core.models.diffusion import FlowUNet, UNetConfig
from gencomp_core.models.gan import Critic, GANConfig, Generator
from gencomp_core.models.vae import FashionVAE, VAEConfig
from gencomp_core.training import augmentation, losses
from gencomp_core.training.config import ClassifierTraining, DiffusionTraining, GANTraining, VAETraining
from gencomp_core.training.task import Player, to_device
from gencomp_core.workloads.base import to_pixels

N_HELD_OUT = 2_000
N_CLASSES = len(CLASS_NAMES)


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]."""
    return images.float().div(127.5).sub(1)


class _FashionBatches:
    """Random batches of training images, and the held-out images."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.train = load_split("train")
        test = load_split("test")
        self.held_out = LabelledImages(test.images[:N_HELD_OUT], test.labels[:N_HELD_OUT])

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(0, len(self.train), (self.batch_size,), generator=generator)
        return self.train.images[index], self.train.labels[index]


class ClassifierTask:
    """Cross-entropy with label smoothing, flips and shifts."""

    def __init__(self, config: ClassifierTraining) -> None:
        self.config = config
        self.network = FashionClassifier().to(memory_format=torch.channels_last)
        self.players = (Player("network", self.network, self.loss),)
        self.batches = _FashionBatches(config.batch_size)
        self.test = load_split("test")

    def loss(self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice) -> Tensor:
        """Smoothed cross-entropy on augmented images."""
        images, labels = self.batches.draw(generator)
        images = augmentation.random_flips(images, generator)
        images = augmentation.random_shifts(images, 1, generator)
        network = networks["network"]
        mine, targets = to_device(network, images[share], labels[share])
        return losses.smoothed_cross_entropy(network(mine), targets, self.config.label_smoothing)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Accuracy on all 10,000 test images."""
        batches = torch.split(self.test.images, 1000)
        predicted = torch.cat([network(*to_device(network, batch)).argmax(1).cpu() for batch in batches])
        return {"accuracy": (predicted == self.test.labels).float().mean().item()}

    def badness(self, figures: Mapping[str, float]) -> float:
        """Accuracy, negative."""
        return -figures["accuracy"]

    @torch.no_grad()
    def finish(self, network: nn.Module) -> None:
        """Norm statistics of the averaged weights, measured anew (Izmailov 2018, arXiv:1803.05407)."""
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches below
        network.train()
        generator = torch.Generator().manual_seed(self.config.seed)
        for _ in range(100):
            network(*to_device(network, self.batches.draw(generator)[0]))
        network.eval()


class DiffusionTask:
    """Velocity regression on the flow-matching path."""

    def __init__(self, config: DiffusionTraining) -> None:
        self.config = config
        shape = UNetConfig(config.channels, config.width, config.depth, config.attention, config.residual)
        self.network = FlowUNet(shape).to(memory_format=torch.channels_last)
        self.players = (Player("network", self.network, self.loss),)
        self.batches = _FashionBatches(config.batch_size)
        self.no_class = shape.n_classes

    def loss(self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice) -> Tensor:
        """Mean squared velocity error with some labels dropped and images mirrored."""
        images, labels = self.batches.draw(generator)
        images = augmentation.random_flips(images, generator)
        noise = torch.randn(images.shape, generator=generator)
        t = losses.logit_normal_times(len(images), generator)
        dropped = torch.rand(len(labels), generator=generator) < self.config.label_dropout
        labels = torch.where(dropped, self.no_class, labels)
        errors = self._velocity_errors(networks["network"], images[share], labels[share], noise[share], t[share])
        if self.config.min_snr:
            errors = errors * losses.min_snr_weights(t[share], self.config.min_snr).to(errors.device)
        return errors.mean()

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Velocity error on held-out images at fixed noise and times."""
        held_out = self.batches.held_out
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(held_out.images.shape, generator=generator)
        t = torch.linspace(0.02, 0.98, len(held_out))
        errors = [
            self._velocity_errors(network, held_out.images[part], held_out.labels[part], noise[part], t[part])
            for part in _chunks(len(held_out), 500)
        ]
        return {"held_out_loss": torch.cat(errors).mean().item()}

    def badness(self, figures: Mapping[str, float]) -> float:
        """Velocity error."""
        return figures["held_out_loss"]

    def finish(self, network: nn.Module) -> None:
        """Nothing to do."""

    @staticmethod
    def _velocity_errors(network: nn.Module, images: Tensor, labels: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Mean squared velocity error of each image: (n,)."""
        images, labels, noise, t = to_device(network, images, labels, noise, t)
        x, target = losses.flow_matching_pair(to_unit_range(images), noise, t)
        errors: Tensor = (network(x, t, labels).float() - target).square().flatten(1).mean(1)
        return errors


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
        )
        self.network = Generator(shape).to(memory_format=torch.channels_last)
        self.critic = Critic(shape).to(memory_format=torch.channels_last)
        self.players = (
            Player("critic", self.critic, self.critic_loss, repeats=config.n_critic),
            Player("generator", self.network, self.generator_loss),
        )
        self.batches = _FashionBatches(config.batch_size)

    def critic_loss(
        self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice
    ) -> Tensor:
        """Adversarial loss of the critic, with its penalty every few steps."""
        config, critic = self.config, networks["critic"]
        images, labels = self.batches.draw(generator)
        if config.flips:
            images = augmentation.random_flips(images, generator)
        noise = torch.randn(len(images), config.latent_dim, generator=generator)
        mix = torch.rand(len(images), generator=generator)
        images, labels, noise, mix = to_device(critic, images[share], labels[share], noise[share], mix[share])
        real = to_unit_range(images)
        with torch.no_grad():
            fake = networks["generator"](noise, labels).float()
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
        noise, labels = to_device(self.network, noise[share], labels[share])
        scores = networks["critic"](networks["generator"](noise, labels), labels)
        return losses.generator_loss(scores.float(), self.config.loss)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """FID over 2,000 samples at fixed noise, and the critic's mean score of held-out and generated images."""
        noise = torch.randn(N_HELD_OUT, self.config.latent_dim, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(N_HELD_OUT) % N_CLASSES
        parts = [to_device(network, noise[part], labels[part]) for part in _chunks(N_HELD_OUT, 500)]
        images = torch.cat([to_pixels((network(*part) + 1) / 2) for part in parts])
        space = feature_spaces["fashion"]
        return {"fid": fid(space.extract(images), space.reference())}

    def badness(self, figures: Mapping[str, float]) -> float:
        """FID."""
        return figures["fid"]

    def finish(self, network: nn.Module) -> None:
        """Nothing to do: norm statistics are averaged with the weights."""

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


class VAETask:
    """Evidence lower bound with the variance that fits best, KL warm-up and free bits."""

    def __init__(self, config: VAETraining) -> None:
        self.config = config
        shape = VAEConfig(config.channels, config.width, config.depth, config.latent_dim, config.residual)
        self.network = FashionVAE(shape).to(memory_format=torch.channels_last)
        self.players = (Player("network", self.network, self.loss),)
        self.batches = _FashionBatches(config.batch_size)

    def loss(self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice) -> Tensor:
        """Negative evidence lower bound in nats per pixel."""
        images, labels = self.batches.draw(generator)
        noise = torch.randn(len(images), self.config.latent_dim, generator=generator)
        warmup_steps = self.config.kl_warmup * self.config.steps
        weight = self.config.beta * min(1.0, (step + 1) / max(1.0, warmup_steps))
        reconstruction, kl = self._terms(networks["network"], images[share], labels[share], noise[share])
        return (reconstruction + weight * losses.free_bits(kl, self.config.free_bits)) / images[0].numel()

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Both terms of the bound on held-out images, in nats per image."""
        held_out = self.batches.held_out
        noise = torch.randn(len(held_out), self.config.latent_dim, generator=torch.Generator().manual_seed(0))
        reconstruction, kl = self._terms(network, held_out.images, held_out.labels, noise)
        return {"held_out_reconstruction": reconstruction.item(), "held_out_kl": kl.mean(0).sum().item()}

    def badness(self, figures: Mapping[str, float]) -> float:
        """Negative evidence lower bound."""
        return figures["held_out_reconstruction"] + figures["held_out_kl"]

    @torch.no_grad()
    def finish(self, network: nn.Module) -> None:
        """Fit each class's prior to the latents of the training images (`FashionVAE.set_prior`)."""
        assert isinstance(network, FashionVAE)
        train = self.batches.train
        generator = torch.Generator().manual_seed(self.config.seed)
        latents = []
        for part in _chunks(len(train), 2000):
            images, labels = to_device(network, train.images[part], train.labels[part])
            mean, log_variance = (moment.cpu() for moment in network.encode(to_unit_range(images), labels))
            latents.append(mean + torch.randn(mean.shape, generator=generator) * (log_variance / 2).exp())
        network.set_prior(torch.cat(latents), train.labels)

    @staticmethod
    def _terms(network: nn.Module, images: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        images, labels, noise = to_device(network, images, labels, noise)
        reconstruction, mean, log_variance = network(to_unit_range(images), labels, noise)
        brightness = images.float() / 255
        nll = losses.gaussian_nll_optimal_variance(reconstruction.float().sigmoid(), brightness)
        return nll, losses.gaussian_kl(mean.float(), log_variance.float())


def _chunks(n: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, n, size)]
