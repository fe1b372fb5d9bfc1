"""What every store promises of predictions and of what they rest on."""

from gencomp_core.records import Estimate, LayerOption, LayerScore
from gencomp_core.records.anchors import Anchor
from gencomp_core.records.footprints import Footprint, LayerPrice, LayerPrices, Part, PriceList
from gencomp_core.records.plans import BASIS_VERSION, KeptPrediction, PlanBasis, Prediction
from gencomp_core.store import Store
from gencomp_core.store.predictions import (
    basis_from_bytes,
    basis_key,
    basis_to_bytes,
    kept_predictions,
    load_basis,
    save_basis,
    save_prediction,
)
from tests.tiny import pruning, recipe

FOUR_BITS = LayerOption(bits=4)
JANUARY = "2026-01-01T00:00:00+00:00"


def prediction(
    size_bytes: int = 100, *, at: str = "2026-01-01T00:00:00+00:00", sparsity: float = 0.5
) -> KeptPrediction:
    return KeptPrediction(
        workload="made",
        weights_hash="0" * 16,
        recipe=recipe(pruning(sparsity)).to_dict(),
        source="slider",
        prediction=Prediction(size_bytes=size_bytes, size_is_exact=True, macs=1, damage=0.5),
        predicted_at=at,
    )


def basis(*, weights_hash: str = "0" * 16, made_at: str = "2026-01-01", version: str = BASIS_VERSION) -> PlanBasis:
    footprint = Footprint(tensor="a.weight", parts=(Part(name="a.weight", dtype="F32", shape=(2, 3)),))
    option = LayerPrice(option=LayerOption(), footprint=footprint, n_zeros=0)
    layer = LayerPrices(layer="a", n_weights=6, macs=6, options=(option,))
    one = Estimate(value=1.0, low=1.0, high=1.0)
    score = LayerScore(layer="a", option=FOUR_BITS, method="fisher", damage=one, size_bytes=3, dense_size_bytes=24)
    return PlanBasis(
        prices=PriceList(workload="made", weights_hash=weights_hash, fixed=(), layers=(layer,), macs=6),
        scores=(score,),
        anchors=(Anchor(layer="a", option=FOUR_BITS, error=2.0),),
        made_at=made_at,
        version=version,
    )


def test_predictions_come_back_oldest_first_those_of_other_workloads_apart(store: Store) -> None:
    later, sooner = prediction(at="2026-02-01T00:00:00+00:00"), prediction(at=JANUARY, sparsity=0.3)
    for kept in (later, sooner):
        save_prediction(store, kept)
    assert kept_predictions(store, "made") == [sooner, later]
    assert kept_predictions(store, "other") == []


def test_the_same_words_are_kept_once_as_first_said(store: Store) -> None:
    first, again = prediction(at=JANUARY), prediction(at="2026-03-01T00:00:00+00:00")
    save_prediction(store, first)
    save_prediction(store, again)
    save_prediction(store, prediction(200, at="2026-02-01T00:00:00+00:00"))
    assert [kept.prediction.size_bytes for kept in kept_predictions(store, "made")] == [100, 200]
    assert first in kept_predictions(store, "made")


def test_a_basis_comes_back_equal_and_a_newer_one_replaces_it(store: Store) -> None:
    assert basis_key(store, "made") is None
    save_basis(store, basis())
    assert load_basis(store, "made", "0" * 16) == basis()
    newer = basis(made_at="2026-02-01")
    save_basis(store, newer)
    assert load_basis(store, "made", "0" * 16) == newer
    assert basis_key(store, "made") == ("0" * 16, "2026-02-01")


def test_the_newest_weights_are_planned_with(store: Store) -> None:
    save_basis(store, basis(weights_hash="1" * 16, made_at="2026-03-01"))
    save_basis(store, basis(made_at="2026-02-01"))
    assert basis_key(store, "made") == ("1" * 16, "2026-03-01")
    assert load_basis(store, "made", "2" * 16) is None


def test_what_another_version_made_is_made_anew(store: Store) -> None:
    save_basis(store, basis(version="0-0"))
    assert basis_key(store, "made") is None
    assert load_basis(store, "made", "0" * 16) is None
    assert basis_from_bytes(basis_to_bytes(basis(version="0-0"))) is None
    assert basis_from_bytes(b"no basis") is None
