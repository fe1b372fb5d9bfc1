"""Weights at their true width in one safetensors file; packing and unpacking are exact.

Every tensor is stored in the cheapest of three codings (`sparse.py`), which the header names:
quantized weights as codes of their own width with float16 scales and packed zero points, all
others as the floats that they are. Codes that are -1, 0 and 1 may be a mask of the non-zeros and
their signs, one bit each. `size_bytes` everywhere is the length of this file.
"""

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from gencomp_core.artifact import sparse
from gencomp_core.artifact.bits import pack_bits, packed_bytes, unpack_bits
from gencomp_core.compression.changes import CHANGES, Change
from gencomp_core.compression.layers import is_transposed, weight_layers
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.errors import ArtifactError, UnknownNameError
from gencomp_core.recipes.formats import FloatFormat, IntegerFormat, NumberFormat
from gencomp_core.records import TensorCost

FORMAT = "gencomp-1"

_SIGNED = np.array([-1, 1, 0], np.int16)  # of codes that are signs: negative, positive, and what no sign is stored for
_NO_SIGN = 2


@dataclass(frozen=True)
class PackedWeights:
    """A weights file in memory.

    Attributes:
        content: bytes of the safetensors file.
        tensors: how each tensor was written.
    """

    content: bytes
    tensors: tuple[TensorCost, ...]

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return len(self.content)


@dataclass(frozen=True)
class Unpacked:
    """What stands behind the weights of a filled network.

    Attributes:
        quantized: integers of the quantized weights, by layer name.
        changes: what was done to the network beyond its weights, in order.
    """

    quantized: dict[str, QuantizedWeight]
    changes: tuple[Change, ...]


def pack(model: nn.Module, quantized: Mapping[str, QuantizedWeight], changes: Sequence[Change] = ()) -> PackedWeights:
    """Write the state of a model, with `quantized` weights (by layer name) as integers."""
    parts: dict[str, Tensor] = {}
    layouts: dict[str, Any] = {}
    tensors = []
    for name, value in _own_tensors(model).items():
        layer = name.removesuffix(".weight")
        own: dict[str, Tensor] = {}
        if layer in quantized and name.endswith(".weight"):
            layout, described = _pack_quantized(name, quantized[layer].cpu(), own)
        else:
            layout, described = _pack_float(name, value.cpu(), own)
        if layout:
            layouts[name] = layout
        parts |= own
        sizes = {part: tensor.numel() * tensor.element_size() for part, tensor in own.items()}
        overhead = sum(size for part, size in sizes.items() if part.endswith((".scale", ".zero_point")))
        coding, bits, n_zeros = described
        tensors.append(
            TensorCost(
                name=name,
                coding=coding,
                bits=bits,
                n_values=value.numel(),
                n_zeros=n_zeros,
                n_bytes=sum(sizes.values()),
                overhead_bytes=overhead,
                dense_bytes=value.numel() * value.element_size(),
            )
        )
    # One key only: safetensors writes several in an order that changes from file to file.
    made = [{"kind": change.kind, **change.fields()} for change in changes]
    fields: dict[str, Any] = {"format": FORMAT, "sha256": _digest(parts, layouts, made), "layout": layouts}
    fields |= {"changes": made} if made else {}
    header = json.dumps(fields, separators=(",", ":"))
    return PackedWeights(save(parts, metadata={"gencomp": header}), tuple(tensors))


def weight_bytes(weight: Tensor, quantized: QuantizedWeight | None = None) -> int:
    """Bytes that `pack` writes for one weight, without its share of the header; nothing is encoded for it.

    Args:
        weight: any shape.
        quantized: its integers, where it has some.
    """
    if quantized is None:
        value = weight.cpu()
        if value.dtype != torch.float32:
            return value.numel() * value.element_size()
        return sparse.cheapest(value.contiguous().numpy().reshape(-1).view(np.uint32) != 0, 32).n_bytes
    own = quantized.cpu()
    number = own.format
    nonzero = ~own.zero_codes.numpy().reshape(-1)
    choice = sparse.cheapest(nonzero, number.bits)
    n_bytes = (_as_signs(number, nonzero, choice) or choice).n_bytes
    if isinstance(number, IntegerFormat) or number.is_scaled:
        n_bytes += own.scale.numel() * own.scale.element_size()
    return n_bytes + (0 if own.zero_point is None else packed_bytes(own.zero_point.numel(), number.bits))


def unpack_into(content: bytes, network: nn.Module) -> Unpacked:
    """Change and fill an empty network of the dense shape from a weights file.

    Raises:
        ArtifactError: the file is damaged or belongs to another network.
    """
    try:
        header = _header(content)
        parts = load(content)
        if header["format"] != FORMAT:
            raise ArtifactError(f"the weights file must have format {FORMAT}, got {header['format']}. Export it again.")
        layouts = dict(header["layout"])
        made = list(header.get("changes", []))
        if header["sha256"] != _digest(parts, layouts, made):
            raise ArtifactError("the weights file is damaged (its content has another checksum). Export it again.")
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"the weights file is damaged ({error}). Export the artifact again.") from None
    changes = _change(network, made)
    layers = weight_layers(network)
    quantized, state = {}, {}
    for name, target in _own_tensors(network).items():
        layout = layouts.get(name)
        try:
            if layout is None:
                state[name] = parts[name]
            elif "zero" in layout or "format" in layout:
                layer = name.removesuffix(".weight")
                quantized[layer] = _unpack_quantized(name, layout, parts, target, is_transposed(layers[layer]))
                state[name] = quantized[layer].dequantize()
            else:
                state[name] = torch.from_numpy(_decode(name, layout, parts, target.numel(), 32, 0))
                state[name] = state[name].view(torch.float32).reshape(target.shape)
        except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
            raise ArtifactError(f"the weights file does not fit the network at {name} ({error}).") from None
        if state[name].shape != target.shape:
            raise ArtifactError(
                f"the weights file does not fit the network at {name}: "
                f"{tuple(state[name].shape)} in the file, {tuple(target.shape)} in the network."
            )
    stray = [part for part in parts if not _belongs(part, state)]
    if stray:
        raise ArtifactError(f"the weights file does not fit the network, which has no {stray[0]}. Use the file's own.")
    with torch.no_grad():
        for name, target in _own_tensors(network).items():
            target.copy_(state[name])
    return Unpacked(quantized, changes)


def _change(network: nn.Module, made: list[dict[str, Any]]) -> tuple[Change, ...]:
    """Make the changes of a weights file on the network."""
    changes = []
    for fields in made:
        try:
            change = CHANGES[fields["kind"]].restore({key: value for key, value in fields.items() if key != "kind"})
            change.apply_(network)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, UnknownNameError) as error:
            raise ArtifactError(f"the weights file holds a change that can't be made ({error}).") from None
        changes.append(change)
    return tuple(changes)


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, a shared one once, under its first name."""
    seen: set[int] = set()
    own = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            own[name] = value.detach()
    return own


def _digest(parts: dict[str, Tensor], layouts: dict[str, Any], changes: list[dict[str, Any]]) -> str:
    """Hex SHA-256 of all that the file holds."""
    described = [layouts, changes] if changes else layouts
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(parts):
        digest.update(f"{name} {parts[name].dtype} {tuple(parts[name].shape)}".encode())
        digest.update(parts[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _belongs(part: str, names: Container[str]) -> bool:
    """Whether a stored part is one of these tensors, or a piece of one (`.values`, `.scale`, ...)."""
    return part in names or part.rpartition(".")[0] in names


def _header(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    fields = json.loads(content[8 : 8 + length])
    header: dict[str, Any] = json.loads(fields.get("__metadata__", {}).get("gencomp", "{}"))
    return header


def _pack_float(name: str, value: Tensor, parts: dict[str, Tensor]) -> tuple[dict[str, Any], tuple[str, int, int]]:
    bits = 8 * value.element_size()
    if value.dtype != torch.float32:
        parts[name] = value.contiguous()
        return {}, ("dense", bits, int((value == 0).sum()))
    flat = value.contiguous().numpy().reshape(-1)
    raw = flat.view(np.uint32)
    nonzero = raw != 0  # -0.0 counts as a value, so that it comes back
    n_zeros = int((flat == 0).sum())
    choice = sparse.cheapest(nonzero, 32)
    if choice.coding == "dense":
        parts[name] = value.contiguous()
        return {}, ("dense", 32, n_zeros)
    return _encode(name, raw, nonzero, choice, 32, parts), (choice.coding, 32, n_zeros)


def _pack_quantized(
    name: str, weight: QuantizedWeight, parts: dict[str, Tensor]
) -> tuple[dict[str, Any], tuple[str, int, int]]:
    number, bits = weight.format, weight.format.bits
    nonzero = ~weight.zero_codes.numpy().reshape(-1)
    codes = weight.codes.numpy().reshape(-1)
    choice = sparse.cheapest(nonzero, bits)
    if as_signs := _as_signs(number, nonzero, choice):
        choice = as_signs
        layout = _encode(name, (codes > 0).astype(np.uint32), nonzero, choice, 1, parts) | {"value_bits": 1}
    else:
        unsigned = (codes.astype(np.int32) - _lowest(number)).astype(np.uint32) & np.uint32((1 << bits) - 1)
        layout = _encode(name, unsigned, nonzero, choice, bits, parts)
    if isinstance(number, FloatFormat):
        layout |= {"format": number.name}
    else:
        layout |= {"bits": bits, "zero": "symmetric" if number.symmetric else "affine"}
    if isinstance(number, IntegerFormat) or number.is_scaled:
        parts[f"{name}.scale"] = weight.scale.contiguous()
    if weight.zero_point is not None:
        packed = pack_bits(weight.zero_point.numpy().reshape(-1), bits)
        parts[f"{name}.zero_point"] = torch.from_numpy(packed)
    if weight.group_size < weight.codes.shape[1]:
        layout["group_size"] = weight.group_size
    return layout, (layout["coding"], bits, int((~nonzero).sum()))


def _as_signs(format: NumberFormat, nonzero: np.ndarray, otherwise: sparse.Choice) -> sparse.Choice | None:
    """How codes of -1, 0 and 1 are stored as signs, where that is cheaper, or the only way to keep binary zeros."""
    if isinstance(format, FloatFormat) or not format.symmetric or format.highest > 1:
        return None
    n, n_nonzero = nonzero.size, int(np.count_nonzero(nonzero))
    if format.is_binary and n_nonzero == n:
        return sparse.Choice("dense", 0, packed_bytes(n, 1))
    signs = sparse.Choice("bitmask", 0, packed_bytes(n, 1) + packed_bytes(n_nonzero, 1))
    return signs if format.is_binary or signs.n_bytes < otherwise.n_bytes else None


def _lowest(format: NumberFormat) -> int:
    """What is taken from a code to make it unsigned; codes of floats are their bits."""
    return 0 if isinstance(format, FloatFormat) else format.lowest


def _unpack_quantized(
    name: str, layout: dict[str, Any], parts: dict[str, Tensor], target: Tensor, transposed: bool
) -> QuantizedWeight:
    number = _number_format(layout)
    n_rows = target.shape[1] if transposed else target.shape[0]
    n_columns = target.numel() // n_rows
    scaled = isinstance(number, IntegerFormat) or number.is_scaled
    scale = parts[f"{name}.scale"] if scaled else torch.ones(1, 1, dtype=torch.float16)
    zero_point = None
    if isinstance(number, IntegerFormat) and not number.symmetric:
        points = unpack_bits(parts[f"{name}.zero_point"].numpy(), number.bits, scale.numel())
        zero_point = torch.from_numpy(points.astype(np.int16)).reshape(scale.shape)
    zeros = QuantizedWeight(
        codes=torch.zeros(n_rows, n_columns, dtype=torch.int16),
        scale=scale,
        zero_point=zero_point,
        format=number,
        group_size=layout.get("group_size", n_columns),
        shape=target.shape,
        transposed=transposed,
    ).with_zeros(torch.zeros(target.shape, dtype=torch.bool))
    if "value_bits" in layout:
        codes = _SIGNED[_decode(name, layout, parts, target.numel(), layout["value_bits"], _NO_SIGN)]
    else:
        background = (zeros.codes.numpy().reshape(-1) - _lowest(number)).astype(np.uint32)
        unsigned = _decode(name, layout, parts, target.numel(), number.bits, background)
        codes = unsigned.astype(np.int16) + np.int16(_lowest(number))
    return replace(zeros, codes=torch.from_numpy(codes).reshape(n_rows, n_columns))


def _number_format(layout: dict[str, Any]) -> NumberFormat:
    if "format" in layout:
        return FloatFormat(layout["format"])
    return IntegerFormat(layout["bits"], layout["zero"] == "symmetric")


def _encode(
    name: str, values: np.ndarray, nonzero: np.ndarray, choice: sparse.Choice, bits: int, parts: dict[str, Tensor]
) -> dict[str, Any]:
    """Add the parts of one tensor in the chosen coding, and describe it."""
    if choice.coding == "bitmask":
        parts[f"{name}.mask"] = torch.from_numpy(np.packbits(nonzero, bitorder="little"))
        stored = values[nonzero]
    elif choice.coding == "index":
        packed, positions = sparse.encode_gaps(nonzero, choice.gap_bits)
        parts[f"{name}.gaps"] = torch.from_numpy(packed)
        stored = values[positions]
    else:
        stored = values
    parts[f"{name}.values"] = torch.from_numpy(pack_bits(stored, bits))
    layout: dict[str, Any] = {"coding": choice.coding}
    if choice.coding == "index":
        layout |= {"gap_bits": choice.gap_bits, "n": len(stored)}
    return layout


def _decode(
    name: str, layout: dict[str, Any], parts: dict[str, Tensor], n: int, bits: int, background: np.ndarray | int
) -> np.ndarray:
    """Inverse of `_encode`: (n,) uint32; `background` is what a zero is stored as."""
    values = parts[f"{name}.values"].numpy()
    if layout["coding"] == "dense":
        return unpack_bits(values, bits, n)
    if layout["coding"] == "bitmask":
        places: np.ndarray = np.unpackbits(parts[f"{name}.mask"].numpy(), count=n, bitorder="little").astype(bool)
        n_stored = int(places.sum())
    else:
        places = sparse.decode_gaps(parts[f"{name}.gaps"].numpy(), layout["gap_bits"], layout["n"])
        n_stored = layout["n"]
    full = np.empty(n, np.uint32)
    full[:] = background
    full[places] = unpack_bits(values, bits, n_stored)
    return full
