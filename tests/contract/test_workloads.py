"""What every workload promises. A new bundled workload is tested here as soon as the catalog lists it."""

import math
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gencomp_core.analysis.judging import judge_for
from gencomp_core.analysis.latents import interpolation_strips
from gencomp_core.analysis.measurement import make_request
from gencomp_core.compression.layers import weight_layers
from gencomp_core.errors import EvaluationError, GenCompError, UnknownNameError
from gencomp_core.evaluate.cost import count_macs, inspect_layers
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stages import STAGES
from gencomp_core.records import FIDELITIES, FIGURES, METRICS
from gencomp_core.registry import Registry
from gencomp_core.variant import compress
from gencomp_core.workloads import CATALOG, load_workload
from gencomp_core.workloads.base import (
    HasEncoder,
    HasLatents,
    Outputs,
    SamplingOption,
    Settings,
    TextWorkload,
    Workload,
    check_workload,
    complete_settings,
    describe,
    makes_texts,
)
from gencomp_core.workloads.catalog import PLUGIN_PREFIX, card_of
from tests.tiny import same_bits

TINY = [f"plugin:tests.tiny:{name}" for name in ("TinyDiffusion", "TinyGAN", "TinyVAE", "TinyVerses")]
NAMES = [*CATALOG, *TINY]
ROUNDING = 2  # brightness levels of 255 that another batch size may add


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def workload(name: str) -> Workload:
    return load_workload(name)


@pytest.fixture
def cheap(workload: Workload) -> Settings:
    """Settings that sample fast; what is promised holds for all of them."""
    few = {"steps": 2} if "steps" in {option.name for option in workload.options} else {}
    return complete_settings(workload, few)


def samples(workload: Workload, settings: Settings, start: int, stop: int, *, seed: int = 0) -> Outputs:
    outputs: Outputs = workload.generate(workload.model, start, stop, seed=seed, settings=settings)
    return outputs


def differ(some: Outputs, others: Outputs) -> int:
    """Largest difference in brightness of images, or number of texts that differ."""
    if isinstance(some, Tensor) and isinstance(others, Tensor):
        return int((some.short() - others.short()).abs().max())
    return sum(one != other for one, other in zip(some, others, strict=True))


def test_it_has_every_member_of_the_protocol(workload: Workload) -> None:
    assert check_workload(workload) == []
    assert isinstance(workload, Workload)
    assert all(isinstance(text, str) and text for text in (workload.name, workload.title, workload.summary))
    assert workload.modality in ("image", "text")
    assert workload.metric in METRICS
    if makes_texts(workload):
        assert isinstance(workload, TextWorkload)
    else:
        assert len(workload.class_names) > 1
    assert describe(workload)["n_params"] == sum(p.numel() for p in workload.model.parameters())


def test_its_card_says_what_it_says_itself(name: str, workload: Workload) -> None:
    card = card_of(name)
    assert card.name == name
    facts = (workload.title, workload.modality, workload.metric, workload.summary)
    assert (card.title, card.modality, card.metric, card.summary) == facts


@pytest.mark.parametrize("name", [*CATALOG])
def test_a_bundled_workload_is_named_as_in_the_catalog(name: str) -> None:
    assert load_workload(name).name == name


def test_the_dense_model_is_frozen_and_in_eval_mode(workload: Workload) -> None:
    assert not workload.model.training
    assert not any(parameter.requires_grad for parameter in workload.model.parameters())
    assert workload.model is workload.model


def test_generating_changes_neither_the_model_nor_the_global_random_stream(workload: Workload, cheap: Settings) -> None:
    before = {key: value.clone() for key, value in workload.model.state_dict().items()}
    stream = torch.get_rng_state()
    samples(workload, cheap, 0, 3)
    assert torch.equal(stream, torch.get_rng_state())
    assert all(same_bits(value, before[key]) for key, value in workload.model.state_dict().items())
    assert not workload.model.training


def test_samples_are_bytes_of_one_shape_or_texts(workload: Workload, cheap: Settings) -> None:
    images = samples(workload, cheap, 0, 5)
    if isinstance(images, list):
        assert len(images) == 5
        assert len(samples(workload, cheap, 63, 66)) == 3
        assert all(isinstance(text, str) for text in images)
        return
    assert images.dtype == torch.uint8
    assert images.shape == (5, 1, 28, 28)
    assert samples(workload, cheap, 63, 66).shape == (3, 1, 28, 28)
    assert images.float().std() > 0


def test_a_sample_is_the_same_whatever_it_is_asked_with(workload: Workload, cheap: Settings) -> None:
    together = samples(workload, cheap, 0, 70)
    for start, stop in ((0, 1), (5, 9), (62, 67), (64, 70)):
        apart = samples(workload, cheap, start, stop)
        assert differ(together[start:stop], apart) <= (0 if makes_texts(workload) else ROUNDING), (start, stop)


def test_the_same_request_gives_the_same_bytes(workload: Workload, cheap: Settings) -> None:
    first = samples(workload, cheap, 2, 6)
    torch.manual_seed(1234)
    assert differ(first, samples(workload, cheap, 2, 6)) == 0


def test_every_sample_and_every_seed_is_another_one(workload: Workload, cheap: Settings) -> None:
    images = samples(workload, cheap, 0, 4)
    if isinstance(images, list):
        if "tiny" not in workload.name:  # an unlearned model says the same to everything
            assert len(set(images)) == 4
        assert images == samples(workload, cheap, 0, 4, seed=1), "decoding draws no random numbers"
        return
    assert len({image.numpy().tobytes() for image in images}) == 4
    other = samples(workload, cheap, 0, 4, seed=1)
    assert not any(torch.equal(one, another) for one, another in zip(images, other, strict=True))


def test_default_settings_are_complete_and_valid(workload: Workload) -> None:
    settings = complete_settings(workload)
    assert settings == {option.name: option.default for option in workload.options}
    assert complete_settings(workload, settings) == settings
    assert all(option.help for option in workload.options)


def test_preview_settings_are_valid_and_not_dearer(workload: Workload) -> None:
    preview = workload.preview
    assert 0 < preview.n_samples <= preview.n_samples_full
    settings = complete_settings(workload, preview.settings)
    assert preview.settings.items() <= settings.items()


def test_a_misspelt_option_is_refused_with_the_right_one(workload: Workload) -> None:
    for option in workload.options:
        misspelt = option.name[:-1] + "x"
        with pytest.raises(EvaluationError, match=f"no sampling option {misspelt!r}. Did you mean {option.name!r}"):
            complete_settings(workload, {misspelt: option.default})


def numbers(workload: Workload) -> list[SamplingOption]:
    return [option for option in workload.options if not option.choices]


def test_a_value_out_of_range_is_refused_with_the_range(workload: Workload) -> None:
    for option in numbers(workload):
        for bound, beyond in ((option.low, -1), (option.high, 1)):
            if bound is None:
                continue
            value = type(option.default)(bound + beyond)
            with pytest.raises(EvaluationError, match=rf"{option.name} must be in \[.*\], got {value}"):
                complete_settings(workload, {option.name: value})
            complete_settings(workload, {option.name: type(option.default)(bound)})


def test_a_value_of_the_wrong_type_is_refused(workload: Workload) -> None:
    for option in numbers(workload):
        wrong = ["text", True, "1", float("nan"), *([1.5] if isinstance(option.default, int) else [])]
        for value in wrong:
            with pytest.raises(EvaluationError, match=f"{option.name} must be"):
                complete_settings(workload, {option.name: value})


def test_an_infinite_value_is_refused(workload: Workload) -> None:
    for option in numbers(workload):
        with pytest.raises(EvaluationError, match=f"{option.name} must be"):
            complete_settings(workload, {option.name: float("inf")})


def test_a_word_that_is_no_choice_is_refused_with_the_choices(workload: Workload) -> None:
    for option in workload.options:
        for choice in option.choices:
            misspelt = choice + "x"
            with pytest.raises(EvaluationError, match=f"must be one of .*{choice}.*Did you mean {choice!r}"):
                complete_settings(workload, {option.name: misspelt})
            complete_settings(workload, {option.name: choice})


def test_an_empty_network_has_the_dense_shape_and_is_a_new_one(workload: Workload) -> None:
    empty = workload.empty_network()
    shapes = {key: (value.shape, value.dtype) for key, value in workload.model.state_dict().items()}
    assert {key: (value.shape, value.dtype) for key, value in empty.state_dict().items()} == shapes
    assert empty is not workload.model
    assert empty is not workload.empty_network()
    assert not empty.training


def test_the_hash_of_the_weights_is_stable(name: str, workload: Workload) -> None:
    load_workload.cache_clear()
    again = load_workload(name)
    assert again is not workload
    assert again.weights_hash == workload.weights_hash
    assert len(workload.weights_hash) == 16
    assert int(workload.weights_hash, 16) >= 0


def test_every_weight_layer_is_listed_with_its_cost(workload: Workload) -> None:
    facts = inspect_layers(workload)
    assert [fact.name for fact in facts] == list(weight_layers(workload.model))
    assert all(fact.macs >= 0 and fact.n_params > 0 and fact.shape for fact in facts)
    assert sum(fact.macs for fact in facts) > 0
    assert all(set(fact.can) <= set(STAGES) and fact.can for fact in facts)


def test_the_empty_recipe_is_dense_and_samples_like_it(workload: Workload, cheap: Settings) -> None:
    variant = compress(workload, Recipe())
    assert variant.quantized == {}
    assert all(same_bits(value, workload.model.state_dict()[key]) for key, value in variant.model.state_dict().items())
    outputs = workload.generate(variant.model, 0, 4, seed=0, settings=cheap)
    assert differ(outputs, samples(workload, cheap, 0, 4)) == 0


def test_its_metric_can_judge_its_samples(workload: Workload, cheap: Settings) -> None:
    judge = judge_for(workload, "fashion")
    seen = judge.observe([samples(workload, cheap, 0, 20)], 0)
    quality, dense, change = judge.quality(seen, seen, n_resamples=5)
    assert quality == dense
    assert change.value == 0
    assert (quality.metric, quality.n_samples) == (workload.metric, 20)
    assert math.isfinite(quality.value)
    assert quality.low <= quality.value <= quality.high
    facts = FIDELITIES[METRICS[workload.metric].drift]
    assert judge.drift(workload.model, seen, seen).value == pytest.approx(facts.equal)


def test_every_figure_has_a_name_that_people_can_read(workload: Workload, cheap: Settings) -> None:
    judge = judge_for(workload, "fashion")
    seen = judge.observe([samples(workload, cheap, 0, 60)], 0)
    found = judge.fidelity(workload.model, seen, seen)
    assert set(found) <= set(FIGURES)
    assert METRICS[workload.metric].drift in found
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in found.values())
    assert ("active_units" in found) == isinstance(workload, HasEncoder)


def test_paths_go_from_sample_to_sample(workload: Workload, cheap: Settings) -> None:
    if not isinstance(workload, HasLatents):
        with pytest.raises(EvaluationError, match="has no latent to go through"):
            interpolation_strips(workload, workload.model, n_strips=2, n_steps=3)
        return
    images = interpolation_strips(workload, workload.model, n_strips=2, n_steps=5)
    assert images.shape == (10, 1, 28, 28)
    ends = samples(workload, complete_settings(workload), 0, 1)
    assert differ(images[:1], ends) <= ROUNDING  # class 0 and latent 0, as in sample 0
    assert differ(images[1:2], images[:1]) > 0


def test_what_a_judge_keeps_survives_the_cache(workload: Workload, cheap: Settings) -> None:
    judge = judge_for(workload, "fashion")
    seen = judge.observe([samples(workload, cheap, 0, 3), samples(workload, cheap, 3, 5)], 0)
    again = judge.restore(seen.tensors())
    assert len(seen) == len(again) == 5
    assert all(torch.equal(own, again.tensors()[name]) for name, own in seen.tensors().items())
    parts = seen.first(2).then(judge.observe([samples(workload, cheap, 2, 5)], 2))
    assert parts.tensors().keys() == seen.tensors().keys()
    assert len(parts) == 5


def test_the_work_of_a_sample_does_not_depend_on_what_the_model_says(workload: Workload, cheap: Settings) -> None:
    other = compress(workload, Recipe.from_dict({"stages": [{"kind": "weight-quantization", "bits": 2}]})).model
    assert count_macs(workload, workload.model, cheap) == count_macs(workload, other, cheap) > 0


def test_there_are_no_more_texts_than_prompts(workload: Workload, cheap: Settings) -> None:
    if not makes_texts(workload):
        return
    n = workload.n_prompts
    assert len(workload.prompts(0, n)) == len(workload.references(0, n)) == n
    assert {name: len(texts) for name, texts in workload.baselines(3).items()} == dict.fromkeys(
        workload.baselines(3), 3
    )
    with pytest.raises(EvaluationError, match=rf"--samples must be in \[20, {n}\], got {n + 1}"):
        make_request(workload, Recipe(), n_samples=n + 1)
    with pytest.raises(EvaluationError, match="have no feature space"):
        make_request(workload, Recipe(), extractor="fashion")


def test_a_text_model_is_asked_along_the_references(workload: Workload) -> None:
    if not makes_texts(workload):
        return
    log_probs, following, real = workload.log_probs(workload.model, 0, 3)
    assert log_probs.shape[:2] == following.shape == real.shape
    torch.testing.assert_close(log_probs.exp().sum(2), torch.ones(following.shape), atol=1e-4, rtol=0)
    alone, _, _ = workload.log_probs(workload.model, 1, 2)
    torch.testing.assert_close(log_probs[1:2, : alone.shape[1]], alone, atol=1e-3, rtol=1e-3)


def test_a_miss_says_what_was_meant_and_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match="No workload named 'fashion-vea'. Did you mean 'fashion-vae'") as raised:
        load_workload("fashion-vea")
    assert all(name in str(raised.value) for name in CATALOG)
    assert isinstance(CATALOG, Registry)


# Plugins

PLUGIN = """
from tests.tiny import TinyVAE

class Mine(TinyVAE):
    name = "plugin:{module}:make"

def make():
    return Mine()

def make_nothing():
    return object()

def make_half():
    class Half(TinyVAE):
        generate = property()
    return Half()

number = 3
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Name of a plugin module in the current folder, which nobody has imported before."""
    module = f"plugin_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{module}.py").write_text(PLUGIN.format(module=module))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    request.addfinalizer(lambda: sys.modules.pop(module, None))
    return module


def test_a_plugin_is_loaded_from_the_current_folder(plugin: str) -> None:
    name = f"{PLUGIN_PREFIX}{plugin}:make"
    workload = load_workload(name)
    assert workload.name == name
    assert check_workload(workload) == []
    assert type(workload).__module__ == plugin
    assert Path(str(import_module(plugin).__file__)).parent == Path.cwd()
    assert load_workload(name) is workload
    assert card_of(name).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plugin:", "named plugin:MODULE:FACTORY, got 'plugin:'"),
        ("plugin:{module}", "named plugin:MODULE:FACTORY, got 'plugin:{module}'"),
        ("plugin::make", "named plugin:MODULE:FACTORY"),
        ("plugin:{module}:", "named plugin:MODULE:FACTORY"),
        ("plugin:no_such_module:make", "Plugin module 'no_such_module' can't be imported"),
        ("plugin:{module}.inner:make", "can't be imported"),
        ("plugin:{module}:mak", "Module '{module}' has no factory 'mak'"),
        ("plugin:{module}:number", "Module '{module}' has no factory 'number'"),
        ("plugin:{module}:make:more", "has no factory 'make:more'"),
        ("plugin:{module}:make_nothing", "is no Workload: it has no 'name'"),
        ("plugin:{module}:make_half", "is no Workload: it has no 'generate'"),
    ],
)
def test_a_plugin_that_is_none_is_refused_in_one_line(plugin: str, name: str, message: str) -> None:
    with pytest.raises(GenCompError) as raised:
        load_workload(name.format(module=plugin))
    assert message.format(module=plugin) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_relative_plugin_module_is_refused_in_one_line(plugin: str) -> None:
    with pytest.raises(UnknownNameError, match="plugin"):
        load_workload(f"plugin:.{plugin}:make")
