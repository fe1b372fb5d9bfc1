import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from gencomp_core.artifact import sparse
from gencomp_core.artifact.bits import pack_bits, packed_bytes, unpack_bits
from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.compression.draft import Draft
from gencomp_core.errors import ArtifactError
from gencomp_core.models.diffusion import FlowUNet, UNetConfig
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import Variant, compress
from tests.tiny import (
    Bare,
    Layers,
    TinyDiffusion,
    TinyVAE,
    layers,
    pruning,
    quantization,
    randomise_,
    recipe,
    same_bits,
)

# --- bits


@given(st.integers(1, 32).flatmap(lambda b: st.tuples(st.just(b), st.lists(st.integers(0, 2**b - 1), max_size=70))))
def test_packed_bits_come_back(case: tuple[int, list[int]]) -> None:
    bits, values = case
    packed = pack_bits(np.array(values, np.uint32), bits)
    assert packed.dtype == np.uint8
    assert packed.size == packed_bytes(len(values), bits) == -(-len(values) * bits // 8)
    assert unpack_bits(packed, bits, len(values)).tolist() == values


def test_the_lowest_bit_comes_first() -> None:
    assert pack_bits(np.array([0b001, 0b110, 0b011]), 3).tolist() == [0b11_110_001, 0b0]


# --- sparse codings

patterns = st.one_of(
    st.lists(st.booleans(), max_size=300),
    st.integers(1, 3000).flatmap(
        lambda n: st.sets(st.integers(0, n - 1), max_size=5).map(lambda ones: [i in ones for i in range(n)])
    ),
).map(lambda flags: np.array(flags, bool))


@given(patterns, st.sampled_from(sparse.GAP_BITS))
def test_gaps_come_back(nonzero: np.ndarray, gap_bits: int) -> None:
    packed, positions = sparse.encode_gaps(nonzero, gap_bits)
    assert sparse.decode_gaps(packed, gap_bits, positions.size).tolist() == positions.tolist()
    assert set(np.flatnonzero(nonzero)) <= set(positions)
    fillers = np.setdiff1d(positions, np.flatnonzero(nonzero))
    assert fillers.size == positions.size - nonzero.sum()


def test_a_long_gap_is_bridged_by_a_filler() -> None:
    nonzero = np.zeros(6, bool)
    nonzero[5] = True
    packed, positions = sparse.encode_gaps(nonzero, 2)  # five zeros, but a gap holds three at most
    assert positions.tolist() == [3, 5]
    assert packed.tolist() == [0b01_11]


def encoded_bytes(nonzero: np.ndarray, value_bits: int) -> dict[tuple[str, int], int]:
    """Bytes of each coding, by really encoding."""

    def n_bytes(values: int, *positions: np.ndarray) -> int:
        return pack_bits(np.zeros(values, np.uint32), value_bits).size + sum(each.size for each in positions)

    found = {
        ("dense", 0): n_bytes(nonzero.size),
        ("bitmask", 0): n_bytes(int(nonzero.sum()), np.packbits(nonzero)),
    }
    for gap_bits in sparse.GAP_BITS:
        packed, positions = sparse.encode_gaps(nonzero, gap_bits)
        found["index", gap_bits] = n_bytes(positions.size, packed)
    return found


@given(patterns, st.sampled_from([2, 4, 8, 32]))
def test_the_cheapest_coding_is_the_smallest_of_all(nonzero: np.ndarray, value_bits: int) -> None:
    choice = sparse.cheapest(nonzero, value_bits)
    found = encoded_bytes(nonzero, value_bits)
    assert choice.n_bytes == found[choice.coding, choice.gap_bits] == min(found.values())


@pytest.mark.parametrize(("n_nonzero", "coding"), [(1000, "dense"), (500, "bitmask"), (10, "index")])
def test_each_coding_has_its_sparsity(n_nonzero: int, coding: str) -> None:
    nonzero = np.zeros(1000, bool)
    nonzero[np.random.default_rng(0).permutation(1000)[:n_nonzero]] = True
    assert sparse.cheapest(nonzero, 4).coding == coding


# --- weights files

RECIPES = {
    "dense": recipe(),
    "prune a little": recipe(pruning(0.1)),
    "prune half": recipe(pruning(0.5)),
    "prune nearly all": recipe(pruning(0.98)),
    "prune globally": recipe(pruning(0.9, scope="global")),
    "8 bits": recipe(quantization(8)),
    "2 bits": recipe(quantization(2)),
    "5 bits per tensor": recipe(quantization(5, granularity="tensor")),
    "4 bits in groups that do not divide": recipe(quantization(4, group_size=7)),
    "affine": recipe(quantization(6, symmetric=False)),
    "affine in groups": recipe(quantization(3, symmetric=False, group_size=10)),
    "affine per tensor": recipe(quantization(4, symmetric=False, granularity="tensor")),
    "clipped": recipe(quantization(3, clipping="mse")),
    "prune, quantize": recipe(pruning(0.6), quantization(4)),
    "prune, quantize affine in groups": recipe(pruning(0.95), quantization(4, symmetric=False, group_size=9)),
    "prune, quantize affine per tensor": recipe(pruning(0.7), quantization(8, symmetric=False, granularity="tensor")),
    "quantize, prune": recipe(quantization(4), pruning(0.9)),
    "quantize affine, prune": recipe(quantization(5, symmetric=False, group_size=12), pruning(0.5)),
    "1 bit": recipe(quantization(1)),
    "prune, 1 bit": recipe(pruning(0.5), quantization(1)),
    "1 bit in groups, prune nearly all": recipe(quantization(1, group_size=9), pruning(0.98)),
    "1 bit, affine": recipe(quantization(1, symmetric=False)),
    "ternary": recipe(quantization(2, clipping="ternary")),
    "prune, ternary in groups": recipe(pruning(0.8), quantization(2, clipping="ternary", group_size=11)),
    "float16": recipe({"kind": "float-format", "format": "float16"}),
    "prune, bfloat16": recipe(pruning(0.7), {"kind": "float-format", "format": "bfloat16"}),
    "FP8": recipe({"kind": "float-format", "format": "float8_e4m3fn"}),
    "FP8, prune": recipe({"kind": "float-format", "format": "float8_e4m3fn"}, pruning(0.9)),
    "NF4": recipe({"kind": "float-format", "format": "nf4"}),
    "NF4, prune": recipe({"kind": "float-format", "format": "nf4"}, pruning(0.6)),
    "NF4, some FP8": recipe({"kind": "float-format", "format": "nf4", "layers": {"*1*": {"format": "float8_e4m3fn"}}}),
    "mixed overrides": recipe(
        pruning(0.5, layers={"*conv*": {"sparsity": 0.9}, "*out*": {"skip": True}}),
        quantization(
            4, layers={"*out*": {"bits": 8}, "*emb*": {"skip": True}, "*1*": {"group_size": 8, "symmetric": False}}
        ),
    ),
}
WORKLOADS = {workload.name: workload for workload in (TinyDiffusion(), TinyVAE(), Bare())}


def assert_unpacks_exactly(variant: Variant, empty: nn.Module) -> None:
    packed = pack(variant.model, variant.quantized)
    codes = unpack_into(packed.content, empty).quantized
    expected = variant.model.state_dict()
    assert [name for name, value in empty.state_dict().items() if not same_bits(value, expected[name])] == []
    assert codes.keys() == variant.quantized.keys()
    for name, quantized in variant.quantized.items():
        assert same_bits(codes[name].codes, quantized.codes)
        assert same_bits(codes[name].scale, quantized.scale)
        assert same_bits(codes[name].dequantize(), quantized.dequantize())
    assert pack(empty, codes).content == packed.content


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
@pytest.mark.parametrize("of", RECIPES.values(), ids=RECIPES)
def test_what_is_packed_unpacks_bit_for_bit(workload: Bare, of: Recipe) -> None:
    assert_unpacks_exactly(compress(workload, of), randomise_(workload.empty_network(), 9))


@given(
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 8),
    st.booleans(),
    st.none() | st.integers(2, 40),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_recipe_unpacks_bit_for_bit(
    sparsity: float, bits: int, symmetric: bool, group_size: int | None, prune_first: bool, seed: int
) -> None:
    stages = [pruning(sparsity), quantization(bits, symmetric=symmetric, group_size=group_size)]
    variant = compress(Bare(layers(seed)), recipe(*(stages if prune_first else stages[::-1])))
    assert_unpacks_exactly(variant, Layers())


@pytest.mark.parametrize("of", RECIPES.values(), ids=RECIPES)
def test_packing_twice_gives_the_same_bytes(of: Recipe) -> None:
    first, second = compress(Bare(), of), compress(Bare(layers()), of)
    assert pack(first.model, first.quantized).content == pack(second.model, second.quantized).content


def test_the_size_is_the_length_of_the_file(tmp_path: Path) -> None:
    for of in RECIPES.values():
        variant = compress(TinyDiffusion(), of)
        packed = pack(variant.model, variant.quantized)
        path = tmp_path / "weights.safetensors"
        path.write_bytes(packed.content)
        assert packed.size_bytes == path.stat().st_size
        header_bytes = 8 + int.from_bytes(packed.content[:8], "little")
        assert packed.size_bytes == header_bytes + sum(tensor.n_bytes for tensor in packed.tensors)


def test_every_tensor_is_accounted_for() -> None:
    variant = compress(TinyDiffusion(), recipe(pruning(0.9), quantization(4)))
    tensors = {tensor.name: tensor for tensor in pack(variant.model, variant.quantized).tensors}
    state = variant.model.state_dict()
    assert tensors.keys() == state.keys()
    for name, value in state.items():
        assert tensors[name].n_values == value.numel()
        assert tensors[name].n_zeros == int((value == 0).sum())
        assert tensors[name].dense_bytes == 4 * value.numel()
        assert tensors[name].bits == (4 if name.removesuffix(".weight") in variant.quantized else 32)


def test_four_bits_take_half_a_byte_a_weight() -> None:
    variant = compress(TinyDiffusion(), recipe(quantization(4)))
    tensor = next(t for t in pack(variant.model, variant.quantized).tensors if t.name == "down0.0.block.conv1.weight")
    assert tensor.coding == "dense"
    assert tensor.n_bytes == tensor.n_values // 2 + 2 * 16  # and 16 float16 scales


def bytes_of(stages: list[dict], name: str = "down0.0.block.conv1.weight") -> tuple[int, int, int]:
    """Bytes of a tensor of the diffusion model without those of its scales; its weights and its zeros."""
    variant = compress(TinyDiffusion(), recipe(*stages))
    tensor = next(t for t in pack(variant.model, variant.quantized).tensors if t.name == name)
    return tensor.n_bytes - tensor.overhead_bytes, tensor.n_values, tensor.n_zeros


@pytest.mark.parametrize(
    ("stage", "bits"),
    [
        (quantization(1), 1),
        (quantization(6), 6),
        ({"kind": "float-format", "format": "float16"}, 16),
        ({"kind": "float-format", "format": "bfloat16"}, 16),
        ({"kind": "float-format", "format": "float8_e4m3fn"}, 8),
        ({"kind": "float-format", "format": "nf4"}, 4),
    ],
)
def test_every_format_takes_its_true_width(stage: dict, bits: int) -> None:
    n_bytes, n_values, _ = bytes_of([stage])
    assert n_bytes == -(-n_values * bits // 8)


@pytest.mark.parametrize(
    "stages", [[pruning(0.5), quantization(1)], [quantization(1), pruning(0.5)], [quantization(2, clipping="ternary")]]
)
def test_signs_with_zeros_take_a_mask_and_a_bit_for_each_that_is_none(stages: list[dict]) -> None:
    n_bytes, n_values, n_zeros = bytes_of(stages)
    assert n_zeros > 0.3 * n_values
    assert n_bytes == -(-n_values // 8) + -(-(n_values - n_zeros) // 8)


@pytest.mark.parametrize(("name", "n_scales"), [("float16", 0), ("bfloat16", 0), ("float8_e4m3fn", 16), ("nf4", 48)])
def test_scales_of_float_formats_are_counted(name: str, n_scales: int) -> None:
    variant = compress(TinyDiffusion(), recipe({"kind": "float-format", "format": name}))
    packed = pack(variant.model, variant.quantized)
    tensor = next(t for t in packed.tensors if t.name == "down0.0.block.conv1.weight")
    assert tensor.n_values == 16 * 16 * 9
    assert tensor.overhead_bytes == 2 * n_scales


def test_a_shared_weight_is_stored_once() -> None:
    variant = compress(Bare(), recipe(quantization(4)))
    packed = pack(variant.model, variant.quantized)
    assert [t.name for t in packed.tensors if t.name in ("tokens.weight", "head.weight")] == ["tokens.weight"]
    assert not any(name.startswith("head.weight") for name in load(packed.content))
    network = Layers()
    unpack_into(packed.content, network)
    assert network.head.weight is network.tokens.weight
    assert same_bits(network.head.weight, variant.model.get_submodule("tokens").weight)


@pytest.mark.parametrize("of", RECIPES.values(), ids=RECIPES)
def test_no_weight_is_negative_zero(of: Recipe) -> None:
    for name, value in compress(TinyDiffusion(), of).model.named_parameters():
        assert not torch.signbit(value[value == 0]).any(), name


def test_a_negative_zero_of_the_dense_model_comes_back() -> None:
    model = layers()
    model.linear.weight[0, 0] = -0.0
    model.linear.bias[:] = 0.0
    model.linear.bias[1] = -0.0
    network = Layers()
    unpack_into(pack(model, {}).content, network)
    assert same_bits(network.linear.weight, model.linear.weight)
    assert same_bits(network.linear.bias, model.linear.bias)


def test_other_types_than_float32_come_back() -> None:
    model = nn.Sequential(nn.Linear(3, 4).half(), nn.BatchNorm1d(4))
    model[1].num_batches_tracked += 7
    network = nn.Sequential(nn.Linear(3, 4).half(), nn.BatchNorm1d(4))
    unpack_into(pack(model, {}).content, network)
    assert same_bits(network[0].weight, model[0].weight)
    assert int(network[1].num_batches_tracked) == 7


def test_channels_last_weights_come_back() -> None:
    model = layers().to(memory_format=torch.channels_last)
    network = Layers()
    unpack_into(pack(model, {}).content, network)
    assert same_bits(network.conv2d.weight, model.conv2d.weight)


# --- damaged files


def pruned_4_bit() -> bytes:
    variant = compress(Bare(), recipe(pruning(0.8), quantization(4)))
    return pack(variant.model, variant.quantized).content


def artifact_line(content: bytes, network: nn.Module) -> str:
    with pytest.raises(ArtifactError) as caught:
        unpack_into(content, network)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, -1])
def test_a_truncated_file_is_damaged(kept: float) -> None:
    content = pruned_4_bit()
    cut = content[: kept if isinstance(kept, int) else int(kept * len(content))]
    assert "the weights file is damaged" in artifact_line(cut, Layers())


@pytest.mark.parametrize("content", [b"GIF89a" * 50, b"\x02" + bytes(7) + b"{}", save({"weight": torch.ones(2)})])
def test_another_kind_of_file_is_no_weights_file(content: bytes) -> None:
    assert "the weights file" in artifact_line(content, Layers())


def header_bytes_of(content: bytes) -> range:
    return range(8, 8 + int.from_bytes(content[:8], "little"))


@pytest.mark.parametrize("position", [0, 1, 7, 8, 9, 20])
def test_a_flipped_byte_at_the_start_is_damage(position: int) -> None:
    content = bytearray(pruned_4_bit())
    content[position] ^= 0x80
    assert "the weights file is damaged" in artifact_line(bytes(content), Layers())


def test_a_header_that_is_a_list_is_damage() -> None:
    assert "the weights file is damaged" in artifact_line(b"\x02" + bytes(7) + b"[]", Layers())


@cache
def flips_of_the_header(content: bytes) -> dict[int, str | Layers]:
    """What comes of flipping one bit of each byte of the header: a network, an error line, or a bug."""
    outcomes: dict[int, str | Layers] = {}
    for position in header_bytes_of(content):
        flipped = bytearray(content)
        flipped[position] ^= 0x01
        network = Layers()
        try:
            unpack_into(bytes(flipped), network)
            outcomes[position] = network
        except ArtifactError as error:
            outcomes[position] = str(error)
        except Exception as error:  # noqa: BLE001 (the claim is that nothing else comes out)
            outcomes[position] = f"leaked: {error!r}"
    return outcomes


def test_a_flipped_bit_in_the_header_leaks_no_other_error() -> None:
    lines = {place: found for place, found in flips_of_the_header(pruned_4_bit()).items() if isinstance(found, str)}
    assert len(lines) > 1000
    assert {place: line for place, line in lines.items() if line.startswith("leaked") or "\n" in line} == {}


def test_a_flipped_bit_in_the_header_never_loads_as_other_weights() -> None:
    content, intact = pruned_4_bit(), Layers()
    unpack_into(content, intact)
    expected = intact.state_dict()
    loaded = [found.state_dict() for found in flips_of_the_header(content).values() if isinstance(found, Layers)]
    changed = [state for state in loaded if any(not same_bits(state[name], expected[name]) for name in expected)]
    assert changed == []


def test_another_format_is_named() -> None:
    content = pruned_4_bit().replace(b"gencomp-1", b"gencomp-9")
    line = artifact_line(content, Layers())
    assert "must have format gencomp-1, got gencomp-9" in line


def test_weights_of_another_shape_name_the_tensor() -> None:
    network = FlowUNet(UNetConfig(channels=(16, 32)))
    variant = compress(TinyDiffusion(), recipe())
    line = artifact_line(pack(variant.model, {}).content, network)
    assert "does not fit the network at time_in.weight" in line
    assert "(32, 16) in the file, (64, 16) in the network" in line


def test_weights_of_another_network_name_the_tensor() -> None:
    line = artifact_line(pack(TinyVAE().model, {}).content, Layers())
    assert "does not fit the network at tokens.weight" in line


def test_weights_of_a_deeper_network_do_not_fit() -> None:
    deeper = randomise_(FlowUNet(UNetConfig(channels=(16, 16), depth=2)), 0)
    artifact_line(pack(deeper, {}).content, TinyDiffusion().empty_network())


def test_a_file_that_does_not_fit_leaves_the_network_alone() -> None:
    network = layers(5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    content = pack(TinyVAE().model, {}).content
    artifact_line(content, network)
    assert all(same_bits(value, before[name]) for name, value in network.state_dict().items())


def test_the_header_is_json_with_one_key() -> None:
    content = pruned_4_bit()
    fields = json.loads(content[header_bytes_of(content).start : header_bytes_of(content).stop])
    assert list(fields["__metadata__"]) == ["gencomp"]
    assert json.loads(fields["__metadata__"]["gencomp"])["format"] == "gencomp-1"


def test_a_draft_says_which_integers_the_model_runs_with() -> None:
    draft = Draft.of(Bare())
    variant = compress(Bare(), recipe(quantization(3, symmetric=False)))
    for name, quantized in variant.quantized.items():
        draft.quantize_(name, quantized)
        assert same_bits(draft.layers[name].weight, quantized.dequantize())
