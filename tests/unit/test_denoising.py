"""How samplers drift apart: what the numbers of the Gallery's scrubber mean."""

import numpy as np
import pytest
import torch

from gencomp_core.analysis.denoising import denoising_states, divergence
from gencomp_core.charts.denoising import divergence_chart
from gencomp_core.charts.texts import aligned_texts
from gencomp_core.charts.tiles import changes, tile
from gencomp_core.errors import EvaluationError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services.denoising import denoisings
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import complete_settings


def test_divergence_is_the_distance_as_a_share_of_the_dense_size() -> None:
    dense = torch.full((2, 1, 1, 2, 2), 2.0)  # norm 4
    states = dense.clone()
    states[1] += 1.0  # distance 2
    assert divergence(states, dense).tolist() == [[0.0], [0.5]]


def test_dense_does_not_drift_from_itself_and_two_bits_do_ever_more() -> None:
    dense, coarse = denoisings(
        "fashion-diffusion", [Recipe.from_text("stages: [{kind: weight-quantization, bits: 2}]")]
    )
    assert not dense.high.any()
    assert coarse.middle[0] == 0  # the same noise
    assert coarse.middle[-1] > coarse.middle[4] > coarse.middle[1] > 0
    assert (coarse.low <= coarse.middle).all()
    assert (coarse.middle <= coarse.high).all()


def test_the_last_sheet_of_the_scrubber_is_what_generate_gives() -> None:
    workload = load_workload("fashion-diffusion")
    (dense,) = denoisings("fashion-diffusion", [])
    samples = workload.generate(workload.model, 0, 16, seed=0, settings=complete_settings(workload))
    assert (dense.sheets[-1] == tile(samples.numpy())).all()


def test_a_workload_of_one_step_has_nothing_to_scrub() -> None:
    workload = load_workload("fashion-vae")
    with pytest.raises(EvaluationError, match="makes its samples in one step"):
        denoising_states(workload, workload.model, 2, seed=0, settings={})


def test_the_most_changed_image_is_found() -> None:
    dense = np.zeros((3, 1, 2, 2), np.uint8)
    images = dense.copy()
    images[2, 0, 0, 0] = 4
    assert changes(images, dense).tolist() == [0, 0, 4]


def test_the_chart_marks_the_step_and_has_a_line_and_a_band_each() -> None:
    drift = (np.zeros(3), np.arange(3.0), np.full(3, 3.0))
    figure = divergence_chart({"a": drift, "b": drift}, step=1)
    assert [trace.name for trace in figure.data if trace.name] == ["a", "b"]
    assert figure.layout.shapes[0].x0 == 1


def test_several_versions_of_a_text_are_marked_against_the_original() -> None:
    shown = aligned_texts(
        {"dense": ["a b"], "one": ["a c"], "two": ["d b"]}, changed=["one", "two"], original="dense", numbers=[0]
    )
    assert '<mark title="was: b">c</mark>' in shown
    assert '<mark title="was: a">d</mark>' in shown
