"""Training on Fashion-MNIST: classifier, diffusion model and VAE."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gencomp_core.data.fashion_mnist import load_split
from gencomp_core.models import losses
from gencomp_core.models.classifier import FashionClassifier
from gencomp_core.models.diffusion import FlowUNet, UNetConfig, trajectory
from gencomp_core.models.vae import FashionVAE, VAEConfig
from gencomp_core.training.config import ClassifierTraining, DiffusionTraining, VAETraining
from gencomp_core.training.image_batches import FashionBatches, chunks, to_unit_range
from gencomp_core.training.task import Player, to_device
from gencomp_core.training.validation import sample_fid

FID_STEPS = 8  # Euler steps of the diffusion model's samples in validation
N_PRIOR_IMAGES = 10_000  # that the VAE's prior is fitted to in validation


class ClassifierTask:
    """Cross-entropy with label smoothing, flips and shifts."""

    def __init__(self, config: ClassifierTraining) -> None:
        self.config = config
        self.network = FashionClassifier().to(memory_format=torch.channels_last)
        self.players = (Player("network", self.network, self.loss),)
        self.batches = FashionBatches(config.batch_size, config.balanced, flips=True, shifts=1)
        self.test = load_split("test")

    def loss(self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice) -> Tensor:
        """Smoothed cross-entropy on augmented images."""
        images, labels = self.batches.draw_augmented(generator)
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
        self.batches = FashionBatches(config.batch_size, config.balanced, config.flips, config.shifts)
        self.no_class = shape.n_classes

    def loss(self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice) -> Tensor:
        """Mean squared velocity error with some labels dropped."""
        config = self.config
        images, labels = self.batches.draw_augmented(generator)
        noise = torch.randn(images.shape, generator=generator)
        mean = losses.curriculum_mean(step, steps=config.steps, fraction=config.curriculum)
        t = losses.logit_normal_times(len(images), generator, mean=mean)
        dropped = torch.rand(len(labels), generator=generator) < config.label_dropout
        labels = torch.where(dropped, self.no_class, labels)
        errors = self._velocity_errors(networks["network"], images[share], labels[share], noise[share], t[share])
        if config.min_snr:
            errors = errors * losses.min_snr_weights(t[share], config.min_snr).to(errors.device)
        return errors.mean()

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Velocity error on held-out images at fixed noise and times, and the FID if it is asked for."""
        held_out = self.batches.held_out
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(held_out.images.shape, generator=generator)
        t = torch.linspace(0.02, 0.98, len(held_out))
        errors = [
            self._velocity_errors(network, held_out.images[part], held_out.labels[part], noise[part], t[part])
            for part in chunks(len(held_out), 500)
        ]
        figures = {"held_out_loss": torch.cat(errors).mean().item()}
        if self.config.validate_fid:

            def sample(noise: Tensor, labels: Tensor) -> Tensor:
                *_, last = trajectory(network, noise, labels, steps=FID_STEPS)
                return (last + 1) / 2

            figures["fid"] = sample_fid(network, self.config.validate_fid, (1, 28, 28), sample)
        return figures

    def badness(self, figures: Mapping[str, float]) -> float:
        """FID where it is reported, else the velocity error."""
        return figures.get("fid", figures["held_out_loss"])

    def finish(self, network: nn.Module) -> None:
        """Nothing to do."""

    @staticmethod
    def _velocity_errors(network: nn.Module, images: Tensor, labels: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Mean squared velocity error of each image: (n,)."""
        images, labels, noise, t = to_device(network, images, labels, noise, t)
        x, target = losses.flow_matching_pair(to_unit_range(images), noise, t)
        errors: Tensor = (network(x, t, labels).float() - target).square().flatten(1).mean(1)
        return errors


class VAETask:
    """Evidence lower bound with the variance that fits best, KL warm-up and free bits."""

    def __init__(self, config: VAETraining) -> None:
        self.config = config
        shape = VAEConfig(config.channels, config.width, config.depth, config.latent_dim, config.residual)
        self.network = FashionVAE(shape).to(memory_format=torch.channels_last)
        self.players = (Player("network", self.network, self.loss),)
        self.batches = FashionBatches(config.batch_size, config.balanced, config.flips, config.shifts)

    def loss(self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice) -> Tensor:
        """Negative evidence lower bound in nats per pixel."""
        config = self.config
        images, labels = self.batches.draw_augmented(generator)
        noise = torch.randn(len(images), config.latent_dim, generator=generator)
        weight = losses.kl_weight(step, steps=config.steps, beta=config.beta, warmup=config.kl_warmup)
        reconstruction, kl = self._terms(networks["network"], images[share], labels[share], noise[share])
        return (reconstruction + weight * losses.free_bits(kl, config.free_bits)) / images[0].numel()

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Both terms of the bound on held-out images, in nats per image, and the FID if it is asked for."""
        held_out = self.batches.held_out
        noise = torch.randn(len(held_out), self.config.latent_dim, generator=torch.Generator().manual_seed(0))
        reconstruction, kl = self._terms(network, held_out.images, held_out.labels, noise)
        figures = {"held_out_reconstruction": reconstruction.item(), "held_out_kl": kl.mean(0).sum().item()}
        if self.config.validate_fid:
            sampler = copy.deepcopy(network)
            assert isinstance(sampler, FashionVAE)
            self._fit_prior(sampler, N_PRIOR_IMAGES)
            figures["fid"] = sample_fid(sampler, self.config.validate_fid, (self.config.latent_dim,), sampler.generate)
        return figures

    def badness(self, figures: Mapping[str, float]) -> float:
        """FID where it is reported, else the negative evidence lower bound."""
        return figures.get("fid", figures["held_out_reconstruction"] + figures["held_out_kl"])

    def finish(self, network: nn.Module) -> None:
        """Fit each class's prior to the latents of the training images (`FashionVAE.set_prior`)."""
        assert isinstance(network, FashionVAE)
        self._fit_prior(network, len(self.batches.train))

    @torch.no_grad()
    def _fit_prior(self, network: FashionVAE, n_images: int) -> None:
        train = self.batches.train
        generator = torch.Generator().manual_seed(self.config.seed)
        latents = []
        for part in chunks(n_images, 2000):
            images, labels = to_device(network, train.images[part], train.labels[part])
            mean, log_variance = (moment.cpu() for moment in network.encode(to_unit_range(images), labels))
            latents.append(mean + torch.randn(mean.shape, generator=generator) * (log_variance / 2).exp())
        network.set_prior(torch.cat(latents), train.labels[:n_images])

    @staticmethod
    def _terms(network: nn.Module, images: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        images, labels, noise = to_device(network, images, labels, noise)
        reconstruction, mean, log_variance = network(to_unit_range(images), labels, noise)
        brightness = images.float() / 255
        nll = losses.gaussian_nll_optimal_variance(reconstruction.float().sigmoid(), brightness)
        return nll, losses.gaussian_kl(mean.float(), log_variance.float())
