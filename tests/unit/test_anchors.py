"""Scores scaled to what comes out at the end of the generation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gencomp_core.analysis.planning.anchors import anchor_options, anchors_of
from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.records import Estimate, LayerOption, LayerScore
from gencomp_core.records.anchors import Anchor
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Preview
from tests.made_scores import finished, scores_by_squared_error
from tests.tiny import Made, TinyVerses, noise, randomise_, recipe

ZEROED = [LayerOption(sparsity=level) for level in (0.2, 0.5, 0.8)]
ROUNDED = [LayerOption(bits=bits) for bits in (8, 6, 4, 3, 2)]
BOTH = [LayerOption(sparsity=0.5, bits=4)]


def scores(damages: dict[LayerOption, float], layer: str = "a") -> list[LayerScore]:
    return [
        LayerScore(
            layer=layer, option=option, method="fisher", size_bytes=1, dense_size_bytes=4,
            damage=Estimate(value=damage, low=damage, high=damage),
        )
        for option, damage in damages.items()
    ]  # fmt: skip


def anchor(option: LayerOption, error: float) -> Anchor:
    return Anchor(layer="a", option=option, error=error)


def test_an_anchored_option_costs_what_was_found() -> None:
    known = Damages.of(
        scores({LayerOption(bits=4): 0.01, LayerOption(bits=2): 0.2, LayerOption(sparsity=0.5): 0.1}),
        [anchor(LayerOption(bits=4), 0.05), anchor(LayerOption(bits=2), 6.0), anchor(LayerOption(sparsity=0.5), 0.02)],
    )
    assert known.of_layer("a", LayerOption(bits=4)) == pytest.approx(0.05)
    assert known.of_layer("a", LayerOption(bits=2)) == pytest.approx(6.0)
    assert known.of_layer("a", LayerOption(sparsity=0.5)) == pytest.approx(0.02)


def test_between_anchors_the_factor_is_straight_in_the_logarithm_and_flat_beyond() -> None:
    damages = {LayerOption(bits=bits): 4.0**-bits for bits in (8, 6, 4, 3, 2)}
    known = Damages.of(
        scores(damages), [anchor(LayerOption(bits=6), 4.0**-6), anchor(LayerOption(bits=2), 16 * 4.0**-2)]
    )
    factors = [known.layers["a"].scored[option] / damage for option, damage in damages.items()]
    assert factors == pytest.approx([1, 1, 4, 8, 16])


def test_where_both_are_done_each_has_a_factor_of_its_own() -> None:
    damages = {LayerOption(sparsity=0.5): 1.0, LayerOption(bits=4): 2.0, LayerOption(sparsity=0.5, bits=4): 3.0}
    known = Damages.of(scores(damages), [anchor(LayerOption(sparsity=0.5), 10.0), anchor(LayerOption(bits=4), 6.0)])
    assert known.of_layer("a", LayerOption(sparsity=0.5, bits=4)) == pytest.approx(1.0 * 10 + 2.0 * 3)


def test_where_both_were_tried_together_that_is_what_they_cost() -> None:
    both = LayerOption(sparsity=0.5, bits=4)
    damages = {LayerOption(sparsity=0.5): 1.0, LayerOption(bits=4): 2.0, both: 3.0}
    alone = [anchor(LayerOption(sparsity=0.5), 10.0), anchor(LayerOption(bits=4), 6.0)]
    known = Damages.of(scores(damages), [*alone, anchor(both, 20.0)])
    assert known.of_layer("a", both) == pytest.approx(20.0)
    assert known.of_layer("a", LayerOption(bits=4)) == pytest.approx(6.0)


@given(errors=st.lists(st.floats(0, 1e3), min_size=2, max_size=2))
def test_anchored_damages_stay_monotone(errors: list[float]) -> None:
    tried = [
        anchor(option, error) for option, error in zip((LayerOption(bits=6), LayerOption(bits=3)), errors, strict=True)
    ]
    known = Damages.of(scores({option: 4.0 ** -(option.bits or 0) for option in ROUNDED}), tried).layers["a"]
    found = [known.scored[option] for option in ROUNDED]
    assert found == sorted(found)


class Amplifier(Made):
    """Samples that differ by ten times what a layer changes; its scores say nothing of that."""

    modality = "image"
    options = ()
    preview = Preview(n_samples=2)
    weights_hash = "0" * 16

    def __init__(self) -> None:
        network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
        super().__init__(randomise_(network, 3), noise(16, 8))

    def generate(self, model: nn.Module, start: int, stop: int, **_: object) -> Tensor:
        found: Tensor = model(self.x[start:stop])
        return found


def test_errors_are_those_of_the_finished_samples() -> None:
    workload = Amplifier()
    damages = Damages.of(scores_by_squared_error(workload, [*ZEROED, *ROUNDED, *BOTH]))
    found = finished(anchors_of(workload, damages, n_samples=16))
    tried = anchor_options(damages)
    assert [own.axis for own in tried] == ["sparsity"] * 2 + ["bits"] * 2 + ["joint"]
    assert {(own.layer, own.option) for own in found} == {(layer, option) for layer in ("0", "1") for option in tried}
    first = next(own for own in found if own.layer == "1" and own.option == tried[3])
    stage = {"kind": "weight-quantization", "bits": first.option.bits, "layers": {"0": {"skip": True}}}
    dense, rounded = workload.model(workload.x), compress(workload, recipe(stage)).model(workload.x)
    assert first.error == pytest.approx(
        float((rounded - dense).square().mean() / dense.var(correction=0) / 2), rel=1e-4
    )


def test_texts_are_judged_by_their_distance_from_dense() -> None:
    workload = TinyVerses()
    damages = Damages.of(scores_by_squared_error(workload, [LayerOption(bits=8), LayerOption(bits=2)]))
    found = finished(anchors_of(workload, damages, n_samples=2))
    by_layer: dict[str, dict[int | None, float]] = {}
    for own in found:
        by_layer.setdefault(own.layer, {})[own.option.bits] = own.error
    assert all(errors[8] < errors[2] for errors in by_layer.values() if len(errors) == 2)
    assert all(own.error >= -1e-9 for own in found)
