"""Image generators of diffusers: unconditional diffusion in pixel space (DDPM, DDIM pipelines) as workloads."""

import types
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal

import diffusers
import torch
from torch import Tensor, nn

from gencomp_core.errors import UnknownNameError
from gencomp_core.runtime_env import device
from gencomp_core.workloads.base import Preview, SamplingOption, Settings, device_of, numbered_noise, to_pixels
from gencomp_core.workloads.calibration import CalibrationBatch
from gencomp_core.workloads.huggingface import Source, loading, state_hash

TOGETHER = 16
MOST_STEPS = 1000


def load_images(source: Source) -> "DiffusersImages":
    """The workload of one pipeline.

    Raises:
        UnknownNameError: a pipeline that is conditioned on something, or that draws in a latent space.
    """
    diffusers.utils.logging.disable_progress_bar()
    config = diffusers.DiffusionPipeline.load_config(source.model)
    parts = {name: kind[1] for name, kind in config.items() if isinstance(kind, list) and kind[0] is not None}
    if set(parts) != {"unet", "scheduler"} or parts["unet"] != "UNet2DModel":
        raise UnknownNameError(
            f"{source.model} must be a pipeline of a UNet2DModel and a scheduler, got {config.get('_class_name')} of "
            f"{', '.join(sorted(parts))}. Write a plugin workload for it (gencomp_core/workloads/base.py)."
        )
    return DiffusersImages(source)


class Denoiser(nn.Module):
    """A U-Net of diffusers as a function of tensors: noisy images (n, c, h, w) and time steps (n,) -> (n, c, h, w)."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """What the U-Net predicts: noise, images or velocity."""
        predicted: Tensor = self.unet(x, t, return_dict=False)[0]
        return predicted


class DiffusersImages:
    """Pixel diffusion by a U-Net, sampled with DDIM (arXiv:2010.02502), which draws no noise on the way."""

    modality: Literal["image"] = "image"
    metric = "fid"
    class_names: tuple[str, ...] = ("all",)
    licences = types.MappingProxyType({"weights": "see the model's card", "data": "see the model's card"})
    preview = Preview(n_samples=4, n_samples_full=16)
    options = (SamplingOption("steps", 20, "denoising steps of DDIM", low=1, high=MOST_STEPS),)

    def __init__(self, source: Source) -> None:
        self.name, self.source = source.name, source
        self.title = f"UNet2D of {source.model.rstrip('/').rpartition('/')[2]}"
        self.summary = "Hugging Face pixel diffusion, sampled with DDIM"
        self.network_config: dict[str, Any] = dict(diffusers.UNet2DModel.load_config(source.model, subfolder="unet"))

    @cached_property
    def model(self) -> nn.Module:
        """Dense U-Net in eval mode, float32; shared, never changed by anyone."""
        with loading(self.source, "diffusers"):
            loaded = diffusers.UNet2DModel.from_pretrained(
                self.source.model, subfolder="unet", use_safetensors=True, torch_dtype=torch.float32
            )
        return Denoiser(loaded).eval().requires_grad_(False).to(device())

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the dense weights."""
        return state_hash(self.model)

    def empty_network(self) -> nn.Module:
        """Network of the dense shape with untrained weights."""
        return Denoiser(diffusers.UNet2DModel.from_config(self.network_config)).eval().requires_grad_(False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        size = self.network_config["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return int(self.network_config["in_channels"]), int(height), int(width)

    @torch.inference_mode()
    def generate(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: Settings) -> Tensor:
        """Images number `start` to `stop - 1` at a seed: (n, c, h, w) uint8."""
        scheduler = diffusers.DDIMScheduler.from_pretrained(self.source.model, subfolder="scheduler")
        scheduler.set_timesteps(int(settings["steps"]))
        x = numbered_noise(self.shape, start, stop, seed=seed).to(device_of(model))
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t.to(x.device).expand(len(x))), t, x, eta=0.0).prev_sample
        return to_pixels((x + 1) / 2)

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """The U-Net on images of the dense model's own, with as much noise as at every step of sampling in turn."""
        for noisy, times, _ in self._noised(n, seed=seed):

            def run(model: nn.Module, noisy: Tensor = noisy, times: Tensor = times) -> Tensor:
                where = device_of(model)
                predicted: Tensor = model(noisy.to(where), times.to(where))
                return predicted

            yield CalibrationBatch("denoise", {"all": len(noisy)}, run)

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        """Squared error of what the U-Net predicts (arXiv:2006.11239), on images of the dense model's own."""
        for noisy, times, wanted in self._noised(n, seed=seed):

            def run(model: nn.Module, noisy: Tensor = noisy, times: Tensor = times, wanted: Tensor = wanted) -> Tensor:
                where = device_of(model)
                predicted = model(noisy.to(where), times.to(where))
                loss: Tensor = (predicted - wanted.to(where)).square().mean()
                return loss

            yield CalibrationBatch("denoise", {"all": len(noisy)}, run)

    def _noised(self, n: int, *, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Noisy images, their time steps and what should be predicted of them, `TOGETHER` at a time."""
        scheduler = diffusers.DDPMScheduler.from_pretrained(self.source.model, subfolder="scheduler")
        n_times = int(scheduler.config.num_train_timesteps)
        generator = torch.Generator().manual_seed(seed)
        settings = {option.name: option.default for option in self.options}
        for first in range(0, n, TOGETHER):
            stop = min(first + TOGETHER, n)
            pixels = self.generate(self.model, first, stop, seed=seed, settings=settings)
            x = pixels.float() / 127.5 - 1
            noise = torch.randn(x.shape, generator=generator)
            times = (torch.arange(first, stop) * 2 + 1) * n_times // (2 * n)  # balanced over all of them
            noisy = scheduler.add_noise(x, noise, times)
            yield noisy, times, self._wanted(scheduler, x, noise, times)

    @staticmethod
    def _wanted(scheduler: Any, x: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        kind = scheduler.config.prediction_type
        if kind == "v_prediction":
            velocity: Tensor = scheduler.get_velocity(x, noise, times)
            return velocity
        return x if kind == "sample" else noise
