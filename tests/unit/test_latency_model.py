"""The latency model finds the costs that timings were made with, and predicts sums of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp_core.analysis.break_even.chains import POINTS
from gencomp_core.analysis.latency_model.layer_cost import LayerCosts, errors, size_of
from gencomp_core.analysis.latency_model.layers import layer_table
from gencomp_core.analysis.latency_model.model import GenerationCosts, MeasuredGeneration, fit_whole, left_out_errors
from gencomp_core.analysis.latency_model.planning import option_ms
from gencomp_core.analysis.latency_model.work import INT8, INT8_WEIGHTS, LayerWork
from gencomp_core.analysis.measurement import Shipped
from gencomp_core.errors import EvaluationError
from gencomp_core.evaluate.cost import count_layer_macs
from gencomp_core.records import LayerOption
from gencomp_core.records.machines import LayerTiming, MachineProfile
from gencomp_core.workloads.base import complete_settings
from tests.tiny import TinyDiffusion, TinyVAE, TinyVerses, activations, quantization, recipe

TRUE = {"float": np.array([0.002, 0.02, 0.3, 0.1, 0.2]), "int8": np.array([0.004, 0.006, 0.1, 0.03, 0.3])}
"""Milliseconds of each feature on a machine that doesn't exist."""


def profile() -> MachineProfile:
    timings = []
    for point in POINTS:
        by_form = {form: float(own @ size_of(point).features()) for form, own in TRUE.items()}
        for form, ms in by_form.items():
            timings.append(
                LayerTiming(
                    point=point, runtime="engine", format=form, ran=form, ms=ms, low_ms=ms, high_ms=ms,
                    speed_up=by_form["float"] / ms, noise_low=0.95, noise_high=1.05,
                )
            )  # fmt: skip
    return MachineProfile(
        machine={"processor": "none"}, versions={}, measured_at="", threads=1, call_ms={"engine": 0.05},
        timings=tuple(timings),
    )  # fmt: skip


COSTS = GenerationCosts.of(profile())
WORK = LayerWork("conv3", 64, 64, 9 * 64 * 64, 4, 4e8, 1e6, 1e6)


def test_costs_that_timings_were_made_with_are_found() -> None:
    fitted = LayerCosts.fit(profile())
    assert np.abs(errors(fitted, profile().timings)).max() < 0.02


@given(kept=st.floats(0.1, 1.0), more=st.floats(0.0, 1.0))
def test_a_narrower_layer_never_takes_longer(kept: float, more: float) -> None:
    wide = kept + (1 - kept) * more
    narrow, other = (COSTS.layer_ms(WORK.narrowed(own, own), "engine") for own in (kept, wide))
    assert narrow <= other * 1.02  # channels are whole numbers


def test_shares_of_a_made_up_machine_are_found_and_unseen_workloads_are_predicted() -> None:
    shares = np.array([1.3, 2.0, 1.0, 0.01])
    measured = []
    for group, workload in {"a": TinyDiffusion(), "b": TinyVAE(), "c": TinyVerses()}.items():
        for batch in (1, 2, 5):
            table = layer_table(workload, workload.model, batch=batch, settings=complete_settings(workload))
            ms = float(shares @ COSTS.features(table, "engine"))
            measured.append(MeasuredGeneration(table, "engine", ms, group))
    (fit,) = fit_whole(COSTS, measured)
    assert fit.n_measured == 9
    assert np.median(np.abs(left_out_errors(COSTS, "engine", measured))) < 0.15
    told = GenerationCosts(COSTS.layers, COSTS.call_ms, {"engine": fit}).predict(measured[0].table, "engine")
    assert told.low <= measured[0].ms <= told.high


def test_the_measured_dense_model_sets_the_scale() -> None:
    workload = TinyVAE()
    table = layer_table(workload, workload.model, batch=2, settings=complete_settings(workload))
    assert COSTS.predict(table, "engine", dense=table, dense_ms=12.0).value == pytest.approx(12.0)


def test_a_runtime_that_was_not_timed_is_refused_with_a_next_step() -> None:
    with pytest.raises(EvaluationError, match="knows engine, got onnxruntime. Run 'gencomp machine --again'"):
        COSTS.predict({"a": WORK}, "onnxruntime")


@pytest.mark.parametrize("kind", [TinyDiffusion, TinyVAE])
def test_the_table_counts_the_macs_that_cost_counts(kind: type[TinyVAE]) -> None:
    workload = kind()
    settings = complete_settings(workload)
    table = layer_table(workload, workload.model, batch=1, settings=settings)
    assert {name: own.macs for name, own in table.items()} == {
        name: macs for name, macs in count_layer_macs(workload, workload.model, settings).items() if name in table
    }


def test_the_table_says_which_layers_could_run_as_integers() -> None:
    workload = TinyVAE()
    forms = {}
    for name, chosen in {"w": recipe(quantization(8)), "wa": recipe(quantization(8), activations())}.items():
        shipped = Shipped.of(workload, chosen)
        table = layer_table(
            workload, shipped.model, batch=1, settings=complete_settings(workload), quantized=shipped.quantized
        )
        forms[name] = {own.format for own in table.values()}
    assert forms == {"w": {INT8_WEIGHTS}, "wa": {INT8, INT8_WEIGHTS}}


def test_options_of_layers_add_up_to_the_prediction() -> None:
    workload = TinyVAE()
    table = layer_table(workload, workload.model, batch=1, settings=complete_settings(workload))
    ms_of, other = option_ms(COSTS, table, "engine", integer_inputs=True)
    nothing = LayerOption()
    total = other + sum(ms_of(layer, nothing) for layer in table)
    assert total == pytest.approx(COSTS.predict(table, "engine").value)
    layer = max(table, key=lambda name: table[name].macs)
    assert ms_of(layer, LayerOption(pruning_ratio=0.5)) < ms_of(layer, nothing)
    assert ms_of(layer, LayerOption(sparsity=0.9)) == ms_of(layer, nothing)
