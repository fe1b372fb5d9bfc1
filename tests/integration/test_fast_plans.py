"""Plans that are really faster: narrower layers and integer inputs, under milliseconds and multiply-accumulates."""

from pathlib import Path

import pytest

from gencomp_core.analysis.latency_model.layers import layer_table
from gencomp_core.analysis.latency_model.model import GenerationCosts
from gencomp_core.analysis.latency_model.work import FLOAT, INT8
from gencomp_core.analysis.measurement import Shipped, now
from gencomp_core.analysis.planning.menu import MENU
from gencomp_core.errors import PlanError
from gencomp_core.evaluate.cost import count_macs
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import EvaluationRequest, LayerOption
from gencomp_core.records.machines import MachineProfile
from gencomp_core.records.plans import Budgets
from gencomp_core.services import machines, predictions
from gencomp_core.services.planning import plan
from gencomp_core.store import Store
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import complete_settings
from tests.made import latency, measurement
from tests.unit.test_latency_model import profile

NAME = "plugin:tests.tiny:TinyVAE"
OPTIONS = [own for own in MENU if own.bits in (None, 8, 4, 2) and own.sparsity in (0.0, 0.5) and not own.group_size]


def two_engines() -> MachineProfile:
    """A made-up machine: eager knows floats only, the other one integers too."""
    made = profile()
    timings = [
        own.model_copy(update={"runtime": runtime})
        for runtime in ("eager", "openvino")
        for own in made.timings
        if runtime == "openvino" or own.format == "float"
    ]
    calls = {"eager": 0.05, "openvino": 0.05}
    return made.model_copy(update={"timings": tuple(timings), "call_ms": calls})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(f"sqlite:///{tmp_path_factory.mktemp('fast-plans') / 'store.db'}")


@pytest.fixture
def store(shared: Store) -> Store:
    machines.keep(two_engines())
    if not predictions.can_predict(shared, NAME):
        plan(shared, NAME, Budgets(macs=10**12), options=OPTIONS)
    return shared


def dense_ms(store: Store, runtime: str) -> float:
    instance = predictions.instance_of(store, NAME, runtime=runtime)
    return instance.total("latency_ms", [0] * len(instance.options))


def shipped(recipe: dict[str, object]) -> Shipped:
    return Shipped.of(load_workload(NAME), Recipe.from_dict(recipe))


def test_operations_are_kept_by_narrower_layers_and_counted(store: Store) -> None:
    workload = load_workload(NAME)
    settings = complete_settings(workload)
    dense = count_macs(workload, workload.model, settings)
    steps: list[str] = []
    found = plan(store, NAME, Budgets(macs=dense // 2), report=lambda own: steps.append(own.what))
    assert steps == ["planning"]  # groups of channels were tried before, and are kept
    own = shipped(found.recipe)
    assert found.predicted.macs == count_macs(workload, own.model, settings) <= dense // 2
    assert found.predicted.size_is_exact
    assert found.predicted.size_bytes == own.packed.size_bytes
    assert found.recipe["stages"][0]["kind"] == "channel-pruning"
    assert found.removed
    assert found.binding == ("macs",)
    assert found.shadow_prices[0].damage >= 0


def test_milliseconds_of_a_plan_are_those_of_the_model_for_what_it_makes(store: Store) -> None:
    limit = 0.6 * dense_ms(store, "openvino")
    found = plan(store, NAME, Budgets(latency_ms=limit))
    told = found.predicted
    assert told.latency_ms is not None
    assert told.latency_ms <= limit
    assert (told.runtime, told.batch) == ("openvino", 1)
    workload, own = load_workload(NAME), shipped(found.recipe)
    table = layer_table(workload, own.model, batch=1, settings=complete_settings(workload), quantized=own.quantized)
    assert INT8 in {each.format for each in table.values()}
    assert {each.format for each in table.values()} <= {INT8, FLOAT}
    assert GenerationCosts.of(two_engines()).predict(table, "openvino").value == pytest.approx(
        told.latency_ms, rel=0.03
    )


def test_an_engine_without_integers_is_made_faster_by_narrower_layers(store: Store) -> None:
    limit = 0.8 * dense_ms(store, "eager")
    found = plan(store, NAME, Budgets(latency_ms=limit, runtime="eager"))
    assert found.removed
    assert all(own.option.activation_bits is None for own in found.layers)


def test_a_larger_batch_takes_longer(store: Store) -> None:
    limit = 0.9 * dense_ms(store, "openvino")
    assert plan(store, NAME, Budgets(latency_ms=limit)).predicted.batch == 1
    with pytest.raises(PlanError, match="--max-latency must be at least"):
        plan(store, NAME, Budgets(latency_ms=limit, batch=64))


def test_bytes_and_milliseconds_are_kept_together(store: Store) -> None:
    budgets = Budgets(size_bytes=40_000, latency_ms=0.7 * dense_ms(store, "openvino"))
    found = plan(store, NAME, budgets)
    assert found.budgets == budgets
    assert found.predicted.size_bytes == shipped(found.recipe).packed.size_bytes <= 40_000
    assert found.predicted.latency_ms is not None
    assert found.predicted.latency_ms <= budgets.latency_ms  # type: ignore[operator]


def test_a_time_that_no_plan_keeps_is_told_with_the_nearest_and_the_engines_that_are_known(store: Store) -> None:
    with pytest.raises(PlanError, match=r"--max-latency must be at least .*ms .* integers where they pay") as refused:
        plan(store, NAME, Budgets(latency_ms=1e-4))
    nearest = refused.value.nearest["latency_ms"]
    assert plan(store, NAME, Budgets(latency_ms=nearest * 1.001)).predicted.latency_ms == pytest.approx(
        nearest, rel=0.01
    )
    with pytest.raises(PlanError, match="--runtime must be one of .* eager, openvino, got 'compile'"):
        plan(store, NAME, Budgets(latency_ms=1.0, runtime="compile"))


def test_measured_milliseconds_score_what_was_said(store: Store) -> None:
    found = plan(store, NAME, Budgets(latency_ms=0.65 * dense_ms(store, "openvino")))
    assert found.predicted.latency_ms is not None
    ms = 1.1 * found.predicted.latency_ms
    request = EvaluationRequest(
        workload=NAME, weights_hash=load_workload(NAME).weights_hash, recipe=found.recipe, seed=0, n_samples=1000,
        settings={},
    )  # fmt: skip
    own = latency(runtime="openvino", median_ms=ms, dense_median_ms=5.0)
    store.save(
        measurement(
            *found.recipe["stages"], workload=NAME, request=request, signature=request.signature, measured_at=now(),
            size_bytes=found.predicted.size_bytes, latency=(own,),
        )
    )  # fmt: skip
    table = predictions.ledger(store, NAME)
    row = table[table["recipe_signature"] == Recipe.from_dict(found.recipe).signature].iloc[0]
    assert row["latency_error"] == pytest.approx(0.1)
    assert row["latency_inside"]
    account = predictions.ledger_account(table)
    assert account["n_latency"] == 1
    assert account["median_latency_error"] == pytest.approx(0.1)
    assert dense_ms(store, "openvino") == pytest.approx(5.0)  # what was timed corrects the scale


def test_rounded_inputs_are_predicted_where_they_were_tried(store: Store) -> None:
    stages = [{"kind": "weight-quantization", "bits": 8}]
    alone, both = (
        predictions.predicted(store, NAME, Recipe.from_dict({"stages": chosen}))
        for chosen in (stages, [*stages, {"kind": "activation-quantization"}])
    )
    assert not isinstance(alone, str)
    assert not isinstance(both, str)
    assert both.damage > alone.damage
    assert both.latency_ms is not None
    assert alone.latency_ms is not None
    assert both.latency_ms < alone.latency_ms
    assert both.size_bytes == pytest.approx(
        shipped({"stages": [*stages, {"kind": "activation-quantization"}]}).packed.size_bytes, rel=0.02
    )
    assert LayerOption(bits=8, activation_bits=8).title() == "8 bits, inputs 8 bits"


def test_without_timings_only_eager_is_known(tmp_path: Path) -> None:
    empty = Store(f"sqlite:///{tmp_path / 'store.db'}")
    if machines.recorded_profile() is None:
        with pytest.raises(PlanError, match="Run 'gencomp machine' once"):
            plan(empty, NAME, Budgets(latency_ms=1.0, runtime="openvino"), options=OPTIONS[:2])
