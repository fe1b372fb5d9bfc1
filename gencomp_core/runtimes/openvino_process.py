"""What may end its process: conversion, and the first run at a shape; `openvino.py` runs this file as a command.

OpenVINO and torch are imported where they are used: trying a shape needs no torch.
"""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")


_rules: list[Any] = []


def teach_export_shapes() -> None:
    """Tell torch how large its fake-quantize operations' outputs are; torch 2.14 does not know where a size is open."""
    import torch

    if _rules:
        return
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for name in ("fake_quantize_per_tensor_affine_cachemask", "fake_quantize_per_channel_affine_cachemask"):
        library.impl(name, lambda x, *_: (torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)), "Meta")
    _rules.append(library)  # the rules go when it goes


def convert(content: bytes, path: Path) -> None:
    """An exported program -> `path` (XML) and the weights beside it, in the widths that they have."""
    import openvino
    import torch

    teach_export_shapes()
    graph = torch.export.load(io.BytesIO(content))
    openvino.save_model(openvino.convert_model(graph), path, compress_to_fp16=False)


def compiled(path: Path, shapes: list[list[int]], n_threads: int) -> Any:
    """The model at these shapes, for this processor."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(dict(enumerate(shapes)))
    options = {
        "INFERENCE_PRECISION_HINT": "f32",  # it takes bf16 without being asked
        "INFERENCE_NUM_THREADS": n_threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(model, "CPU", options)


def try_once(path: Path, shapes: list[list[int]], n_threads: int) -> None:
    """Compile, and run on zeros."""
    import numpy as np

    model = compiled(path, shapes, n_threads)
    types = [own.get_element_type().to_dtype() for own in model.inputs]
    model([np.zeros(shape, kind) for shape, kind in zip(shapes, types, strict=True)])


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "convert":
        convert(sys.stdin.buffer.read(), Path(where))
    else:
        try_once(Path(where), json.loads(rest[0]), int(rest[1]))
