"""Narrower networks: what is left of layers, what it costs, and which way leads there."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.analysis.planning.anchors import EndToEnd
from gencomp_core.analysis.planning.narrowing import Widths, group_damage, levels_of
from gencomp_core.analysis.planning.options import removal_of
from gencomp_core.analysis.planning.trials import speed_basis, width_groups
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.evaluate.cost import count_layer_macs
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records.speed import WidthGroup, WidthTrial
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Workload, complete_settings
from tests.made_scores import finished
from tests.tiny import TinyDiffusion, TinyGAN, TinyVAE, TinyVerses, recipe

WORKLOADS = {cls.name: cls for cls in (TinyDiffusion, TinyGAN, TinyVAE, TinyVerses)}


def group(name: str, *errors: float, n_steps: int = 8, **sides: dict[str, float]) -> WidthGroup:
    trials = tuple(WidthTrial(n_removed=n, error=error) for n, error in zip((2, 4), errors, strict=False))
    return WidthGroup(
        name=name, makers=(name,), n_steps=n_steps, outputs=sides.get("outputs", {name: 1.0}),
        inputs=sides.get("inputs", {}), trials=trials,
    )  # fmt: skip


@pytest.mark.parametrize("name", WORKLOADS)
def test_what_is_left_of_layers_is_what_the_stage_leaves(name: str) -> None:
    workload: Workload = WORKLOADS[name]()
    groups = width_groups(workload)
    assert groups
    removed = {own.name: max(1, own.n_steps // 2) for own in groups[::2]}
    told = Widths(tuple(groups)).narrowing(removed)
    variant = compress(workload, Recipe(stages=(removal_of(groups, removed),)))
    dense, left = weight_layers(workload.model), weight_layers(variant.model)
    for layer in dense:
        assert weight_of(left[layer]).numel() == pytest.approx(weight_of(dense[layer]).numel() * told.part(layer))
    settings = complete_settings(workload)
    before, after = (count_layer_macs(workload, model, settings) for model in (workload.model, variant.model))
    for layer, macs in before.items():
        assert after[layer] == pytest.approx(macs * told.part(layer))


def test_groups_that_stay_whole_are_not_sliced() -> None:
    workload = TinyVAE()
    groups = width_groups(workload)
    chosen = groups[-1]
    variant = compress(workload, Recipe(stages=(removal_of(groups, {chosen.name: 1}),)))
    for layer, own in weight_layers(workload.model).items():
        if layer not in chosen.outputs and layer not in chosen.inputs:
            assert torch.equal(weight_of(own), weight_of(weight_layers(variant.model)[layer]))


@given(mild=st.floats(1e-9, 1.0), harsh=st.floats(1e-9, 10.0), n=st.integers(1, 7))
def test_more_channels_gone_never_damage_less(mild: float, harsh: float, n: int) -> None:
    own = group("a", mild, harsh)
    assert 0 < group_damage(own, n) <= group_damage(own, n + 1) * (1 + 1e-9)
    assert group_damage(own, 2) == pytest.approx(mild)
    assert group_damage(own, 4) == pytest.approx(max(mild, harsh))


@given(st.integers(2, 1000))
def test_one_share_goes_and_one_stays(n_steps: int) -> None:
    assert all(1 <= level < n_steps for level in levels_of(n_steps))


def test_the_way_starts_dense_gets_narrower_and_takes_what_does_least_damage_first() -> None:
    cheap, dear = group("cheap", 1e-4, 1e-3), group("dear", 1e-1, 1.0)
    untried = group("untried")
    path = Widths((dear, cheap, untried)).path({"cheap": 1.0, "dear": 1.0, "untried": 1.0})
    assert not path[0].removed
    assert set(path[1].removed) == {"cheap"}
    parts = [own.part("cheap") + own.part("dear") for own in path]
    damages = [own.damage for own in path]
    assert parts == sorted(parts, reverse=True)
    assert damages == sorted(damages)
    assert path[-1].removed == {"cheap": 6, "dear": 6}


def test_a_layer_between_two_groups_shrinks_by_both() -> None:
    first, second = group("a", 0.1, 0.2, inputs={"b": 0.5}), group("b", 0.1, 0.2)
    assert Widths((first, second)).narrowing({"a": 4, "b": 4}).kept["b"] == (0.75, 0.5)


def test_every_group_and_every_input_is_tried_alone() -> None:
    workload = TinyVAE()
    found = finished(speed_basis(workload))
    group = next(own for own in found.groups if own.outputs.keys() & found.uses.keys())
    first = group.trials[0]
    names = {layer for own in found.groups for layer in own.makers}
    alone = {layer: {"pruning_ratio": first.n_removed / group.n_steps} for layer in group.makers}
    stage = {
        "kind": "channel-pruning", "pruning_ratio": 0.0, "importance": "taylor", "calibration_samples": 16,
        "layers": {layer: {"pruning_ratio": 0.0} for layer in names} | alone,
    }  # fmt: skip
    assert first.error == pytest.approx(EndToEnd(workload, 16, seed=0)(compress(workload, recipe(stage)).model))
    assert all(own.trials for own in found.groups)
    assert all(
        trial.error > 0 for own in found.groups for trial in own.trials if own.outputs.keys() & found.uses.keys()
    )
    assert found.input_errors
    assert all(0 <= error < 1 for error in found.input_errors.values())
    assert found.input_bytes > 0
