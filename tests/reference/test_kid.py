"""KID against the formula of the paper in numpy, and against torchmetrics fed with images."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import KernelInceptionDistance

from gencomp_core.data.fashion_mnist import load_split
from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.features import fashion_extractor, feature_spaces, reference
from gencomp_core.evaluate.kid import kid


def normal(n: int, d: int, *, seed: int, shift: float = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def unbiased_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """MMD²_u with the kernel (x·y / d + 1)³: Bińkowski 2018 (arXiv:1801.01401), equation 3 and section 3.1."""
    n, d = x.shape

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / d + 1) ** 3

    def off_diagonal_mean(k: np.ndarray) -> float:
        return float(k.sum() - np.trace(k)) / (n * (n - 1))

    return off_diagonal_mean(kernel(x, x)) + off_diagonal_mean(kernel(y, y)) - 2 * float(kernel(x, y).mean())


@pytest.mark.parametrize(("n", "d", "n_blocks"), [(4, 3, 2), (80, 5, 2), (500, 64, 5)])
def test_kid_is_the_mean_of_the_unbiased_mmd_of_its_blocks(n: int, d: int, n_blocks: int) -> None:
    features, real = normal(n, d, seed=0, shift=0.3), normal(n, d, seed=1)
    generator = torch.Generator().manual_seed(7)
    dealt = [x[torch.randperm(n, generator=generator)].double().split(n // n_blocks) for x in (features, real)]
    expected = np.mean([unbiased_mmd(x.numpy(), y.numpy()) for x, y in zip(*dealt, strict=True)])
    assert kid(features, real, n_blocks=n_blocks, seed=7).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all")
def test_kid_is_that_of_torchmetrics_within_its_interval() -> None:
    images = load_split("subset").images[:480]
    shown, fake = images[:240], images[240:].flip(2)
    metric = KernelInceptionDistance(fashion_extractor(), subsets=1, subset_size=240)
    metric.update(shown, real=True)
    metric.update(fake, real=False)
    extract = feature_spaces["fashion"].extract
    interval = kid(extract(fake), extract(shown))
    assert interval.low < float(metric.compute()[0]) < interval.high


def test_blocks_estimate_the_whole() -> None:
    features, real = normal(2000, 8, seed=0, shift=0.5), normal(2000, 8, seed=1)
    whole = unbiased_mmd(features.double().numpy(), real.double().numpy())
    interval = kid(features, real)
    assert interval.value == pytest.approx(whole, rel=0.1)
    assert interval.low < interval.value < interval.high


def test_the_interval_covers_the_distance_about_as_often_as_it_says() -> None:
    whole = unbiased_mmd(
        normal(4000, 4, seed=98, shift=0.3).double().numpy(), normal(4000, 4, seed=99).double().numpy()
    )
    found = [kid(normal(300, 4, seed=2 * i, shift=0.3), normal(300, 4, seed=2 * i + 1)) for i in range(60)]
    covered = sum(interval.low <= whole <= interval.high for interval in found)
    assert covered >= 50


def test_the_same_distribution_is_near_zero_on_both_sides() -> None:
    found = [kid(normal(200, 8, seed=2 * i), normal(200, 8, seed=2 * i + 1)).value for i in range(20)]
    assert min(found) < 0 < max(found)
    assert abs(sum(found) / 20) < 0.1 * kid(normal(200, 8, seed=0, shift=0.3), normal(200, 8, seed=1)).value


def test_kid_rises_with_the_distance() -> None:
    real = normal(300, 8, seed=1)
    found = [kid(normal(300, 8, seed=0, shift=shift), real).value for shift in (0, 0.2, 0.5, 1)]
    assert found == sorted(found)


def test_real_images_are_at_distance_zero_of_real_images() -> None:
    real = reference()
    good = kid(real.test_features[:1000], real.train_features)
    bad = kid(real.test_features[:1000] * 1.5, real.train_features)
    assert abs(good.value) < 0.02 * bad.value


def test_one_sample_has_no_kid() -> None:
    with pytest.raises(EvaluationError, match="at least 20 samples on both sides for 10 blocks, got 1 and 10"):
        kid(normal(1, 4, seed=0), normal(10, 4, seed=1))
