"""Weights of 4 bits in an OpenVINO graph: torch has no such type, so that they arrive in 8."""

from typing import Any

import numpy as np

RANGES = {"i8": ("i4", -8, 7), "u8": ("u4", 0, 15)}
"""By type of 8 bits: the type of 4 bits, and its smallest and largest integer."""


def store_in_4_bits_(model: Any) -> None:
    """Weights whose integers, and their zero points, fit into 4 bits get as many.

    Only where the integers are multiplied by their scales and reshaped, as `IntegerWeight` does it. Those that meet
    integer inputs stay: OpenVINO multiplies 8 bits.

    Args:
        model: an `openvino.Model`.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Multiply" and any(user == "Reshape" for user in _users(node)):
            constants = _integers(node.input_value(0).get_node())
            if constants and all(_fits(constant) for constant in constants):
                for constant in constants:
                    _narrow_(constant)
    model.validate_nodes_and_infer_types()


def _users(node: Any) -> list[str]:
    return [use.get_node().get_type_name() for use in node.output(0).get_target_inputs()]


def _integers(node: Any) -> list[Any]:
    """Constants behind `Convert(codes)` or `Convert(codes) - Convert(zero point)`; none where it is something else."""
    converts = [value.get_node() for value in node.input_values()] if node.get_type_name() == "Subtract" else [node]
    if any(convert.get_type_name() != "Convert" for convert in converts):
        return []
    constants = [convert.input_value(0).get_node() for convert in converts]
    return constants if all(constant.get_type_name() == "Constant" for constant in constants) else []


def _fits(constant: Any) -> bool:
    kind = constant.get_element_type().to_string()
    if kind not in RANGES:
        return False
    _, lowest, highest = RANGES[kind]
    return bool(constant.data.min() >= lowest and constant.data.max() <= highest)


def _narrow_(constant: Any) -> None:
    """Put a constant of 4 bits in place: two integers a byte, the first in the lower half."""
    import openvino

    kind, _, _ = RANGES[constant.get_element_type().to_string()]
    halves = np.append(constant.data.reshape(-1), np.zeros(constant.data.size % 2, constant.data.dtype))
    halves = halves.astype(np.uint8) & 15
    packed = openvino.Tensor(
        halves[::2] | halves[1::2] << 4, constant.output(0).get_shape(), getattr(openvino.Type, kind)
    )
    narrow = openvino.op.Constant(packed, shared_memory=False)
    for use in constant.output(0).get_target_inputs():
        use.replace_source_output(narrow.output(0))
