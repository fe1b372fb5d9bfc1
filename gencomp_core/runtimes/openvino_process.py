"""What may end its process: conversion, and the first run at a shape. This file is also the command that does it.

OpenVINO and torch are imported where they are used: trying a shape needs no torch.
"""

import json
import os
import re
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gencomp_core.runtimes.own_process import FACTS_FILE, in_own_process

os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")

MODEL_FILE, WEIGHTS_FILE = "model.xml", "model.bin"


@dataclass(frozen=True)
class Compilation:
    """One program of a model file, as it is compiled.

    Attributes:
        inputs, outputs: first and last + 1 of the file's inputs and outputs that are the program's.
        shapes: of the inputs.
        n_threads: that it runs on.
        precision: "f32" or "bf16", for what is no integer.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    shapes: tuple[tuple[int, ...], ...]
    n_threads: int
    precision: str

    def to_json(self) -> str:
        """Plain form."""
        return json.dumps(asdict(self))


_rules: list[Any] = []


def convert_programs(folder: Path) -> None:
    """`convert`, in a process of its own."""
    in_own_process("OpenVINO", __spec__.name, "convert", str(folder))


def try_in_own_process(path: Path, own: Compilation) -> None:
    """`try_once`, in a process of its own."""
    in_own_process("OpenVINO", __spec__.name, "try", str(path), own.to_json())


def teach_export_shapes() -> None:
    """Tell torch how large its fake-quantize operations' outputs are; torch 2.14 does not know where a size is open."""
    import torch

    if _rules:
        return
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for name in ("fake_quantize_per_tensor_affine_cachemask", "fake_quantize_per_channel_affine_cachemask"):
        library.impl(name, lambda x, *_: (torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)), "Meta")
    _rules.append(library)  # the rules go when it goes


def convert(folder: Path) -> None:
    """The exported programs `NAME.pt2` that the folder's facts list -> one model file, and its weights.

    In one file, equal weights are stored once, such as an embedding that several programs use. What the weights file
    holds is added to the facts: bytes by type.
    """
    import openvino
    import torch

    from gencomp_core.runtimes.openvino_int4 import store_in_4_bits_

    teach_export_shapes()
    facts = json.loads((folder / FACTS_FILE).read_text())
    inputs, outputs = [], []
    for name, described in facts["programs"].items():
        model = openvino.convert_model(torch.export.load(folder / f"{name}.pt2"))
        store_in_4_bits_(model)
        for parameter, spec in zip(model.get_parameters(), described["inputs"], strict=True):
            parameter.set_friendly_name(f"{name}.{spec['name']}")
        inputs += model.get_parameters()
        outputs += model.get_results()
    openvino.save_model(openvino.Model(outputs, inputs), folder / MODEL_FILE, compress_to_fp16=False)
    graph = (folder / MODEL_FILE).read_text()
    (folder / MODEL_FILE).write_text(re.sub(r">\s+<", "><", graph))  # a sixth of it is indentation
    stored = Counter[str]()
    for operation in openvino.Core().read_model(folder / MODEL_FILE).get_ops():
        if operation.get_type_name() == "Constant":
            stored[operation.get_element_type().to_string()] += operation.get_byte_size()
    (folder / FACTS_FILE).write_text(json.dumps(facts | {"stored": dict(stored)}, indent=1))


def compiled(path: Path, own: Compilation) -> Any:
    """A program of a model file, for this processor."""
    import openvino

    core = openvino.Core()
    whole = core.read_model(path)
    model = openvino.Model(whole.get_results()[slice(*own.outputs)], whole.get_parameters()[slice(*own.inputs)])
    model.reshape({number: list(shape) for number, shape in enumerate(own.shapes)})
    options = {
        "INFERENCE_PRECISION_HINT": own.precision,  # it takes bf16 without being asked
        "INFERENCE_NUM_THREADS": own.n_threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(model, "CPU", options)


def try_once(path: Path, own: Compilation) -> None:
    """Compile, and run on zeros."""
    import numpy as np

    model = compiled(path, own)
    model([np.zeros(list(each.shape), each.get_element_type().to_dtype()) for each in model.inputs])


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "convert":
        convert(Path(where))
    else:
        try_once(Path(where), Compilation(**json.loads(rest[0])))
