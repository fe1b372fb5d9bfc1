"""From choices to recipes and back; budgets as they are typed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gencomp_core.analysis.planning.amounts import amount_text, read_budgets, round_up
from gencomp_core.analysis.planning.options import options_of, recipe_of
from gencomp_core.artifact.packing import pack
from gencomp_core.errors import PlanError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import LayerOption
from gencomp_core.records.plans import Loss
from gencomp_core.variant import compress
from tests.tiny import Bare, pruning, quantization, recipe

LAYERS = ["tokens", "linear", "conv1d", "conv2d", "transposed", "grouped"]
formats = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {
            "bits": st.integers(2, 8),
            "group_size": st.sampled_from([None, 4, 16]),
            "symmetric": st.booleans(),
            "clipping": st.sampled_from(["none", "mse"]),
        }
    ),
)
options = st.builds(
    lambda sparsity, own: LayerOption(sparsity=sparsity, **own), st.sampled_from([0.0, 0.3, 0.8]), formats
)
choices = st.fixed_dictionaries(dict.fromkeys(LAYERS, options))


@given(choice=choices)
def test_a_recipe_stands_for_the_choice_that_it_was_made_for(choice: dict[str, LayerOption]) -> None:
    made = recipe_of(choice)
    assert options_of(made, LAYERS) == choice
    assert Recipe.from_text(made.to_yaml()) == made
    assert len(made.stages) <= 2


@settings(max_examples=15, deadline=None)
@given(choice=choices)
def test_a_layer_comes_out_as_if_its_option_were_done_to_all(choice: dict[str, LayerOption]) -> None:
    mixed = compress(Bare(), recipe_of(choice))
    for layer, option in choice.items():
        alone = compress(Bare(), recipe_of(dict.fromkeys(LAYERS, option)))
        name = f"{layer}.weight"
        assert mixed.model.state_dict()[name].equal(alone.model.state_dict()[name])
        cost = {tensor.name: tensor for tensor in pack(alone.model, alone.quantized).tensors}
        assert {t.name: t for t in pack(mixed.model, mixed.quantized).tensors}[name] == cost[name]


def test_what_most_layers_share_stands_once() -> None:
    choice = dict.fromkeys(LAYERS, LayerOption(bits=4, group_size=16)) | {
        "tokens": LayerOption(),
        "linear": LayerOption(bits=8),
    }
    (stage,) = recipe_of(choice).to_dict()["stages"]
    assert stage["bits"] == 4
    assert stage["layers"] == {"tokens": {"skip": True}, "linear": {"bits": 8, "granularity": "channel"}}


def test_doing_nothing_is_the_dense_recipe() -> None:
    assert recipe_of(dict.fromkeys(LAYERS, LayerOption())).is_dense
    assert options_of(recipe(), LAYERS) == dict.fromkeys(LAYERS, LayerOption())


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([pruning(0.5, scope="global")], "scope 'global'"),
        ([{"kind": "magnitude-pruning", "pattern": "2:4"}], "N:M"),
        ([quantization(4, granularity="tensor")], "One scale per tensor"),
        ([quantization(4, rounding="gptq")], "rounding to nearest"),
        ([quantization(8), pruning(0.5)], "pruned after they were rounded"),
        ([quantization(8), quantization(4)], "rounded twice"),
        ([{"kind": "channel-pruning", "pruning_ratio": 0.5}], "channel-pruning"),
    ],
)
def test_what_the_scan_does_not_tell_is_not_predicted(stages: list[dict[str, object]], reason: str) -> None:
    found = options_of(recipe(*stages), LAYERS)
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ({"size": "500kB"}, {"size_bytes": 500_000}),
        ({"size": "1.5 MiB"}, {"size_bytes": 1_572_864}),
        ({"latency": "20ms"}, {"latency_ms": 20.0}),
        ({"latency": "3"}, {"latency_ms": 3.0}),
        ({"latency": "1.5s"}, {"latency_ms": 1500.0}),
        ({"macs": "50M"}, {"macs": 50_000_000}),
        ({"loss": "10%"}, {"loss": Loss(value=0.1)}),
        ({"loss": "1.5FID"}, {"loss": Loss(value=1.5, unit="fid")}),
    ],
)
def test_amounts_are_read_with_their_units(typed: dict[str, str], read: dict[str, object]) -> None:
    found = read_budgets(**typed, metric="fid").model_dump(exclude_none=True, exclude={"runtime", "batch"})
    assert found == {name: value.model_dump() if isinstance(value, Loss) else value for name, value in read.items()}


@pytest.mark.parametrize(
    "typed",
    [{"size": text} for text in ("", "0", "-3MB", "inf", "5q", "big")]
    + [{"latency": text} for text in ("0ms", "1e999ms", "20kB")]
    + [{"macs": text} for text in ("50MB", "-1", "1e999")]
    + [{"loss": text} for text in ("0.1", "2BLEU", "0%", "-5%", "%")],
)
def test_other_amounts_are_refused_in_one_line(typed: dict[str, str]) -> None:
    with pytest.raises(PlanError, match=r"^--max-[a-z]+ must be .*, got '.*'\. [A-Z][^\n]*$") as refused:
        read_budgets(**typed, metric="fid")
    assert repr(next(iter(typed.values()))) in str(refused.value)


@given(value=st.floats(1.0, 1e10))
def test_a_printed_limit_can_be_kept(value: float) -> None:
    shown = amount_text("size_bytes", round_up(value))
    read = read_budgets(size=shown, metric="fid").size_bytes
    assert read is not None
    assert value * (1 - 1e-6) - 1 <= read <= value * 1.002 + 1
