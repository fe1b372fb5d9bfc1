"""Judging images: FID against real images, same-seed drift from dense, KID, label accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from gencomp_core.analysis.judging import estimate
from gencomp_core.data.fashion_mnist import CLASS_NAMES
from gencomp_core.evaluate import fid as fid_metric
from gencomp_core.evaluate.diversity import modes_hit, same_class_diversity
from gencomp_core.evaluate.features import classify, feature_spaces
from gencomp_core.evaluate.fidelity import feature_distance, fidelity, psnr
from gencomp_core.evaluate.intervals import centred_interval, mean_interval
from gencomp_core.evaluate.kid import kid
from gencomp_core.evaluate.latent import active_units
from gencomp_core.evaluate.precision_recall import precision_recall
from gencomp_core.records import METRICS, Estimate, Quality
from gencomp_core.workloads.base import HasEncoder, Workload

N_REAL = 5000
N_ENCODED = 1000


@dataclass(frozen=True, eq=False)
class ImageSamples:
    """Images and what they look like in feature space.

    Attributes:
        images: (n, c, h, w) uint8.
        features: (n, d) float32.
    """

    images: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def first(self, n: int) -> "ImageSamples":
        """Samples number 0 to n - 1."""
        return ImageSamples(self.images[:n], self.features[:n])

    def then(self, more: "ImageSamples") -> "ImageSamples":
        """These samples and those that follow them."""
        return ImageSamples(torch.cat([self.images, more.images]), torch.cat([self.features, more.features]))

    def tensors(self) -> dict[str, Tensor]:
        """Plain form, for a cache."""
        return {"images": self.images.contiguous(), "features": self.features.contiguous()}


class ImageJudge:
    """FID in one feature space.

    Args:
        extractor: registered name of the feature space.

    Raises:
        UnknownNameError: no such feature space.
    """

    batch = 125

    def __init__(self, workload: Workload, extractor: str) -> None:
        self.workload = workload
        self.space = feature_spaces[extractor]
        self.title = self.space.title

    def observe(self, outputs: Sequence[Tensor], start: int) -> ImageSamples:
        """Take the features of generated batches."""
        images = torch.cat(list(outputs))
        return ImageSamples(images, self.space.extract(images))

    def restore(self, tensors: Mapping[str, Tensor]) -> ImageSamples:
        """Samples from their plain form."""
        return ImageSamples(tensors["images"], tensors["features"])

    def quality(
        self, samples: ImageSamples, dense: ImageSamples, *, n_resamples: int | None = None
    ) -> tuple[Quality, Quality, Estimate]:
        """FID of both, and their difference from the same resamples."""
        n, real = len(samples), self.space.reference()
        values, replicates, qualities = [], [], []
        for own in (samples, dense):
            values.append(fid_metric.fid(own.features, real))
            drawn = n_resamples or self.space.n_resamples
            replicates.append(fid_metric.fid_replicates(own.features, real, n_resamples=drawn))
            interval = centred_interval(values[-1], replicates[-1])
            qualities.append(
                Quality(
                    metric="fid",
                    name=f"FID ({self.title}, n={n})",
                    value=interval.value,
                    low=interval.low,
                    high=interval.high,
                    n_samples=n,
                    better=METRICS["fid"].better,
                    noise_floor=fid_metric.noise_floor(real, n),
                )
            )
        change = centred_interval(values[0] - values[1], replicates[0] - replicates[1])
        return qualities[0], qualities[1], estimate(change)

    def drift(self, model: nn.Module, samples: ImageSamples, dense: ImageSamples) -> Estimate:
        """Same-seed PSNR."""
        return estimate(mean_interval(psnr(samples.images, dense.images)))

    def damage(self, model: nn.Module, samples: ImageSamples, dense: ImageSamples) -> Estimate:
        """Same-seed squared distance in feature space.

        Pairing samples by seed is one way to carry one distribution over to the other, so that the mean is an upper
        bound of the squared Wasserstein distance between them, of which FID is the Gaussian form.
        """
        return estimate(mean_interval(feature_distance(samples.features, dense.features).square()))

    def fidelity(self, model: nn.Module, samples: ImageSamples, dense: ImageSamples) -> dict[str, Estimate]:
        """Same-seed PSNR, SSIM and feature distance; KID; share of samples of the class asked for; variety."""
        pairs = fidelity(samples.images, dense.images, samples.features, dense.features)
        predicted = classify(samples.images)
        real = self.space.reference().train_features
        return {
            **{name: estimate(interval) for name, interval in pairs.items()},
            "kid": estimate(kid(samples.features, real)),
            **self._obedience(predicted),
            **self._variety(samples, predicted, real),
            **self._latents(model),
        }

    def agreement(self, samples: ImageSamples, other: ImageSamples) -> dict[str, Estimate]:
        """Same-seed PSNR, and the largest difference of any pixel in levels of 255."""
        pairs = (samples.images.short() - other.images.short()).abs().flatten(1).amax(1)
        largest = float(pairs.max())
        return {
            "psnr_db": estimate(mean_interval(psnr(samples.images, other.images))),
            "max_difference": Estimate(value=largest, low=float(pairs.min()), high=largest),
        }

    def _obedience(self, predicted: Tensor) -> dict[str, Estimate]:
        """Share of samples of the class asked for, of a model that is asked for one."""
        n_classes = len(self.workload.class_names)
        if n_classes < 2:
            return {}
        hits = predicted == torch.arange(len(predicted)) % n_classes
        return {"label_accuracy": estimate(mean_interval(hits.float()))}

    def _variety(self, samples: ImageSamples, predicted: Tensor, real: Tensor) -> dict[str, Estimate]:
        """Realism and variety: what FID mixes into one number."""
        n_classes = len(CLASS_NAMES)
        found = asdict(precision_recall(samples.features, real[:N_REAL]))
        real_labels = torch.arange(len(real)) % n_classes  # the shipped images come with their classes in turn
        n_modes = modes_hit(predicted, n_classes)
        diversity = same_class_diversity(samples.features, predicted, real[:N_REAL], real_labels[:N_REAL])
        return {
            **{name: Estimate(**interval) for name, interval in found.items()},
            "modes_hit": Estimate(value=n_modes, low=n_modes, high=n_modes),
            "same_class_diversity": estimate(diversity),
        }

    def _latents(self, model: nn.Module) -> dict[str, Estimate]:
        """Latent dimensions in use, for a model with an encoder."""
        if not isinstance(self.workload, HasEncoder):
            return {}
        n_active = len(active_units(self.workload.posterior_means(model, N_ENCODED)))
        return {"active_units": Estimate(value=n_active, low=n_active, high=n_active)}
