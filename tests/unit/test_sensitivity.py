"""Sensitivity scans: options as recipes make them, reuse that changes nothing, every workload, clear refusals."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gencomp_core.analysis.sensitivity import tables
from gencomp_core.analysis.sensitivity.options import options_for, recipe_of
from gencomp_core.analysis.sensitivity.outputs import observed_batches
from gencomp_core.analysis.sensitivity.prefix import PrefixRunner
from gencomp_core.analysis.sensitivity.proxy import OutputProxy
from gencomp_core.analysis.sensitivity.scan import scan_request, scan_sensitivity, scan_steps
from gencomp_core.analysis.sensitivity.subjects import channel_families, untouchable_parts
from gencomp_core.analysis.sensitivity.weights import weight_under
from gencomp_core.artifact.packing import pack
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.errors import EvaluationError
from gencomp_core.records import METRICS, Estimate, LayerOption, LayerScore
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import CalibrationBatch
from tests.tiny import Bare, Made, TinyDiffusion, TinyGAN, TinyVAE, TinyVerses, noise, on_noise, randomise_, same_bits

TINY = [TinyDiffusion, TinyGAN, TinyVAE, TinyVerses]
LEVELS = {"sparsity": (0.3, 0.8), "bits": (8, 2)}
OPTIONS = [
    LayerOption(sparsity=0.3),
    LayerOption(sparsity=0.95),
    LayerOption(bits=8),
    LayerOption(bits=3, group_size=4),
    LayerOption(bits=4, symmetric=False, clipping="mse"),
    LayerOption(bits=1),
    LayerOption(bits=2, clipping="ternary"),
    LayerOption(sparsity=0.6, bits=4),
    LayerOption(sparsity=0.9, bits=8, group_size=4, symmetric=False),
]


class AsImage(Made):
    """A plugin in the least that a scan needs."""

    modality = "image"
    metric = "fid"
    weights_hash = "0" * 16


def image(network: nn.Module, *inputs: Tensor) -> AsImage:
    return AsImage(randomise_(network, 0), *inputs)


def whole(scores: list[LayerScore]) -> dict[tuple[str, LayerOption], LayerScore]:
    return {(score.layer, score.option): score for score in scores if score.position is None}


# What an option is


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.title())
@pytest.mark.parametrize("direction", ["only-this", "all-but-this"])
def test_an_option_does_what_its_recipe_does_and_costs_what_is_packed(option: LayerOption, direction: str) -> None:
    bare = Bare()
    chosen = "transposed"
    variant = compress(bare, recipe_of(option, [chosen], direction=direction))
    costs = {own.name: own.n_bytes for own in pack(variant.model, variant.quantized).tensors}
    for name, layer in weight_layers(bare.model).items():
        changed = weight_of(weight_layers(variant.model)[name])
        if (name == chosen) != (direction == "only-this"):
            assert same_bits(changed, weight_of(layer))
            continue
        made = weight_under(layer, option)
        assert torch.equal(made.weight, changed)
        assert made.n_bytes == costs[f"{name}.weight"]


def test_joint_options_come_with_their_single_effects() -> None:
    options = options_for(["joint"], levels={"sparsity": (0.5,), "bits": (4, 3)}, group_sizes=(None, 8))
    assert {own.axis for own in options} == {"sparsity", "bits", "joint"}
    assert len(options) == 1 + 4 + 4
    for own in options:
        if own.axis == "joint":
            assert LayerOption(sparsity=own.sparsity) in options
            assert own.model_copy(update={"sparsity": 0.0}) in options


@pytest.mark.parametrize(
    ("axes", "levels", "message"),
    [
        (["sparse"], {}, "--axis must be one of sparsity, bits, pruning_ratio, joint, got 'sparse'. Did you mean"),
        (["sparsity"], {"sparsity": (50,)}, "must lie between 0 and 1, got 50. It is a fraction: write 0.5"),
        (["bits"], {"bits": (0,)}, "must be whole numbers from 1 to 8, got 0"),
        (["bits"], {"bits": (3.5,)}, "must be whole numbers from 1 to 8, got 3.5"),
    ],
)
def test_what_is_no_level_is_refused(axes: list[str], levels: dict[str, tuple[float]], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        options_for(axes, levels=levels)


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(EvaluationError, match="--method must be one of fisher, proxy, metric, got 'fischer'. Did you"):
        scan_request(TinyGAN(), method="fischer")
    with pytest.raises(EvaluationError, match="--samples must be at least 1, got 0"):
        scan_request(TinyGAN(), n_samples=0)


# Reuse


@pytest.mark.parametrize("make", TINY)
def test_a_run_from_the_changed_layer_on_gives_the_very_bits_of_a_whole_run(make: type[Workload]) -> None:
    workload = make()
    batches = observed_batches(workload, 3, seed=0)[:2]
    fast, plain = (PrefixRunner(workload.model, batches, read=lambda y: y, reuse=on) for on in (True, False))
    for name, layer in weight_layers(workload.model).items():
        changed = {name: weight_of(layer) * 0.9}
        for one, other in zip(fast.outputs(changed), plain.outputs(changed), strict=True):
            assert same_bits(one, other), name
    for one, other in zip(fast.outputs({}), plain.dense, strict=True):
        assert same_bits(one, other)


class InPlace(nn.Module):
    """Writes to what a layer gave, and uses one weight outside of its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.tied = nn.Linear(5, 5)
        self.act = nn.ReLU(inplace=True)
        self.last = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        early = nn.functional.linear(x, self.tied.weight)
        h = self.first(x)
        h += early
        h = self.act(h)
        return self.last(self.tied(h).mul_(2))

    def tied_layers(self) -> tuple[str, ...]:
        return ("tied",)


def test_writing_in_place_and_weights_used_elsewhere_do_not_fool_the_record() -> None:
    workload = image(InPlace(), noise(4, 5))
    batches = observed_batches(workload, 4, seed=0)
    fast, plain = (PrefixRunner(workload.model, batches, read=lambda y: y, reuse=on) for on in (True, False))
    for name, layer in weight_layers(workload.model).items():
        changed = {name: weight_of(layer) * 0.5}
        for _ in range(2):
            assert torch.equal(fast.outputs(changed)[0], plain.outputs(changed)[0]), name


def test_reuse_really_skips_what_lies_before() -> None:
    workload = image(nn.Sequential(*(nn.Linear(4, 4) for _ in range(5))), noise(2, 4))
    runner = PrefixRunner(workload.model, observed_batches(workload, 2, seed=0), read=lambda y: y)
    calls: list[int] = []
    original = nn.functional.linear
    try:
        nn.functional.linear = lambda *a: calls.append(1) or original(*a)
        runner.outputs({"3": weight_of(runner.layers["3"])})
    finally:
        nn.functional.linear = original
    assert len(calls) == 2


def test_a_small_budget_costs_time_and_changes_nothing() -> None:
    workload = TinyGAN()
    batches = observed_batches(workload, 3, seed=0)
    frugal = PrefixRunner(workload.model, batches, read=lambda y: y, budget_bytes=1000)
    plain = PrefixRunner(workload.model, batches, read=lambda y: y, reuse=False)
    name = list(plain.layers)[-1]
    changed = {name: weight_of(plain.layers[name]) * 0.5}
    assert same_bits(frugal.outputs(changed)[0], plain.outputs(changed)[0])


# Scans of every workload


@pytest.mark.parametrize("make", TINY)
@pytest.mark.parametrize("method", ["fisher", "proxy"])
def test_every_layer_gets_a_score_for_every_option(make: type[Workload], method: str) -> None:
    workload = make()
    before = {name: value.clone() for name, value in workload.model.state_dict().items()}
    scores = list(scan_sensitivity(workload, method=method, levels=LEVELS, n_samples=2))
    found = whole(scores)
    assert {key[0] for key in found} == set(weight_layers(workload.model))
    assert len(found) == 4 * len(weight_layers(workload.model))
    for score in scores:
        assert math.isfinite(score.damage.value)
        assert score.damage.low <= score.damage.value <= score.damage.high
        assert 0 < score.size_bytes <= score.dense_size_bytes * 1.1
    for layer in weight_layers(workload.model):
        assert found[layer, LayerOption(bits=8)].damage.value <= found[layer, LayerOption(bits=2)].damage.value
    assert all(torch.equal(value, before[name]) for name, value in workload.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in workload.model.parameters())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (TinyDiffusion, ["t=1.000", "t=0.938"]),
        (TinyGAN, ["|z| small", "|z| usual", "|z| large"]),
        (TinyVAE, ["posterior", "|z| small", "|z| usual", "|z| large"]),
        (TinyVerses, ["pieces 1 to 4", "pieces 5 to 12", "pieces 13 to 28", "pieces 29 on"]),
    ],
)
def test_damage_is_told_by_position_of_the_generation(make: type[Workload], expected: list[str]) -> None:
    scores = list(scan_sensitivity(make(), levels={"bits": (3,)}, axes=("bits",), n_samples=6))
    found = list(dict.fromkeys(score.position for score in scores))
    assert found[0] is None
    assert found[1 : 1 + len(expected)] == expected


def test_the_whole_is_the_mean_of_equal_positions() -> None:
    scores = list(scan_sensitivity(TinyDiffusion(), levels={"bits": (3,)}, axes=("bits",), n_samples=2))
    for layer in {score.layer for score in scores}:
        own = [score.damage.value for score in scores if score.layer == layer]
        assert len(own) == 17
        assert min(own[1:]) <= own[0] <= max(own[1:])


@pytest.mark.parametrize("make", [TinyGAN, TinyVerses])
def test_one_pass_ranks_as_running_each_does(make: type[Workload]) -> None:
    levels = {"bits": (8, 4, 2)}
    kept = {"axes": ("bits",), "levels": levels, "n_samples": 4}
    scans = [list(scan_sensitivity(make(), method=method, **kept)) for method in ("fisher", "proxy")]
    correlation = tables.rank_correlation(*scans)
    assert correlation is not None
    assert correlation.methods == ("fisher", "proxy")
    assert correlation.spearman > 0.9
    assert correlation.trustworthy


def test_scans_are_the_same_every_time_and_whatever_else_is_asked() -> None:
    first, again = (list(scan_sensitivity(TinyVAE(), levels=LEVELS, n_samples=4)) for _ in range(2))
    assert first == again
    fewer = whole(list(scan_sensitivity(TinyVAE(), axes=("bits",), levels={"bits": (2,)}, n_samples=4)))
    for key, score in fewer.items():
        assert score.damage.value == pytest.approx(whole(first)[key].damage.value, rel=1e-4)
    other = list(scan_sensitivity(TinyVAE(), levels=LEVELS, n_samples=4, seed=1))
    assert [s.damage for s in other] != [s.damage for s in first]


def test_tied_layers_have_one_score_that_counts_both_uses() -> None:
    workload = TinyVerses()
    scores = whole(list(scan_sensitivity(workload, method="proxy", axes=("bits",), levels={"bits": (2,)}, n_samples=2)))
    assert [layer for layer, _ in scores if "embedding" in layer] == ["embedding"]


def test_all_but_this_leaves_the_layer_alone() -> None:
    workload = TinyGAN()
    scores = whole(
        list(
            scan_sensitivity(
                workload, method="proxy", direction="all-but-this", axes=("bits",), levels={"bits": (2,)}, n_samples=4
            )
        )
    )
    option = LayerOption(bits=2)
    name = next(iter(weight_layers(workload.model)))
    others = {n: weight_under(own, option).weight for n, own in weight_layers(workload.model).items() if n != name}
    proxy = OutputProxy(workload, n_samples=4, seed=0, n_steps=4)
    assert scores[name, option].damage == proxy.of_weights(others)[None]


def test_all_but_this_by_one_pass_is_the_sum_of_the_others() -> None:
    kept = {"axes": ("bits",), "levels": {"bits": (3,)}, "n_samples": 4}
    only, but = (whole(list(scan_sensitivity(TinyGAN(), direction=d, **kept))) for d in ("only-this", "all-but-this"))
    total = sum(score.damage.value for score in only.values())
    for key, score in but.items():
        assert score.damage.value == pytest.approx(total - only[key].damage.value, rel=1e-4)


def test_what_is_known_is_not_asked_again() -> None:
    workload, options = TinyGAN(), options_for(["bits"], levels={"bits": (8, 2)})
    request = scan_request(workload, n_samples=2)
    layers = list(weight_layers(workload.model))
    known = {(layer, options[0]) for layer in layers} | {(layers[0], options[1])}
    steps = list(scan_steps(workload, request, options, known=known))
    asked = {(step.layer, step.option) for step in steps if isinstance(step, LayerScore)}
    assert asked == {(layer, options[1]) for layer in layers[1:]}
    everything = {(layer, option) for layer in layers for option in options}
    assert list(scan_steps(workload, request, options, known=everything)) == []


# Channels


@pytest.mark.parametrize(("make", "method"), [(TinyVAE, "fisher"), (TinyVerses, "fisher"), (TinyGAN, "proxy")])
def test_channels_that_shrink_together_have_one_score(make: type[Workload], method: str) -> None:
    workload = make()
    found, fixed = channel_families(workload)
    kept = {"axes": ("pruning_ratio",), "levels": {"pruning_ratio": (0.5,)}, "n_samples": 2}
    scores = whole(list(scan_sensitivity(workload, method=method, **kept)))
    assert {layer for layer, _ in scores} == {own.name for own in found}
    for score in scores.values():
        assert score.damage.value >= 0
        assert score.size_bytes < score.dense_size_bytes
    assert not {own.name for own in found} & set(fixed)


def test_a_ratio_that_removes_nothing_has_no_score() -> None:
    workload = on_noise(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), 4)
    plugin = AsImage(workload.model, workload.x)
    levels = {"pruning_ratio": (0.01, 0.5)}
    scores = list(scan_sensitivity(plugin, axes=("pruning_ratio",), levels=levels, n_samples=2))
    assert {score.option.pruning_ratio for score in scores} == {0.5}


# Plugins, and what can't be done


class LossOnly(AsImage):
    """A plugin that knows its loss but no forward passes."""

    forward_batches = property()  # type: ignore[assignment]


class SamplesOnly(Bare):
    """A plugin that can only be sampled."""

    modality = "image"
    metric = "fid"
    weights_hash = "0" * 16
    options = ()

    @torch.inference_mode()
    def generate(self, model: nn.Module, start: int, stop: int, *, seed: int, settings: object) -> Tensor:
        x = noise(stop - start, 7, seed=seed)
        return (model(x) * 40 + 128).clamp(0, 255).to(torch.uint8)


def test_a_plugin_is_scanned() -> None:
    workload = load_workload("plugin:tests.tiny:TinyGAN")
    assert list(scan_sensitivity(workload, axes=("bits",), levels={"bits": (4,)}, n_samples=2))


def test_a_plugin_that_only_knows_its_loss_is_asked_for_its_gradients() -> None:
    workload = LossOnly(randomise_(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), 0), noise(4, 4))
    scores = list(scan_sensitivity(workload, levels=LEVELS, n_samples=4))
    assert all(score.damage.value > 0 for score in scores)


def test_a_plugin_that_can_only_be_sampled_is_scanned_by_its_samples() -> None:
    workload = SamplesOnly(randomise_(nn.Sequential(nn.Linear(7, 5)), 0))
    scores = list(scan_sensitivity(workload, method="proxy", levels=LEVELS, n_samples=8))
    assert [score.position for score in scores] == [None] * 4
    with pytest.raises(EvaluationError, match="--method fisher needs gradients.*or use --method proxy") as raised:
        list(scan_sensitivity(workload, levels=LEVELS, n_samples=8))
    assert "\n" not in str(raised.value)


def test_an_output_that_is_no_tensor_is_refused_in_one_line() -> None:
    class Pairs(AsImage):
        def forward_batches(self, n: int, *, seed: int) -> list[CalibrationBatch]:
            return [CalibrationBatch("pair", {}, lambda model: (model(self.x), None))]  # type: ignore[arg-type,return-value]

    workload = Pairs(randomise_(nn.Sequential(nn.Linear(4, 4)), 0), noise(2, 4))
    with pytest.raises(EvaluationError, match="needs a tensor from each calibration batch, got tuple"):
        list(scan_sensitivity(workload, method="proxy"))


def test_what_no_option_can_touch_is_named_with_the_reason() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    network.append(nn.MultiheadAttention(4, 2))
    reasons = untouchable_parts(AsImage(network, noise(2, 4)))
    assert "computed from others" in reasons["1"]
    assert "belongs to a MultiheadAttention" in reasons["2.in_proj_weight"]
    assert "0" not in reasons


def test_weights_too_large_for_a_scale_are_unsafe_and_the_scan_goes_on() -> None:
    network = randomise_(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), 0)
    network[0].weight.data[0, 0] = 1e9
    for method in ("fisher", "proxy"):
        scores = list(
            scan_sensitivity(AsImage(network, noise(3, 4)), method=method, levels={"bits": (8,)}, axes=("bits",))
        )
        assert [math.isfinite(score.damage.value) for score in scores] == [False, True]
        unsafe = tables.unsafe_layers(scores, allowed=1.0)
        assert "8 bits can't be applied, or makes outputs that are not finite" in unsafe["0"]


# Tables


def made_score(damage: float, layer: str = "one", method: str = "fisher", **option: object) -> LayerScore:
    return LayerScore(
        layer=layer,
        option=LayerOption(**option),
        method=method,
        damage=Estimate(value=damage, low=damage, high=damage),
        size_bytes=10,
        dense_size_bytes=40,
    )


def test_the_interaction_is_what_both_do_beyond_their_sum() -> None:
    scores = [
        made_score(1.0, sparsity=0.5),
        made_score(2.0, bits=4),
        made_score(5.0, sparsity=0.5, bits=4),
        made_score(7.0, sparsity=0.7, bits=4),
    ]
    table = tables.score_table(scores)
    assert table["interaction"].tolist()[2] == 2.0
    assert table["interaction"].isna().tolist() == [True, True, False, True]


def test_the_fit_of_a_layer_grows_with_what_is_done_to_it() -> None:
    scores = [made_score(d, bits=b) for b, d in ((8, 0.2), (4, 0.1), (3, 1.0), (2, 0.8))]
    scores += [made_score(math.inf, bits=1), made_score(0.5, layer="two", bits=8)]
    fitted = tables.score_table(scores)["fitted"].tolist()
    assert fitted == pytest.approx([0.15, 0.15, 0.9, 0.9, math.inf, 0.5])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=9))
def test_a_monotone_fit_is_monotone_keeps_the_mean_and_leaves_monotone_values_alone(damages: list[float]) -> None:
    fitted = tables.monotone(damages)
    assert all(a <= b + 1e-9 for a, b in pairwise(fitted))
    assert fitted.mean() == pytest.approx(sum(damages) / len(damages), abs=1e-9)
    assert tables.monotone(sorted(damages)).tolist() == pytest.approx(sorted(damages))


def test_layers_that_the_mildest_option_harms_are_unsafe() -> None:
    scores = [made_score(0.5, bits=8), made_score(9.0, bits=2), made_score(0.001, layer="two", bits=8)]
    scores += [made_score(9.0, layer="two", bits=2), made_score(9.0, layer="three", pruning_ratio=0.5)]
    assert set(tables.unsafe_layers(scores, allowed=0.01)) == {"one"}
    allowed = tables.allowance("metric", METRICS["fid"], are_texts=False, dense_quality=4.0)
    assert allowed == pytest.approx(0.4)


def test_methods_that_disagree_are_warned_of() -> None:
    first = [made_score(float(n), layer=f"{n}", bits=4) for n in range(6)]
    second = [made_score(float(-n if n else 9), layer=f"{n}", method="metric", bits=4) for n in range(6)]
    correlation = tables.rank_correlation(first, second)
    assert correlation is not None
    assert not correlation.trustworthy
    (line,) = tables.warnings_for([correlation])
    assert "fisher and metric agree in rank by -1.00 only (Spearman, 6 options" in line
    assert tables.rank_correlation(first[:3], second[:3]) is None
    assert tables.rank_correlation(first, [made_score(1.0, layer=f"{n}", bits=4) for n in range(6)]) is None


def test_matrices_keep_layers_and_levels_in_their_order() -> None:
    scores = [made_score(n + b / 10, layer=name, bits=b) for n, name in enumerate("zab") for b in (8, 4, 2)]
    matrix = tables.level_matrix(tables.score_table(scores), axis="bits", value="damage")
    assert matrix.index.tolist() == ["z", "a", "b"]
    assert matrix.columns.tolist() == ["8 bits", "4 bits", "2 bits"]
    ranked = tables.ranked_layers(tables.score_table(scores), option="4 bits", n=2)
    assert ranked["layer"].tolist() == ["b", "a"]


@pytest.mark.parametrize("make", TINY)
def test_positions_share_out_the_rows_of_an_output_and_none_twice(make: type[Workload]) -> None:
    workload = make()
    for batch in observed_batches(workload, 6, seed=0)[:3]:
        rows = list(batch.positions.values())
        n = len(batch.run(workload.model))
        if rows != [None]:
            assert torch.cat([own for own in rows if own is not None]).sort().values.tolist() == list(range(n))
