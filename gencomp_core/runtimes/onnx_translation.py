"""Programs written as ONNX files, with our integer operations; this file is also the command that does it.

Packages are imported where they are used: the other process needs none of them.
"""

import importlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gencomp_core.runtimes.own_process import FACTS_FILE

OPSET = 20
WEIGHTS_FILE = "weights.bin"
SMALLEST_APART = 256
"""Bytes from which a weight goes to the file of weights; smaller ones stay in the graph."""
ALIGNMENT = 64
LARGEST_FOLDED = 64
"""Values of a constant that is computed ahead: sizes and axes, but no weights, which would become floats."""


def translations() -> dict[Any, Any]:
    """What the exporter writes for each operation of `integer_operations.py`."""
    import onnx
    import onnxscript
    import torch
    from onnxscript import opset20 as op

    importlib.import_module("gencomp_core.runtimes.integer_operations")  # registers them
    _teach_product()
    contributed = onnxscript.values.Opset("com.microsoft", 1)

    def code(zero_point: int) -> Any:
        return op.Constant(value=onnx.helper.make_tensor("", onnx.TensorProto.UINT8, [], [zero_point]))

    def quantize(x: Any, scale: float, zero_point: int) -> Any:
        return op.QuantizeLinear(x, op.Constant(value_float=scale), code(zero_point))

    def integers(*values: int) -> Any:
        return op.Constant(value_ints=values)

    def side_by_side(
        codes: Any,
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        padding: Sequence[int],
        border: int,
    ) -> Any:
        if any(padding):
            around = integers(0, *padding[::2], 0, 0, *padding[1::2], 0)
            codes = op.Pad(codes, around, code(border))
        for axis, size in enumerate(kernel, start=1):
            firsts = [place * dilation[axis - 1] for place in range(size)]
            parts = [_slice(op, codes, integers, axis, first, first - firsts[-1], stride[axis - 1]) for first in firsts]
            codes = op.Concat(*parts, axis=-1)
        return codes

    def integer_product(x: Any, scale: float, zero_point: int, codes: Any, scales: Any, bias: Any) -> Any:
        step = op.Constant(value_float=scale)
        return contributed.MatMulIntegerToFloat(x, codes, step, scales, code(zero_point), None, bias)

    own = torch.ops.gencomp
    return {
        own.quantize.default: quantize,
        own.side_by_side.default: side_by_side,
        own.integer_product.default: integer_product,
    }


def _slice(op: Any, codes: Any, integers: Any, axis: int, first: int, last: int, step: int) -> Any:
    """Places `first` to `last` of an axis, `last` from its end (0: all of it), by step."""
    if (first, last, step) == (0, 0, 1):
        return codes
    return op.Slice(codes, integers(first), integers(last or sys.maxsize), integers(axis), integers(step))


def _teach_product() -> None:
    """Tell ONNX what ONNX Runtime's product of integers takes; the package onnx knows its own operators only."""
    from onnx import defs

    domain, name = "com.microsoft", "MatMulIntegerToFloat"
    if defs.has(name, domain):
        return
    optional = defs.OpSchema.FormalParameterOption.Optional
    inputs = [
        defs.OpSchema.FormalParameter(*own) for own in (("A", "C"), ("B", "W"), ("a_scale", "F"), ("b_scale", "F"))
    ]
    rest = (("a_zero_point", "C"), ("b_zero_point", "W"), ("bias", "F"))
    inputs += [defs.OpSchema.FormalParameter(*own, param_option=optional) for own in rest]
    types = [(letter, [f"tensor({kind})"], "") for letter, kind in (("C", "uint8"), ("W", "int8"), ("F", "float"))]
    outputs = [defs.OpSchema.FormalParameter("Y", "F")]
    defs.register_schema(defs.OpSchema(name, domain, 1, inputs=inputs, outputs=outputs, type_constraints=types))


def convert(folder: Path) -> None:
    """The exported programs `NAME.pt2` that the folder's facts list -> `NAME.onnx` each, and one file of weights.

    What the graphs hold is added to the facts: number of nodes by operator, bytes of weights by type.
    """
    import torch

    table = translations()
    facts = json.loads((folder / FACTS_FILE).read_text())
    models = {}
    for name, described in facts["programs"].items():
        graph = torch.export.load(folder / f"{name}.pt2")
        models[name] = translated(graph, table)
        _name_inputs_(models[name], described["inputs"])
    stored = _store_weights_together_(list(models.values()), folder)
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    operators = Counter(node.op_type for model in models.values() for node in model.graph.node)
    (folder / FACTS_FILE).write_text(json.dumps(facts | {"stored": stored, "operators": dict(operators)}, indent=1))


def translated(graph: Any, table: dict[Any, Any]) -> Any:
    """An exported program as an ONNX model, with its weights inside."""
    import torch
    from onnxscript import optimizer

    # Its own optimizer tries every rule at every node, which takes as long as the rest; engines fuse for themselves.
    written = torch.onnx.export(
        graph, dynamo=True, opset_version=OPSET, custom_translation_table=table, verbose=False, optimize=False
    )
    assert written is not None
    optimizer.fold_constants(written.model, onnx_shape_inference=False, input_size_limit=LARGEST_FOLDED)
    optimizer.remove_unused_nodes(written.model)
    model = written.model_proto
    own = model.graph
    del own.value_info[:]
    for noted in (model, own, *own.node, *own.initializer, *own.input, *own.output):
        del noted.metadata_props[:]  # paths and source lines of this machine, many times longer than the weights
        noted.doc_string = ""
    return model


def _name_inputs_(model: Any, described: list[dict[str, Any]]) -> None:
    """Call inputs and sizes what the program calls them, such as "batch"."""
    for given, spec in zip(model.graph.input, described, strict=True):
        for node in model.graph.node:
            node.input[:] = [spec["name"] if name == given.name else name for name in node.input]
        given.name = spec["name"]
        for dimension, size in zip(given.type.tensor_type.shape.dim, spec["shape"], strict=True):
            if isinstance(size, str):
                dimension.dim_param = size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")  # it speaks of sizes by their old names


def _store_weights_together_(models: list[Any], folder: Path) -> dict[str, int]:
    """Move weights to one file, equal ones of several programs once; bytes by type."""
    import onnx
    from onnx.external_data_helper import set_external_data

    places: dict[bytes, int] = {}
    stored = Counter[str]()
    with (folder / WEIGHTS_FILE).open("wb") as file:
        for tensor in (tensor for model in models for tensor in model.graph.initializer):
            content = onnx.numpy_helper.to_array(tensor).tobytes()
            if len(content) < SMALLEST_APART:
                continue
            if content not in places:
                file.write(bytes(-file.tell() % ALIGNMENT))
                places[content] = file.tell()
                file.write(content)
                stored[onnx.TensorProto.DataType.Name(tensor.data_type).lower()] += len(content)
            tensor.raw_data = content
            set_external_data(tensor, WEIGHTS_FILE, offset=places[content], length=len(content))
            tensor.ClearField("raw_data")
    return dict(stored)


if __name__ == "__main__":
    convert(Path(sys.argv[2]))
