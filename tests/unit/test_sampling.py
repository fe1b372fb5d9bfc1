import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gencomp_core.analysis.images import ImageJudge, ImageSamples
from gencomp_core.analysis.samples import Drawer
from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.features import feature_spaces
from gencomp_core.models.diffusion import Solver, guided_velocity, trajectory
from gencomp_core.records import Progress
from gencomp_core.workloads.base import (
    SamplingOption,
    Workload,
    check_workload,
    complete_settings,
    cycling_labels,
    numbered_noise,
    to_pixels,
)
from tests.tiny import Bare, TinyDiffusion, TinyVAE

WORKLOADS = [TinyDiffusion(), TinyVAE()]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)
def test_the_tiny_workloads_are_workloads(workload: Workload) -> None:
    assert isinstance(workload, Workload)
    assert check_workload(workload) == []
    assert all(bool((p != 0).all()) for p in workload.model.parameters())


def test_what_a_workload_lacks_is_named() -> None:
    assert "it has no 'generate'" in check_workload(Bare())


# --- noise

ranges = st.tuples(st.integers(0, 200), st.integers(1, 150)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(ranges, st.integers(0, 1000))
def test_numbered_noise_is_the_same_in_every_range(span: tuple[int, int], seed: int) -> None:
    start, stop = span
    noise = numbered_noise((3,), start, stop, seed=seed)
    assert noise.shape == (stop - start, 3)
    assert torch.equal(noise, numbered_noise((3,), 0, 384, seed=seed)[start:stop])


@given(ranges, st.integers(1, 50), st.integers(0, 1000))
def test_numbered_noise_is_the_same_in_every_batch(span: tuple[int, int], batch: int, seed: int) -> None:
    start, stop = span
    parts = [numbered_noise((2,), i, min(i + batch, stop), seed=seed) for i in range(start, stop, batch)]
    assert torch.equal(torch.cat(parts), numbered_noise((2,), start, stop, seed=seed))


def test_noise_of_other_numbers_or_seeds_is_other_noise() -> None:
    rows = torch.cat([numbered_noise((4,), 0, 256, seed=seed) for seed in range(3)])
    assert len(rows.unique(dim=0)) == 3 * 256


def test_numbered_noise_is_standard_normal() -> None:
    noise = numbered_noise((100,), 0, 1000, seed=0)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)
def test_sample_i_is_the_same_in_every_batch(workload: Workload) -> None:
    settings = complete_settings(workload, {"steps": 2} if workload.name == "tiny-diffusion" else {})
    together = workload.generate(workload.model, 0, 6, seed=3, settings=settings)
    alone = [workload.generate(workload.model, i, i + 1, seed=3, settings=settings) for i in range(6)]
    assert together.shape == (6, 1, 28, 28)
    assert together.dtype == torch.uint8
    # Other batch sizes sum in another order; a grey level may round the other way.
    assert (together.int() - torch.cat(alone).int()).abs().max() <= 1
    assert (together[0] != together[1]).any()


def test_labels_cycle_by_number() -> None:
    assert cycling_labels(8, 13, 10).tolist() == [8, 9, 0, 1, 2]


def test_brightness_is_clamped_and_rounded() -> None:
    pixels = to_pixels(torch.tensor([-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 7.0]))
    assert pixels.tolist() == [0, 0, 0, 1, 255, 255]


# --- settings


def test_settings_are_completed_with_defaults() -> None:
    assert complete_settings(TinyDiffusion()) == {"steps": 16, "solver": "euler", "guidance": 1.0}
    assert complete_settings(TinyDiffusion(), {"steps": 4})["steps"] == 4
    assert list(complete_settings(TinyDiffusion(), {"guidance": 2, "steps": 4})) == ["steps", "solver", "guidance"]


def test_a_number_comes_in_the_type_of_its_option() -> None:
    settings = complete_settings(TinyDiffusion(), {"steps": 4.0, "guidance": 2})
    assert (repr(settings["steps"]), repr(settings["guidance"])) == ("4", "2.0")


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        (
            {"stepz": 4},
            "tiny-diffusion has no sampling option 'stepz'. Did you mean 'steps'? Available: steps, solver, guidance.",
        ),
        (
            {"temperature": 1},
            "tiny-diffusion has no sampling option 'temperature'. Available: steps, solver, guidance.",
        ),
        ({"steps": 0}, "steps must be in [1, 100], got 0. Choose inside."),
        ({"steps": 101}, "steps must be in [1, 100], got 101. Choose inside."),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5. Correct the value."),
        ({"steps": "4"}, "steps must be a whole number, got '4'. Correct the value."),
        ({"steps": True}, "steps must be a whole number, got True. Correct the value."),
        ({"guidance": math.nan}, "guidance must be a number, got nan. Correct the value."),
        ({"guidance": math.inf}, "guidance must be a number, got inf. Correct the value."),
        ({"solver": "hean"}, "solver must be one of euler, heun, got 'hean'. Did you mean 'heun'?"),
    ],
)
def test_wrong_settings_give_one_clear_line(chosen: dict, line: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        complete_settings(TinyDiffusion(), chosen)
    assert str(caught.value) == line


@pytest.mark.parametrize("steps", [math.nan, math.inf])
def test_steps_that_are_no_number_give_one_clear_line(steps: float) -> None:
    with pytest.raises(EvaluationError, match="steps must be a whole number"):
        complete_settings(TinyDiffusion(), {"steps": steps})


def test_a_range_may_be_open_at_one_side() -> None:
    option = SamplingOption("steps", 16, "sampler steps", low=1)
    assert option.check(10**6) == 10**6
    with pytest.raises(EvaluationError, match="steps must be"):
        option.check(0)


# --- integrators: dx/dt from t = 1 to t = 0


def final(velocity, noise: Tensor, *, steps: int, solver: Solver = "euler") -> Tensor:
    *_, last = trajectory(velocity, noise, torch.zeros(len(noise), dtype=torch.long), steps=steps, solver=solver)
    return last


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 3, 16])
def test_a_constant_velocity_is_integrated_exactly(solver: Solver, steps: int) -> None:
    noise, image = torch.randn(2, 4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    end = final(lambda x, t, labels: noise - image, noise, steps=steps, solver=solver)
    torch.testing.assert_close(end, image, rtol=0, atol=2e-6)


def test_heun_is_exact_where_the_velocity_is_linear_in_time_and_the_step_is_not_the_last() -> None:
    states = list(trajectory(lambda x, t, _: t[:, None], torch.zeros(1, 1), torch.zeros(1), steps=4, solver="heun"))
    assert states[3].item() == pytest.approx((0.25**2 - 1) / 2, abs=1e-6)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_error_falls_with_the_order_of_the_solver(solver: Solver, order: int) -> None:
    start = torch.ones(1, 1, dtype=torch.float64)
    errors = [
        abs(final(lambda x, t, _: -2 * x, start, steps=steps, solver=solver).item() - math.exp(2))
        for steps in (32, 64, 128)
    ]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.12)
    assert errors[1] / errors[2] == pytest.approx(2**order, rel=0.12)


@pytest.mark.parametrize(("solver", "n_calls"), [("euler", 8), ("heun", 15)])
def test_heun_calls_the_network_twice_in_all_steps_but_the_last(solver: Solver, n_calls: int) -> None:
    times = []

    def velocity(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        times.append(t.tolist())
        return x

    states = list(trajectory(velocity, torch.ones(2, 1), torch.zeros(2), steps=8, solver=solver))
    assert len(states) == 9
    assert len(times) == n_calls
    assert times[0] == [1.0, 1.0]
    assert all(first == second for first, second in times)
    assert min(times)[0] == 1 / 8


def test_the_trajectory_starts_with_the_noise() -> None:
    noise = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert next(trajectory(lambda x, t, labels: x, noise, torch.zeros(1), steps=2)) is noise


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 3.0])
def test_guidance_extrapolates_from_no_class_to_the_class(guidance: float) -> None:
    workload = TinyDiffusion()
    x, t, labels = numbered_noise((1, 28, 28), 0, 3, seed=0), torch.full((3,), 0.4), torch.tensor([0, 5, 9])
    with torch.inference_mode():
        guided = guided_velocity(workload.model, guidance=guidance, n_classes=10)(x, t, labels)
        with_class, without = workload.model(x, t, labels), workload.model(x, t, torch.full_like(labels, 10))
    expected = without + guidance * (with_class - without)
    torch.testing.assert_close(guided, expected, rtol=1e-4, atol=1e-5)
    assert (with_class - without).abs().max() > 0.01


# --- drawing and the cache of the dense model


def drawer(seed: int = 0) -> Drawer[ImageSamples]:
    workload = TinyVAE()
    return Drawer(workload, seed, complete_settings(workload), ImageJudge(workload, "fashion"))


def finish(steps) -> tuple[list[Progress], ImageSamples]:
    """Run a generator to its end: what it yielded, and what it returned."""
    yielded = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as end:
            return yielded, end.value


def test_drawing_reports_progress_and_gives_numbered_samples() -> None:
    workload = TinyVAE()
    progress, samples = finish(drawer().draw(workload.model, 130, what="sampling"))
    assert progress == [Progress("sampling", 0, 130), Progress("sampling", 125, 130)]
    assert samples.images.shape == (130, 1, 28, 28)
    assert torch.equal(samples.features, feature_spaces["fashion"].extract(samples.images))


def test_dense_samples_are_drawn_once_and_extended(home: Path) -> None:
    _, few = finish(drawer().dense(10))
    progress, more = finish(drawer().dense(30))
    assert progress == [Progress("sampling dense", 10, 30)]
    assert torch.equal(more.images[:10], few.images)
    progress, fewer = finish(drawer().dense(20))
    assert progress == []
    assert torch.equal(fewer.images, more.images[:20])
    assert len(list(home.rglob("*.safetensors"))) == 1
    assert not list(home.rglob("*.partial"))


def test_another_seed_has_a_cache_of_its_own(home: Path) -> None:
    first, second = finish(drawer(0).dense(5))[1], finish(drawer(1).dense(5))[1]
    assert (first.images != second.images).any()
    assert len(list(home.rglob("*.safetensors"))) == 2


def test_a_damaged_cache_is_made_again(home: Path) -> None:
    before = finish(drawer().dense(5))[1]
    (path,) = home.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    progress, after = finish(drawer().dense(5))
    assert len(progress) == 1
    assert torch.equal(after.images, before.images)
