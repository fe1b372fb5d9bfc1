"""FID against closed forms, torchmetrics fed with images, and real images made worse on purpose."""

import math
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.transforms.functional import gaussian_blur

from gencomp_core.data.fashion_mnist import LabelledImages, balanced_indices, load_split
from gencomp_core.errors import CheckpointError, EvaluationError, UnknownNameError
from gencomp_core.evaluate.features import Reference, classify, fashion_extractor, feature_spaces, reference
from gencomp_core.evaluate.fid import fid, fid_interval, fid_replicates, frechet_distance, noise_floor
from gencomp_core.evaluate.intervals import resamples

SPACE = feature_spaces["fashion"]


@pytest.fixture(scope="module")
def real() -> LabelledImages:
    """500 real images, 50 of each class."""
    subset = load_split("subset")
    index = balanced_indices(subset.labels, per_class=50)
    return LabelledImages(subset.images[index], subset.labels[index])


def reference_of(mean: Tensor, covariance: Tensor, n: int = 1000) -> Reference:
    none = torch.zeros(0, len(mean))
    return Reference(mean.double(), covariance.double(), n, none, none)


def samples_with(mean: Tensor, covariance: Tensor, n: int = 200) -> Tensor:
    """Samples whose own mean and covariance are exactly these: (n, d) float64."""
    noise = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    centred = noise - noise.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(centred.T.cov()), centred.T, upper=False).T
    return white @ torch.linalg.cholesky(covariance.double()).T + mean.double()


def random_covariance(d: int, seed: int) -> Tensor:
    factor = torch.randn(d, 2 * d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return factor @ factor.T / (2 * d)


# --- closed forms


def test_gaussians_with_diagonal_covariance() -> None:
    mean, real_mean = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([1.0, 1.0, 2.0])
    variance, real_variance = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([1.0, 1.0, 16.0])
    expected = (1 + 0 + 16) + (0 + 1 + 1)  # |m - r|² + Σ (σ - ρ)²
    found = fid(samples_with(mean, variance.diag()), reference_of(real_mean, real_variance.diag()))
    assert found == pytest.approx(expected, rel=1e-6)


def test_gaussians_with_full_covariance_of_the_same_axes() -> None:
    axes = torch.linalg.qr(random_covariance(5, seed=0)).Q
    deviations, real_deviations = torch.tensor([[1.0, 2, 3, 4, 5], [2.0, 2, 1, 4, 0.5]]).double()
    covariance, real_covariance = (axes * each.square() @ axes.T for each in (deviations, real_deviations))
    expected = float((deviations - real_deviations).square().sum()) + 5
    found = fid(samples_with(torch.ones(5), covariance), reference_of(torch.zeros(5), real_covariance))
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_gaussians_of_two_dimensions_with_other_axes(seed: int) -> None:
    covariance, real_covariance = random_covariance(2, seed), random_covariance(2, seed + 100)
    product = covariance @ real_covariance
    trace_of_root = math.sqrt(product.trace() + 2 * math.sqrt(torch.linalg.det(product)))  # of any 2 × 2 matrix
    expected = float(covariance.trace() + real_covariance.trace()) - 2 * trace_of_root
    found = fid(samples_with(torch.zeros(2), covariance), reference_of(torch.zeros(2), real_covariance))
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_same_gaussian_is_at_distance_zero() -> None:
    mean, covariance = torch.arange(6.0), random_covariance(6, seed=1)
    assert fid(samples_with(mean, covariance), reference_of(mean, covariance)) == pytest.approx(0, abs=1e-6)


# --- torchmetrics


def test_fid_is_that_of_torchmetrics_fed_with_images(real: LabelledImages) -> None:
    shown, fake = real.images[:250], real.images[250:].flip(3)
    metric = FrechetInceptionDistance(fashion_extractor(), normalize=False)
    metric.update(shown, real=True)
    metric.update(fake, real=False)
    exact = SPACE.extract(shown).double()
    ours = fid(SPACE.extract(fake), reference_of(exact.mean(0), exact.T.cov(), n=250))
    assert ours == pytest.approx(float(metric.compute()), rel=1e-5)


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 1000))
def test_a_batch_of_distances_is_one_by_one(d: int, n_distances: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(n_distances, d, generator=generator, dtype=torch.float64)
    covariances = torch.stack([random_covariance(d, seed + i) for i in range(n_distances)])
    real_mean, real_covariance = means.mean(0), random_covariance(d, seed + 77)
    together = frechet_distance(means, covariances, real_mean, real_covariance)
    for i in range(n_distances):
        alone = frechet_distance(means[i : i + 1], covariances[i : i + 1], real_mean, real_covariance)
        assert together[i].item() == pytest.approx(alone.item(), rel=1e-9, abs=1e-9)
        ours = fid(samples_with(means[i], covariances[i]), reference_of(real_mean, real_covariance))
        assert together[i].item() == pytest.approx(ours, rel=1e-5, abs=1e-6)


def test_replicates_are_the_fid_of_resampled_rows(real: LabelledImages) -> None:
    features = SPACE.extract(real.images)
    replicates = fid_replicates(features, reference(), n_resamples=4, seed=5)
    rows = resamples(len(features), 4, seed=5)
    expected = [fid(features[index], reference()) for index in rows]
    assert replicates.tolist() == pytest.approx(expected, rel=1e-5)


# --- intervals


def test_the_interval_contains_the_value(real: LabelledImages) -> None:
    features = SPACE.extract(real.images)
    interval = fid_interval(features, reference(), n_resamples=50)
    assert interval.value == fid(features, reference())
    assert interval.low < interval.value < interval.high
    assert interval == fid_interval(features, reference(), n_resamples=50)


def test_intervals_cover_the_expected_fid_nearly_as_often_as_they_say() -> None:
    far = reference_of(torch.full((3,), 0.5), random_covariance(3, seed=2))
    draws = torch.randn(100, 150, 3, generator=torch.Generator().manual_seed(0))
    intervals = [fid_interval(features, far, n_resamples=100) for features in draws]
    expected = sum(interval.value for interval in intervals) / 100
    covered = sum(interval.low <= expected <= interval.high for interval in intervals)
    assert 86 <= covered <= 99


def test_intervals_narrow_with_more_samples() -> None:
    far = reference_of(torch.full((3,), 0.5), torch.eye(3))
    draws = torch.randn(1600, 3, generator=torch.Generator().manual_seed(0))
    widths = [(i := fid_interval(draws[:n], far)).high - i.low for n in (100, 400, 1600)]
    assert widths[0] > 1.4 * widths[1] > 1.4 * 1.4 * widths[2]


# --- real images


def test_the_noise_floor_falls_with_the_number_of_samples() -> None:
    floors = [noise_floor(reference(), n) for n in (250, 1000, 5000)]
    assert floors[0] > 3 * floors[1] > 3 * floors[2] > 0


@pytest.mark.parametrize("what", ["blur", "noise"])
def test_fid_rises_with_the_damage(what: str, real: LabelledImages) -> None:
    noise = torch.randn(real.images.shape, generator=torch.Generator().manual_seed(0))
    found = []
    for strength in (0, 0.4, 0.7, 1.2, 2.0):
        if what == "blur" and strength:
            worse = gaussian_blur(real.images, kernel_size=9, sigma=strength)
        else:
            worse = (real.images + 20 * strength * noise).clamp(0, 255).round().to(torch.uint8)
        found.append(fid(SPACE.extract(worse), reference()))
    assert found == sorted(found)
    assert found[-1] > 10 * found[0]


def test_one_class_alone_is_far_from_all_classes(real: LabelledImages) -> None:
    features = SPACE.extract(real.images)
    bags = features[real.labels == 8]
    assert fid(bags, reference()) > 10 * fid(features[:50], reference())


def test_the_classifier_knows_the_classes(real: LabelledImages) -> None:
    assert (classify(real.images) == real.labels).float().mean() > 0.9


def test_the_reference_is_that_of_the_shipped_extractor(real: LabelledImages) -> None:
    known = reference()
    assert (known.n, known.mean.shape, known.covariance.shape) == (60_000, (64,), (64, 64))
    subset = load_split("subset")
    torch.testing.assert_close(
        SPACE.extract(subset.images[:200]), known.train_features[:200], rtol=0.01, atol=0.01
    )  # stored as float16
    assert (known.mean - known.train_features.double().mean(0)).abs().max() < 0.05


# --- what is refused


def test_one_sample_has_no_fid() -> None:
    with pytest.raises(EvaluationError, match=r"FID needs at least 2 samples, got 1\. Ask for more\."):
        fid(torch.zeros(1, 64), reference())


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_only_bytes_are_images(dtype: torch.dtype, real: LabelledImages) -> None:
    with pytest.raises(EvaluationError) as caught:
        SPACE.extract(real.images[:2].to(dtype))
    assert str(caught.value) == f"images must be uint8 in 0..255, got {dtype}. Convert them first."


def test_the_extractor_stays_in_eval_mode(real: LabelledImages) -> None:
    extractor = fashion_extractor()
    before = extractor(real.images[:8])
    extractor.train()
    assert not any(module.training for module in extractor.modules())
    assert torch.equal(extractor(real.images[:8]), before)
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_a_missing_reference_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors is missing or damaged") as caught:
        reference(tmp_path / "gone.safetensors")
    assert "\n" not in str(caught.value)


def test_a_misspelt_extractor_is_told_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'inception'"):
        feature_spaces["inceptoin"]


@pytest.mark.skipif(find_spec("torch_fidelity") is not None, reason="torch-fidelity is here")
def test_inception_without_torch_fidelity_gives_one_clear_line(real: LabelledImages) -> None:
    with pytest.raises(EvaluationError) as caught:
        feature_spaces["inception"].extract(real.images[:2])
    line = str(caught.value)
    assert line.startswith("--extractor inception needs torch-fidelity")
    assert "pip install torch-fidelity" in line
    assert "--extractor fashion" in line
    assert "\n" not in line
