"""PSNR and SSIM against torchmetrics' classes and closed forms."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from gencomp_core.data.fashion_mnist import load_split
from gencomp_core.evaluate.fidelity import feature_distance, fidelity, psnr, ssim, worst_pairs


@pytest.fixture(scope="module")
def images() -> Tensor:
    return load_split("subset").images[:12]


@pytest.fixture(scope="module")
def noisy(images: Tensor) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    strength = torch.linspace(2, 60, len(images))[:, None, None, None]
    return (images + strength * noise).clamp(0, 255).round().to(torch.uint8)


def test_psnr_is_that_of_torchmetrics(images: Tensor, noisy: Tensor) -> None:
    metric = PeakSignalNoiseRatio(data_range=255.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr(noisy, images), metric(noisy.float(), images.float()), rtol=1e-5, atol=1e-4)


def test_ssim_is_that_of_torchmetrics_pair_by_pair(images: Tensor, noisy: Tensor) -> None:
    metric = StructuralSimilarityIndexMeasure(data_range=1.0)
    expected = [metric(a[None] / 255, b[None] / 255).item() for a, b in zip(noisy, images, strict=True)]
    assert ssim(noisy, images).tolist() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("step", [1, 10, 255])
def test_psnr_of_a_constant_difference_is_20_log_255_by_it(step: int) -> None:
    dark = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    assert psnr(dark + step, dark).tolist() == pytest.approx([20 * math.log10(255 / step)] * 2, abs=1e-4)
    assert psnr(dark, dark + step).tolist() == psnr(dark + step, dark).tolist()


def test_identical_images_have_100_db_and_ssim_1(images: Tensor) -> None:
    assert psnr(images, images).tolist() == [100.0] * len(images)
    assert ssim(images, images).tolist() == pytest.approx([1.0] * len(images))


def test_fidelity_falls_with_noise(images: Tensor) -> None:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    levels = [(images + sigma * noise).clamp(0, 255).to(torch.uint8) for sigma in (2, 8, 32, 128)]
    for measure in (psnr, ssim):
        values = torch.stack([measure(level, images) for level in levels])
        assert (values.diff(dim=0) < 0).all()


def test_the_distance_of_features_is_euclidean() -> None:
    assert feature_distance(torch.tensor([[3.0, 4.0], [1.0, 1.0]]), torch.zeros(2, 2)).tolist() == pytest.approx(
        [5, math.sqrt(2)]
    )


def test_the_worst_pairs_come_first() -> None:
    features = torch.tensor([[1.0], [5.0], [0.0], [3.0]])
    assert worst_pairs(features, torch.zeros(4, 1), 3).tolist() == [1, 3, 0]
    assert worst_pairs(features, torch.zeros(4, 1), 99).tolist() == [1, 3, 0, 2]


def test_each_measure_is_a_mean_with_its_interval(images: Tensor, noisy: Tensor) -> None:
    features, dense_features = noisy.float().flatten(1), images.float().flatten(1)
    found = fidelity(noisy, images, features, dense_features)
    assert list(found) == ["psnr_db", "ssim", "feature_distance"]
    assert found["psnr_db"].value == pytest.approx(psnr(noisy, images).mean().item())
    assert all(interval.low < interval.value < interval.high for interval in found.values())
