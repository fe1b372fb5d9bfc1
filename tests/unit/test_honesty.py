import pytest

from gencomp_core.artifact.packing import PackedWeights, pack
from gencomp_core.charts.theme import bytes_text
from gencomp_core.records import TensorCost
from gencomp_core.services.honesty import Honesty, honesty
from gencomp_core.variant import compress
from tests.made import latency
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
    return honesty(costs(weights), size_bytes=weights.size_bytes, dense_size_bytes=DENSE, latency=timed).verdict


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
