"""Losses and schedules against torch.distributions, finite differences and closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from gencomp_core.errors import UnknownNameError
from gencomp_core.models.losses import (
    CURRICULUM_START,
    curriculum_mean,
    flow_matching_pair,
    free_bits,
    gaussian_kl,
    gaussian_nll_optimal_variance,
    kl_weight,
    logit_normal_times,
    min_snr_weights,
    smoothed_cross_entropy,
)
from gencomp_core.training.schedules import schedules


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- flow matching


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_the_error_of_the_predicted_image(gamma: float) -> None:
    image, noise, t = random(4, 1, 5, 5), random(4, 1, 5, 5, seed=1), torch.tensor([0.05, 0.3, 0.6, 0.95]).double()
    x, velocity = flow_matching_pair(image, noise, t)
    wrong = velocity + random(4, 1, 5, 5, seed=2)
    spread = t[:, None, None, None]
    predicted_image = x - spread * wrong
    image_errors = (predicted_image - image).square().flatten(1).mean(1)
    snr = ((1 - t) / t) ** 2
    expected = snr.clamp(max=gamma) * image_errors
    errors = (wrong - velocity).square().flatten(1).mean(1)
    torch.testing.assert_close(min_snr_weights(t, gamma) * errors, expected)


def test_min_snr_without_a_limit_is_the_error_of_the_predicted_noise() -> None:
    t = torch.tensor([0.05, 0.3, 0.6, 0.95]).double()
    torch.testing.assert_close(min_snr_weights(t, math.inf), (1 - t) ** 2)


def test_the_path_runs_from_image_to_noise() -> None:
    image, noise = random(2, 1, 28, 28), random(2, 1, 28, 28, seed=1)
    assert torch.equal(flow_matching_pair(image, noise, torch.zeros(2).double())[0], image)
    assert torch.equal(flow_matching_pair(image, noise, torch.ones(2).double())[0], noise)


def test_the_target_is_the_derivative_of_the_path() -> None:
    image, noise, t, h = random(3, 1, 4, 4), random(3, 1, 4, 4, seed=1), torch.tensor([0.1, 0.5, 0.8]).double(), 1e-6
    ahead, behind = (flow_matching_pair(image, noise, t + step)[0] for step in (h, -h))
    torch.testing.assert_close(flow_matching_pair(image, noise, t)[1], (ahead - behind) / (2 * h), rtol=0, atol=1e-8)


def test_times_are_logit_normal() -> None:
    logits = logit_normal_times(20_000, torch.Generator().manual_seed(0)).logit()
    assert logits.mean().item() == pytest.approx(0, abs=0.03)
    assert logits.std().item() == pytest.approx(1, abs=0.03)
    assert (logits < 1.645).float().mean().item() == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("mean", [0.0, -1.5, 0.75])
def test_quantiles_of_the_times_are_those_of_the_logistic_normal(mean: float) -> None:
    times = logit_normal_times(20_000, torch.Generator().manual_seed(1), mean=mean)
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    expected = (Normal(0.0, 1.0).icdf(levels) + mean).sigmoid()  # the median is sigmoid(mean)
    torch.testing.assert_close(times.quantile(levels), expected, rtol=0, atol=0.012)


def test_the_curriculum_rises_on_a_straight_line_from_low_noise_to_the_whole_path() -> None:
    means = [curriculum_mean(step, steps=200, fraction=0.5) for step in (0, 25, 50, 75, 100, 199)]
    assert means == pytest.approx([CURRICULUM_START * factor for factor in (1, 0.75, 0.5, 0.25, 0, 0)])
    assert CURRICULUM_START < 0
    assert [curriculum_mean(step, steps=200, fraction=0.0) for step in (0, 100)] == [0, 0]


# --- variational autoencoder


def test_kl_is_that_of_torch_distributions() -> None:
    mean, log_variance = random(7, 5), random(7, 5, seed=1)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)


def test_kl_of_the_prior_is_zero() -> None:
    assert gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


def test_free_bits_count_weak_dimensions_at_the_floor() -> None:
    kl = torch.tensor([[0.0, 1.0, 4.0], [0.2, 3.0, 0.0]])  # means 0.1, 2, 2
    assert free_bits(kl, 0.5).item() == pytest.approx(0.5 + 2 + 2)
    assert free_bits(kl, 0.0).item() == pytest.approx(0.1 + 2 + 2)


def test_free_bits_do_not_push_weak_dimensions_down() -> None:
    kl = torch.tensor([[0.1, 2.0], [0.1, 4.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(free_bits(kl, 0.5), kl)
    assert gradient.tolist() == [[0.0, 0.5], [0.0, 0.5]]


def test_the_kl_weight_rises_on_a_straight_line_to_beta() -> None:
    weights = [kl_weight(step, steps=100, beta=4.0, warmup=0.2) for step in (0, 4, 9, 19, 20, 99)]
    assert weights == pytest.approx([0.2, 1.0, 2.0, 4.0, 4.0, 4.0])


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_without_warm_up_the_kl_weight_is_beta_from_the_first_step(beta: float) -> None:
    assert [kl_weight(step, steps=100, beta=beta, warmup=0.0) for step in (0, 1, 99)] == [beta] * 3


def test_the_reconstruction_loss_is_the_normal_nll_at_the_best_variance() -> None:
    prediction, target = random(4, 1, 6, 6), random(4, 1, 6, 6, seed=1)
    n_pixels = 36

    def nll(variance: float) -> float:
        log_prob = Normal(prediction, math.sqrt(variance)).log_prob(target)
        return -log_prob.flatten(1).sum(1).mean().item()

    best = (prediction - target).square().mean().item()
    constant = n_pixels / 2 * (math.log(2 * math.pi) + 1)
    ours = gaussian_nll_optimal_variance(prediction, target).item()
    assert ours + constant == pytest.approx(nll(best), rel=1e-9)
    assert nll(best) < min(nll(0.9 * best), nll(1.1 * best))


def test_a_perfect_reconstruction_has_a_finite_loss() -> None:
    image = random(2, 1, 3, 3)
    assert gaussian_nll_optimal_variance(image, image).item() == pytest.approx(4.5 * math.log(1e-8))


# --- classifier


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_is_cross_entropy_against_the_mixed_target(smoothing: float) -> None:
    scores, labels = random(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    target = (1 - smoothing) * torch.eye(4).double()[labels] + smoothing / 4
    by_hand = -(target * (scores - scores.exp().sum(1, keepdim=True).log())).sum(1).mean()
    torch.testing.assert_close(smoothed_cross_entropy(scores, labels, smoothing), by_hand)


# --- schedules


@given(
    st.sampled_from(list(schedules)),
    st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(0, n))),
)
def test_factors_are_between_0_and_1(name: str, case: tuple[int, int, int]) -> None:
    step, steps, warmup = case
    assert 0 <= schedules[name](step, steps=steps, warmup=warmup) <= 1


@pytest.mark.parametrize("name", schedules)
def test_warm_up_is_a_straight_line_to_the_peak(name: str) -> None:
    factors = [schedules[name](step, steps=100, warmup=10) for step in range(10)]
    assert factors == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


@pytest.mark.parametrize("name", schedules)
def test_without_warm_up_the_peak_comes_first(name: str) -> None:
    assert schedules[name](0, steps=100, warmup=0) == 1


@pytest.mark.parametrize("name", schedules)
def test_no_schedule_rises_after_the_warm_up(name: str) -> None:
    factors = [schedules[name](step, steps=100, warmup=10) for step in range(9, 101)]
    assert factors == sorted(factors, reverse=True)


def test_constant_stays_at_the_peak() -> None:
    assert schedules["constant"](99, steps=100, warmup=10) == 1


@pytest.mark.parametrize(("step", "factor"), [(10, 1.0), (30, 0.75), (40, 0.5), (50, 0.25), (70, 0.0), (99, 0.0)])
def test_cosine_falls_by_half_a_cosine(step: int, factor: float) -> None:
    assert schedules["cosine"](step, steps=70, warmup=10) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(("step", "factor"), [(9, 1.0), (39, 0.5), (89, 1 / 3), (159, 0.25)])
def test_inverse_sqrt_falls_with_the_root_of_the_step(step: int, factor: float) -> None:
    assert schedules["inverse-sqrt"](step, steps=1000, warmup=10) == pytest.approx(factor)


def test_a_misspelt_schedule_is_told_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No schedule named 'cosin'\. Did you mean 'cosine'\?"):
        schedules["cosin"]
