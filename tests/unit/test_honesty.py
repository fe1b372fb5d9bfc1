from typing import Any

import pytest

from gencomp_core.artifact.packing import PackedWeights, pack
from gencomp_core.charts.theme import bytes_text
from gencomp_core.records import Latency, TensorCost
from gencomp_core.services.honesty import Honesty, honesty
from gencomp_core.variant import compress
from tests.made import latency, runtime_quality
from tests.tiny import TinyVAE, pruning, quantization, recipe

RECIPES = [
    recipe(),
    recipe(pruning(0.5)),
    recipe(pruning(0.95)),
    recipe(quantization(4, group_size=16, symmetric=False)),
    recipe(pruning(0.7), quantization(3)),
]
DENSE = pack(TinyVAE().model, {}).size_bytes


def packed(chosen: object) -> PackedWeights:
    variant = compress(TinyVAE(), chosen)  # type: ignore[arg-type]
    return pack(variant.model, variant.quantized)


def costs(weights: PackedWeights) -> list[TensorCost]:
    return [TensorCost(**vars(tensor)) for tensor in weights.tensors]


def account(weights: PackedWeights) -> Honesty:
    return honesty(costs(weights), size_bytes=weights.size_bytes, dense_size_bytes=DENSE)


def header_bytes(content: bytes) -> int:
    """Length of a safetensors header with the eight bytes that tell it."""
    return 8 + int.from_bytes(content[:8], "little")


@pytest.mark.parametrize("chosen", RECIPES, ids=lambda chosen: chosen.title())
def test_the_parts_add_up_to_the_file(chosen: object) -> None:
    weights = packed(chosen)
    found = account(weights)
    assert sum(cost.n_bytes for cost in costs(weights)) + header_bytes(weights.content) == len(weights.content)
    assert found.written_bytes == len(weights.content)
    assert found.theoretical_bytes <= found.written_bytes
    assert sum(found.codings.values()) == len(weights.tensors)
    assert sum(cost.dense_bytes for cost in costs(weights)) == 4 * sum(cost.n_values for cost in costs(weights))


def test_the_zeros_of_pruning_are_counted() -> None:
    weights = packed(recipe(pruning(0.5)))
    n_values = sum(tensor.n_values for tensor in weights.tensors)
    assert account(weights).zeros == sum(tensor.n_zeros for tensor in weights.tensors) / n_values
    assert 0.4 < account(weights).zeros < 0.5  # biases and norms stay


def test_dense_weights_gain_nothing() -> None:
    found = account(packed(recipe()))
    assert found.zeros_saved_bytes == found.overhead_bytes == 0
    assert found.codings.keys() == {"dense"}
    assert found.verdict == "0% zeros, no smaller on disk. Speed was not measured."


def test_what_zeros_saved_is_what_the_file_is_smaller_by() -> None:
    dense, pruned = packed(recipe()), packed(recipe(pruning(0.9)))
    written = sum(tensor.n_bytes for tensor in pruned.tensors)
    assert account(pruned).zeros_saved_bytes == sum(tensor.n_bytes for tensor in dense.tensors) - written
    assert "bitmask" in account(pruned).codings or "index" in account(pruned).codings


def test_scales_and_zero_points_are_overhead() -> None:
    coarse = account(packed(recipe(quantization(4, granularity="tensor"))))
    fine = account(packed(recipe(quantization(4, group_size=16, symmetric=False))))
    assert 0 < coarse.overhead_bytes < fine.overhead_bytes


def test_the_verdict_names_the_factor_and_what_zeros_bought() -> None:
    weights = packed(recipe(pruning(0.9)))
    found = account(weights)
    assert f"{DENSE / weights.size_bytes:.1f} × smaller on disk" in found.verdict
    assert f"the zeros account for {bytes_text(found.zeros_saved_bytes)} of that" in found.verdict


def cost(*, bits: int, n_values: int, n_zeros: int, n_bytes: int) -> TensorCost:
    return TensorCost(
        name="w", coding="dense", bits=bits, n_values=n_values, n_zeros=n_zeros, n_bytes=n_bytes,
        overhead_bytes=0, dense_bytes=4 * n_values,
    )  # fmt: skip


def test_the_verdict_says_when_zeros_bought_nothing() -> None:
    assert account(packed(recipe(pruning(0.03)))).verdict.startswith(
        "3% zeros, no smaller on disk; the zeros saved nothing"
    )
    two_bits = cost(bits=2, n_values=800, n_zeros=100, n_bytes=200)
    verdict = honesty([two_bits], size_bytes=300, dense_size_bytes=3300).verdict
    assert verdict.startswith("12% zeros, 11.0 × smaller on disk; the zeros saved nothing.")


def test_zeros_that_saved_too_little_to_be_smaller_account_for_nothing() -> None:
    slightly = cost(bits=32, n_values=1000, n_zeros=50, n_bytes=3940)
    verdict = honesty([slightly], size_bytes=3940, dense_size_bytes=4000).verdict
    assert "no smaller on disk" in verdict
    assert "of that" not in verdict


def verdict_of(**timing: object) -> str:
    weights = packed(recipe(quantization(8)))
    timed = latency(**timing)
    return honesty(costs(weights), size_bytes=weights.size_bytes, dense_size_bytes=DENSE, latencies=[timed]).verdict


def test_a_tie_is_called_no_faster() -> None:
    assert "It is no faster in eager (the difference is within this machine's noise)" in verdict_of(verdict="tie")


@pytest.mark.parametrize(("ratio", "verdict", "words"), [(0.5, "faster", "2.00 ×"), (1.25, "slower", "0.80 ×")])
def test_a_difference_is_told_as_a_factor_of_speed(ratio: float, verdict: str, words: str) -> None:
    assert f"It is {words} the speed of dense in eager" in verdict_of(ratio=ratio, verdict=verdict)


def test_another_runtime_says_what_ran_there() -> None:
    told = verdict_of(ratio=0.5, verdict="faster", runtime="openvino", ran="int8 × 4, float × 2")
    assert "2.00 × the speed of dense in openvino: what ran is int8 × 4, float × 2." in told
    assert "zeros and small integers run as ordinary floats there" in verdict_of(ratio=0.5, verdict="faster")


def test_nothing_is_said_of_speed_when_the_machine_was_busy() -> None:
    assert "× the speed" not in verdict_of(ratio=0.5, verdict="unclear", busy=True)


def test_no_tensors_are_no_division_by_zero() -> None:
    assert honesty([], size_bytes=8, dense_size_bytes=8).zeros == 0


# What usually helps


def many_zeros(**fields: Any) -> Honesty:
    """Seven in ten weights are zero, and the file is that much smaller."""
    tensor = cost(bits=8, n_values=1000, n_zeros=700, n_bytes=425)
    return honesty([tensor], **({"size_bytes": 450, "dense_size_bytes": 4000} | fields))


def helped(account: Honesty, words: str) -> bool:
    return any(words in remedy for remedy in account.remedies)


def openvino(**changes: Any) -> Latency:
    return latency(**({"runtime": "openvino", "ran": "int8 × 4"} | changes))


def test_zeros_that_nothing_skips_lead_to_channels() -> None:
    assert helped(many_zeros(latencies=[latency()]), "No runtime here skips zeros")
    assert not helped(many_zeros(latencies=[latency()], macs=50, dense_macs=100), "No runtime here skips zeros")
    assert not helped(many_zeros(), "No runtime here skips zeros"), "speed was not measured"


def test_zeros_that_save_no_bytes_are_named() -> None:
    stored = cost(bits=2, n_values=1000, n_zeros=100, n_bytes=250)
    assert helped(honesty([stored], size_bytes=300, dense_size_bytes=4000), "10% zeros lie in a dense file")
    assert not helped(many_zeros(), "lie in a dense file")


def test_a_runtime_model_that_writes_zeros_out_is_named() -> None:
    assert helped(many_zeros(qualities=[runtime_quality(size_bytes=1000)]), "The model for openvino writes every zero")
    assert not helped(many_zeros(qualities=[runtime_quality(size_bytes=460)]), "writes every zero")


def test_integers_that_run_as_floats_lead_to_another_runtime() -> None:
    small = packed(recipe(quantization(8)))
    sizes = {"size_bytes": small.size_bytes, "dense_size_bytes": DENSE}
    assert helped(honesty(costs(small), latencies=[latency()], **sizes), "--runtime openvino")
    assert not helped(honesty(costs(small), latencies=[latency(), openvino()], **sizes), "--runtime openvino")
    assert not helped(account(packed(recipe())), "--runtime openvino")


@pytest.mark.parametrize(
    ("ran", "advice"),
    [
        ("int8 weights × 4", "Add activation-quantization"),
        ("int8 weights (from 4 bits) × 4", "Below 8 bits openvino runs 8 bits"),
        ("int8 (from 4 bits) × 4", "Below 8 bits openvino runs 8 bits"),
    ],
)
def test_what_ran_says_what_to_change(ran: str, advice: str) -> None:
    assert helped(many_zeros(latencies=[openvino(ran=ran)]), advice)
    assert not helped(many_zeros(latencies=[openvino(ran="int8 × 4")]), advice)


def test_multiplications_that_save_no_time_are_named() -> None:
    fewer = {"macs": 40, "dense_macs": 100}
    assert helped(many_zeros(latencies=[latency()], **fewer), "60% of the multiplications are gone")
    faster = latency(verdict="faster", ratio=0.5)
    assert not helped(many_zeros(latencies=[faster], **fewer), "multiplications are gone")


def test_the_table_sets_paper_beside_fact() -> None:
    told = many_zeros(
        transport_bytes=440, macs=40, dense_macs=100, latencies=[latency(), openvino()], qualities=[runtime_quality()]
    )
    size, eager, graph, quality = told.rows
    assert (size.on_paper, size.really) == (
        "70% zeros; the other values alone 300 B",
        "450 B written, 440 B after zstd; dense 4 kB",
    )
    assert eager.on_paper == "40 multiplications, -60% of dense"
    assert (eager.what, graph.what, quality.what) == ("speed in eager", "speed in openvino", "FID in openvino")
    assert graph.really.startswith("2.00 ms a sample; dense 2.00 there")
    assert quality.really == "10.00 [9.50, 10.50], the same by its own samples (±0.2)"


def test_what_was_not_measured_is_called_so() -> None:
    size, speed = many_zeros().rows
    assert "not measured after zstd" in size.really
    assert (speed.what, speed.really) == ("speed", "not measured")
