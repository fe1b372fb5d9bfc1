"""From a scan to plans, predictions and the ledger, through the services."""

import subprocess
import sys
from pathlib import Path

import pytest

from gencomp_core.analysis.measurement import now
from gencomp_core.artifact.packing import pack
from gencomp_core.errors import PlanError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import EvaluationRequest, LayerOption
from gencomp_core.records.plans import Budgets, Loss, Prediction
from gencomp_core.services import predictions
from gencomp_core.services.planning import plan, write_recipe
from gencomp_core.store import Store
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from tests.made import measurement
from tests.tiny import pruning, quantization, recipe

NAME = "plugin:tests.tiny:TinyVAE"
LONG_AGO = "2026-01-01T00:00:00+00:00"
OPTIONS = [
    *(LayerOption(sparsity=level) for level in (0.1, 0.3, 0.5, 0.7)),
    *(LayerOption(bits=bits, group_size=size) for bits in (8, 6, 5, 4, 3, 2) for size in (None, 64)),
    *(LayerOption(sparsity=level, bits=4, group_size=64) for level in (0.3, 0.5)),
    *(LayerOption(sparsity=level, bits=5) for level in (0.3, 0.5)),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(f"sqlite:///{tmp_path_factory.mktemp('planning') / 'store.db'}")
    plan(made, NAME, Budgets(size_bytes=10**9), options=OPTIONS)
    return made


def file_bytes(chosen: Recipe) -> int:
    variant = compress(load_workload(NAME), chosen)
    return pack(variant.model, variant.quantized).size_bytes


def measured(
    store: Store, stage: dict[str, object], fid: float, *, measured_at: str = "2026-01-01T00:00:00+00:00"
) -> None:
    chosen = recipe(stage)
    weights_hash = load_workload(NAME).weights_hash
    request = EvaluationRequest(
        workload=NAME, weights_hash=weights_hash, recipe=chosen.to_dict(), seed=0, n_samples=1000, settings={}
    )
    store.save(
        measurement(
            stage, workload=NAME, fid=fid, request=request, signature=request.signature,
            size_bytes=file_bytes(chosen), measured_at=measured_at,
        )
    )  # fmt: skip


def test_layers_are_scanned_once_and_plans_are_kept_as_predictions(store: Store) -> None:
    made_at = predictions.basis_of(store, NAME).made_at
    steps: list[str] = []
    found = plan(store, NAME, Budgets(size_bytes=60_000), options=OPTIONS, report=lambda own: steps.append(own.what))
    assert steps == ["planning"]
    assert predictions.basis_of(store, NAME).made_at == made_at
    assert found.predicted.size_bytes == file_bytes(Recipe.from_dict(found.recipe)) <= 60_000
    table = predictions.ledger(store, NAME)
    row = table[table["recipe_signature"] == Recipe.from_dict(found.recipe).signature].iloc[0]
    assert (row["source"], row["size_predicted"]) == ("plan", found.predicted.size_bytes)
    plan(store, NAME, Budgets(size_bytes=60_000), options=OPTIONS)
    assert len(predictions.ledger(store, NAME)) == len(table)


def test_without_a_budget_nothing_is_scanned(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    with pytest.raises(PlanError, match="--max-size, --max-latency, --max-macs or --max-loss"):
        plan(store, NAME, Budgets(), options=OPTIONS)
    assert not predictions.can_predict(store, NAME)


@pytest.mark.parametrize(
    "stages",
    [[], [pruning(0.5)], [quantization(4, group_size=64)], [pruning(0.3), quantization(4, group_size=64)],
     [quantization(8, layers={"*": {"bits": 5}})], [pruning(0.7, layers={"encoder*": {"skip": True}})]],
)  # fmt: skip
def test_bytes_of_priced_options_are_exact(store: Store, stages: list[dict[str, object]]) -> None:
    found = predictions.predicted(store, NAME, recipe(*stages))
    assert isinstance(found, Prediction)
    assert found.size_is_exact
    assert found.size_bytes == file_bytes(recipe(*stages))
    assert "only ranks" in found.note or found.quality


@pytest.mark.parametrize(
    "stages", [[pruning(0.55)], [quantization(6, group_size=128)], [pruning(0.45), quantization(5)]]
)
def test_bytes_between_priced_options_are_near_and_say_so(store: Store, stages: list[dict[str, object]]) -> None:
    found = predictions.predicted(store, NAME, recipe(*stages))
    assert isinstance(found, Prediction)
    assert not found.size_is_exact
    assert found.size_bytes == pytest.approx(file_bytes(recipe(*stages)), rel=0.04)


def test_what_can_t_be_predicted_says_why(store: Store) -> None:
    assert "scope 'global'" in str(predictions.predicted(store, NAME, recipe(pruning(0.5, scope="global"))))


def test_measurements_give_damage_a_meaning_and_later_ones_score_what_was_said(store: Store) -> None:
    with pytest.raises(PlanError, match="--max-loss needs measured"):
        plan(store, NAME, Budgets(loss=Loss(value=0.1)))
    levels = ((8, 10.01), (6, 10.1), (5, 10.4), (4, 12.0), (3, 19.0), (2, 60.0))
    for bits, fid in levels:
        measured(store, quantization(bits, group_size=64), fid)
    chosen = recipe(pruning(0.2), quantization(4, group_size=64))
    found = predictions.predicted(store, NAME, chosen)
    assert isinstance(found, Prediction)
    assert found.quality is not None
    assert found.quality.n_pairs == len(levels)
    assert found.quality.low < 12.0 < found.quality.high
    found = predictions.predicted(store, NAME, recipe(pruning(0.1)))
    measured(store, pruning(0.1), 10.2, measured_at=now())
    table = predictions.ledger(store, NAME)
    scored = table[table["recipe_signature"] == recipe(pruning(0.1)).signature].iloc[0]
    assert scored["size_error"] == 0
    assert scored["change_measured"] == pytest.approx(0.2)
    assert scored["inside"] == (scored["change_low"] <= 0.2 <= scored["change_high"])
    before = table[table["recipe_signature"] == recipe(quantization(4, group_size=64)).signature].iloc[0]
    assert before["predicted_at"] > LONG_AGO
    assert before[["size_measured", "inside"]].isna().all()  # it was measured before it was predicted
    account = predictions.ledger_account(table)
    assert (account["n"], account["n_quality"], account["largest_size_error"]) == (1, 1, 0)
    again = predictions.predicted(store, NAME, chosen)
    assert isinstance(again, Prediction)
    assert again.quality is not None
    assert again.quality.n_pairs == len(levels) + 1


def test_bytes_are_minimised_under_an_allowed_loss(store: Store) -> None:
    strict, loose = (plan(store, NAME, Budgets(loss=Loss(value=value, unit="fid"))) for value in (0.2, 5.0))
    for found, allowed in ((strict, 0.2), (loose, 5.0)):
        assert found.minimised == "size_bytes"
        assert found.predicted.quality is not None
        assert found.predicted.quality.change <= allowed
        assert found.binding == ("loss",)
        assert found.shadow_prices[0].saved_bytes is not None
    assert loose.predicted.size_bytes < strict.predicted.size_bytes


def test_budgets_that_can_t_be_kept_name_the_nearest_that_can(store: Store) -> None:
    with pytest.raises(
        PlanError, match=r"--max-size must be at least [0-9.]+kB with these options, got 1kB\. "
    ) as refused:
        plan(store, NAME, Budgets(size_bytes=1000))
    nearest = int(refused.value.nearest["size_bytes"])
    assert plan(store, NAME, Budgets(size_bytes=nearest)).predicted.size_bytes == nearest
    with pytest.raises(PlanError, match=r"No plan keeps --max-size 20kB with --max-loss 0\.1FID .* --max-size at"):
        plan(store, NAME, Budgets(size_bytes=20_000, loss=Loss(value=0.1, unit="fid")))
    with pytest.raises(PlanError, match=r"--max-macs must be at least .* got 1k\. That is with three quarters"):
        plan(store, NAME, Budgets(macs=1000))


def test_the_recipe_of_a_plan_can_be_read_back(store: Store, tmp_path: Path) -> None:
    found = plan(store, NAME, Budgets(size_bytes=60_000))
    for name in ("recipe.yaml", "recipe.json"):
        write_recipe(found, tmp_path / name)
        assert Recipe.from_file(tmp_path / name).to_dict() == found.recipe
    with pytest.raises(PlanError, match="can't be written"):
        write_recipe(found, tmp_path / "missing" / "recipe.yaml")


def test_predicting_does_not_import_torch() -> None:
    code = "import sys, gencomp_core.services.predictions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
