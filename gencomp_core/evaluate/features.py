"""Feature space that images are compared in, and what real images look like there."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gencomp_core.data.assets import check_asset
from gencomp_core.data.fashion_mnist import load_split
from gencomp_core.errors import CheckpointError, EvaluationError
from gencomp_core.models.classifier import FEATURE_DIM, FashionClassifier
from gencomp_core.registry import Registry
from gencomp_core.runtime_env import ASSETS
from gencomp_core.workloads.checkpoints import checkpoint_path, fill, read_checkpoint

REFERENCE_PATH = ASSETS / "reference" / "fashion_features.safetensors"
BATCH = 500
FASHION_SHAPE = (1, 28, 28)


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images in feature space.

    Attributes:
        mean: (d,) float64, of all 60,000 training images.
        covariance: (d, d) float64, likewise, unbiased.
        n: how many images that was.
        train_features: (10000, d) float32, of the shipped class-balanced subset of them.
        test_features: (10000, d) float32, of the test images: real images that neither the
            statistics nor any training has seen.
    """

    mean: Tensor
    covariance: Tensor
    n: int
    train_features: Tensor
    test_features: Tensor


class FashionFeatures(nn.Module):
    """The classifier's 64 features as an extractor for torchmetrics: NCHW uint8 -> (n, 64) float32."""

    num_features = FEATURE_DIM

    def __init__(self, classifier: FashionClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Features of uint8 images.

        Raises:
            EvaluationError: other types; floats in 0..255 or 0..1 would give a wrong distance silently.
        """
        if images.dtype != torch.uint8:
            raise EvaluationError(f"images must be uint8 in 0..255, got {images.dtype}. Convert them first.")
        return self.classifier.features(images)

    def train(self, mode: bool = True) -> "FashionFeatures":
        """Stay in eval mode whatever a parent module does: batch norm must not move."""
        return super().train(False)


@cache
def fashion_extractor() -> FashionFeatures:
    """The shipped extractor; shared and frozen."""
    path = checkpoint_path("fashion-classifier")
    classifier = FashionClassifier().to(memory_format=torch.channels_last)
    fill(classifier, read_checkpoint(path)[0], path)
    return FashionFeatures(classifier).eval().requires_grad_(False)


@torch.inference_mode()
def classify(images: Tensor) -> Tensor:
    """Most likely class of NCHW uint8 images: (n,) int64."""
    classifier = fashion_extractor().classifier
    return torch.cat([classifier(batch).argmax(1) for batch in torch.split(images, BATCH)])


@cache
def reference(path: Path = REFERENCE_PATH) -> Reference:
    """Statistics and features of the real images.

    Raises:
        CheckpointError: missing or damaged file.
    """
    check_asset(path)
    try:
        tensors = load_file(path)
        return Reference(
            mean=tensors["mean"],
            covariance=tensors["covariance"],
            n=int(tensors["n"]),
            train_features=tensors["train_features"].float(),
            test_features=tensors["test_features"].float(),
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}). Restore it from the repository.") from None


class FeatureSpace(Protocol):
    """Where images are compared.

    Attributes:
        title: printed with every number, so that it can't be taken for another space.
        n_resamples: bootstrap resamples that this dimension affords.
    """

    title: str
    n_resamples: int

    def extract(self, images: Tensor) -> Tensor:
        """Features of NCHW uint8 images: (n, d) float32."""

    def reference(self) -> Reference:
        """The real images in this space."""


feature_spaces: Registry[FeatureSpace] = Registry("extractor")


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


class _FashionSpace:
    """Features of the shipped classifier."""

    title = f"Fashion classifier features, {FEATURE_DIM}-d"
    n_resamples = 200

    @torch.inference_mode()
    def extract(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != FASHION_SHAPE:
            raise EvaluationError(
                f"--extractor fashion knows images of {_by(FASHION_SHAPE)}, got {_by(images.shape[1:])}. "
                "Use --extractor inception, or a model that draws such images."
            )
        extractor = fashion_extractor()
        return torch.cat([extractor(batch) for batch in torch.split(images, BATCH)])

    def reference(self) -> Reference:
        return reference()


feature_spaces.add("fashion")(_FashionSpace())


class _InceptionSpace:
    """Pool features of Inception-v3, the space of published figures; needs a download."""

    title = "Inception-v3 features, 2048-d"
    n_resamples = 20

    @cached_property
    def _network(self) -> nn.Module:
        try:
            from torchmetrics.image.fid import NoTrainInceptionV3

            return NoTrainInceptionV3(name="inception-v3-compat", features_list=["2048"])
        except (ImportError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise EvaluationError(
                "--extractor inception needs torch-fidelity and its Inception weights, which can't be had here "
                f"({reason}). Run 'pip install torch-fidelity' with internet access, or use --extractor fashion."
            ) from None

    @torch.inference_mode()
    def extract(self, images: Tensor) -> Tensor:
        coloured = images if images.shape[1] == 3 else images.expand(-1, 3, -1, -1)
        return torch.cat([self._network(batch) for batch in torch.split(coloured, 100)])

    @cached_property
    def _reference(self) -> Reference:
        train = self.extract(load_split("subset").images)
        test = self.extract(load_split("test").images)
        exact = train.double()
        return Reference(exact.mean(0), exact.T.cov(), len(exact), train, test)

    def reference(self) -> Reference:
        return self._reference


feature_spaces.add("inception")(_InceptionSpace())
