"""How long a weights file is, from what would be written, without writing it. No torch.

`packing.py` decides what is written; this module reads it back from a file's header, and adds up.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gencomp_core.records.footprints import ELEMENT_BYTES, Footprint, Part

_ALIGNMENT = 8  # safetensors fills its header up with spaces
_ORDER = {dtype: number for number, dtype in enumerate(ELEMENT_BYTES)}
_OF_TENSORS = ("layout", "sha256")
_SHA256 = "0" * 64


def footprints_of(content: bytes) -> tuple[dict[str, Footprint], dict[str, Any]]:
    """What a weights file holds for each tensor, and the fields of its header that are not of single tensors.

    Args:
        content: of a file that `pack` wrote.

    Returns:
        Footprints by tensor name, and the other fields.
    """
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    fields = json.loads(header.pop("__metadata__")["gencomp"])
    layouts = fields["layout"]
    parts: dict[str, list[Part]] = {}
    for name, entry in header.items():
        owner = name.rpartition(".")[0]
        tensor = owner if owner in layouts and name not in layouts else name
        parts.setdefault(tensor, []).append(Part(name=name, dtype=entry["dtype"], shape=tuple(entry["shape"])))
    found = {
        tensor: Footprint(tensor=tensor, parts=tuple(own), layout=layouts.get(tensor, {}))
        for tensor, own in parts.items()
    }
    return found, {name: value for name, value in fields.items() if name not in _OF_TENSORS}


def file_bytes(footprints: Iterable[Footprint], metadata: Mapping[str, Any]) -> int:
    """Length of the weights file of these tensors, exact to the byte.

    Args:
        footprints: of all tensors.
        metadata: other fields of the header, as `footprints_of` gives them.

    Source: the safetensors format: 8 bytes of length, a JSON header that is filled up to a multiple of 8, the values.
    """
    chosen = tuple(footprints)
    parts = sorted((part for own in chosen for part in own.parts), key=lambda part: (_ORDER[part.dtype], part.name))
    layouts = {own.tensor: own.layout for own in chosen if own.layout}
    fields = {**metadata, "sha256": _SHA256, "layout": layouts}
    described = json.dumps(fields, separators=(",", ":"))
    n_header = len('{"__metadata__":{"gencomp":}}') + len(json.dumps(described))
    start = 0
    for part in parts:
        n_header += 1 + _entry_bytes(part) + len(f"{start},{start + part.n_bytes}")
        start += part.n_bytes
    return 8 + n_header + -n_header % _ALIGNMENT + start


def about_bytes(footprint: Footprint, *, file_bytes: int) -> int:
    """What a tensor adds to a file of about `file_bytes`: its values and its share of the header, to a few bytes."""
    n_digits = len(str(file_bytes))
    entries = sum(1 + _entry_bytes(part) + 2 * n_digits + 1 for part in footprint.parts)
    layout = json.dumps({footprint.tensor: footprint.layout}, separators=(",", ":")) if footprint.layout else ""
    quotes = layout.count('"')  # escaped, since the layouts stand in a string
    return footprint.n_bytes + entries + max(0, len(layout) + quotes - 1)


def _entry_bytes(part: Part) -> int:
    """Length of an entry of the header, without the numbers of its offsets."""
    shape = json.dumps(part.shape, separators=(",", ":"))
    name = json.dumps(part.name, ensure_ascii=False)
    return len(name.encode()) + len(f':{{"dtype":"{part.dtype}","shape":{shape},"data_offsets":[]}}')
