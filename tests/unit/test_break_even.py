"""Layers are timed in every runtime that takes them, and the table says from which width a format pays."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torch.utils.flop_counter import FlopCounterMode

from gencomp_core.analysis.break_even import timing
from gencomp_core.analysis.break_even.chains import DEPTH, POINTS, ChainsWorkload, chain_of
from gencomp_core.analysis.break_even.table import CHANNELS, break_even_table, pays_from, verdicts
from gencomp_core.charts.break_even import break_even_chart
from gencomp_core.records import Progress
from gencomp_core.records.machines import LayerPoint, LayerTiming, MachineProfile
from gencomp_core.services import machines

POINT = LayerPoint(kind="conv3", width=8, positions=16, batch=2, macs=2 * 16 * 9 * 64)


@pytest.mark.parametrize("point", [POINTS[0], POINT, *POINTS[-2:]], ids=lambda own: f"{own.kind}-{own.width}")
def test_macs_of_a_point_are_those_that_torch_counts(point: LayerPoint) -> None:
    workload = ChainsWorkload([point])
    (name, _) = workload.specs
    counter = FlopCounterMode(display=False)
    with counter:
        workload.model.get_submodule(f"chains.{name}")(workload.inputs(name, point.batch))
    assert counter.get_total_flops() == 2 * DEPTH * point.macs


@pytest.mark.parametrize("kind", ["linear", "conv1", "conv3", "transposed"])
def test_chains_keep_the_shape_of_what_goes_in(kind: str) -> None:
    workload = ChainsWorkload([POINT.model_copy(update={"kind": kind})])
    name = next(iter(workload.specs))
    x = workload.inputs(name, 3)
    assert chain_of(kind, 8)(x).shape == x.shape


def test_layers_of_every_format_are_opened_and_timed_under_what_really_runs() -> None:
    steps = timing.open_chains([POINT], {"eager": ("float", "int8", "int8 weights")})
    opened = _finish(steps)
    rows = timing.time_point(opened, POINT, {"eager": 0.0}, rounds=3)
    assert [own.format for own in rows] == ["float", "int8", "int8 weights"]
    assert [own.ran for own in rows][:2] == [
        "float32",
        "float32, weights widened on loading, inputs rounded in float32",
    ]
    assert rows[0].speed_up == 1.0
    assert all(own.low_ms <= own.ms <= own.high_ms for own in rows)


def test_a_machine_is_timed_once_and_goes_on_where_it_stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [POINT, POINT.model_copy(update={"width": 16, "macs": 4 * POINT.macs})]
    monkeypatch.setattr("gencomp_core.analysis.break_even.chains.POINTS", points)
    opened, time_point = timing.open_chains, timing.time_point
    monkeypatch.setattr(timing, "open_chains", lambda: opened(points, {"eager": ("float",)}))
    timed: list[int] = []

    def time_and_count(chains: timing.OpenedChains, point: LayerPoint, call_ms: dict[str, float]) -> list[LayerTiming]:
        timed.append(point.width)
        return time_point(chains, point, call_ms, rounds=3)

    monkeypatch.setattr(timing, "time_point", time_and_count)
    steps = machines.measure_machine()
    while len(timed) < 1:
        assert isinstance(next(steps), Progress)
    steps.close()
    assert machines.profile_of_this_machine() is None
    finished = _finish(machines.measure_machine())
    assert timed == [8, 16]
    assert [own.point for own in finished.timings] == points
    assert all(own.ms > 0 and own.runtime == "eager" for own in finished.timings)
    assert _finish(machines.measure_machine()) == finished == machines.recorded_profile()
    assert timed == [8, 16]


def _finish(steps: object) -> Any:
    while True:
        try:
            next(steps)  # type: ignore[call-overload]
        except StopIteration as done:
            return done.value


def _timing(width: int, form: str, ms: float, speed_up: float) -> LayerTiming:
    point = LayerPoint(kind="conv3", width=width, positions=196, batch=1, macs=9 * 196 * width**2)
    return LayerTiming(
        point=point, runtime="openvino", format=form, ran=form, ms=ms, low_ms=ms, high_ms=ms, speed_up=speed_up,
        noise_low=0.95, noise_high=1.05,
    )  # fmt: skip


def profile() -> MachineProfile:
    speed_ups = {32: 1.2, 64: 0.9, 128: 1.5, 256: 2.5}
    timings = []
    for width, speed_up in speed_ups.items():
        timings += [_timing(width, "float", width**2, 1.0), _timing(width, "int8", width**2 / speed_up, speed_up)]
    return MachineProfile(
        machine={"processor": "none"}, versions={}, measured_at="", threads=1, call_ms={"openvino": 0.1},
        timings=tuple(timings),
    )  # fmt: skip


def test_a_format_pays_from_the_width_above_which_it_is_always_faster() -> None:
    table = break_even_table(profile())
    pays = pays_from(table).set_index("format")
    assert pays.loc["int8", "from_width"] == 128
    assert pays.loc["int8", "best_speed_up"] == 2.5


def test_bfloat16_is_compared_with_float32_of_the_same_engine() -> None:
    halved = [
        own.model_copy(
            update={"runtime": "openvino-bf16", "ms": own.ms / 2, "low_ms": own.ms / 2, "high_ms": own.ms / 2}
        )
        for own in profile().timings
        if own.format == "float"
    ]
    both = profile().model_copy(update={"timings": (*profile().timings, *halved)})
    bf16 = break_even_table(both).query("format == 'bf16'")
    assert list(bf16["speed_up"]) == [2.0] * 4
    assert set(bf16["runtime"]) == {"openvino-bf16"}


def test_a_verdict_names_the_width_and_what_is_gained_or_that_nothing_is() -> None:
    slow = [own if own.format == "float" else own.model_copy(update={"speed_up": 0.8}) for own in profile().timings]
    assert "**int8** in openvino pays from 128 channels: 2.5 × as fast at best." in verdicts(
        break_even_table(profile())
    )
    table = break_even_table(profile().model_copy(update={"timings": tuple(slow)}))
    assert "**int8** in openvino pays at no width that was timed: 0.80 × at best." in verdicts(table)


def test_a_recorded_profile_ships_and_is_told_apart_from_one_of_another_machine() -> None:
    recorded = machines.recorded_profile()
    assert recorded is not None
    assert set(recorded.call_ms) >= {"eager", "openvino", "onnxruntime"}
    assert not machines.is_of_this_machine(recorded.model_copy(update={"machine": {"processor": "another"}}))


def test_half_the_channels_are_compared_with_all_of_them() -> None:
    table = break_even_table(profile())
    pruned = table[table["format"] == CHANNELS]
    assert list(pruned["width"]) == [64, 128, 256]
    assert list(pruned["speed_up"]) == [4.0, 4.0, 4.0]


def test_the_chart_draws_a_line_for_each_format_and_marks_one() -> None:
    table = break_even_table(profile())
    figure = break_even_chart(table)
    assert {trace.name for trace in figure.data} == {"int8, openvino", "channel pruning, openvino"}
    assert any(shape.y0 == shape.y1 == 1 for shape in figure.layout.shapes)
    assert list(figure.data[0].x) == [32, 64, 128, 256]


def test_an_empty_table_is_an_empty_chart() -> None:
    assert not break_even_chart(pd.DataFrame(break_even_table(profile()).iloc[:0])).data
