"""Programs that OpenVINO runs, compiled for each size when it first comes; inputs stay bound between calls."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencomp_core.errors import EvaluationError
from gencomp_core.runtime_env import home, machine
from gencomp_core.runtimes.openvino_process import Compilation, compiled, try_in_own_process
from gencomp_core.workloads.programs import Program


@dataclass(frozen=True, eq=False)
class Part:
    """A program in a model file.

    Attributes:
        name, program: what it is.
        path: of the file; nothing is written beside it.
        inputs, outputs: first and last + 1 of the file's inputs and outputs that are the program's.
    """

    name: str
    program: Program
    path: Path
    inputs: tuple[int, int]
    outputs: tuple[int, int]


class CompiledCall:
    """Calls a program.

    Args:
        part: where it is.
        precision: "f32" or "bf16", for what is no integer.
    """

    def __init__(self, part: Part, precision: str) -> None:
        self.part, self.precision = part, precision
        self.requests: dict[tuple[int, ...], BoundRequest] = {}
        self.latest: BoundRequest | None = None

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The program's outputs, on the CPU; they hold until the next call at these sizes."""
        if self.latest is None or not self.latest.has(inputs):
            sizes = tuple(self.part.program.sizes_of(inputs).values())
            if sizes not in self.requests:
                self.requests[sizes] = self._compile(inputs)
            self.latest = self.requests[sizes]
            self.latest.bind_(inputs)
        self.latest.request.start_async()  # `infer` would copy the outputs too, a quarter of a step at batch 64
        self.latest.request.wait()
        return self.latest.outputs

    def _compile(self, inputs: Sequence[Tensor]) -> "BoundRequest":
        part, shapes = self.part, tuple(tuple(x.shape) for x in inputs)
        own = Compilation(part.inputs, part.outputs, shapes, torch.get_num_threads(), self.precision)
        if not (tried := _mark_of(part.path, own)).exists():  # the compiler may end its process
            try_in_own_process(part.path, own)
            tried.parent.mkdir(parents=True, exist_ok=True)
            tried.touch()
        try:
            model = compiled(part.path, own)
        except RuntimeError as error:  # the same graph was fine before: it is its weights that changed
            reason = str(error).strip().splitlines()[-1]
            raise EvaluationError(f"OpenVINO can't read {part.path} ({reason}). Export the artifact again.") from None
        return BoundRequest(model, [spec.dtype for spec in part.program.inputs])


def _mark_of(path: Path, own: Compilation) -> Path:
    """File that says that a graph was compiled like this on this machine before."""
    import openvino

    parts = [openvino.__version__, str(machine()["processor"]), own.to_json()]
    graph = hashlib.sha256(path.read_bytes() + "\n".join(parts).encode()).hexdigest()
    return home() / "runtimes" / "openvino" / "tried" / graph[:16]


class BoundRequest:
    """A compiled program with memory of its own for the outputs.

    Taking 13 inputs anew costs as much as a decoder step of 0.1 ms, so that those which are the same tensors as before
    stay as they are.

    Args:
        model: compiled at static shapes.
        dtypes: of its inputs.
    """

    def __init__(self, model: Any, dtypes: Sequence[torch.dtype]) -> None:
        import numpy as np
        import openvino

        self.request = model.create_infer_request()
        self.dtypes = dtypes
        self.given: list[Tensor | None] = [None] * len(dtypes)
        self.bound: list[Any] = [None] * len(dtypes)  # keeps the memory that the request reads
        arrays = [np.zeros(list(own.shape), own.get_element_type().to_dtype()) for own in model.outputs]
        for number, array in enumerate(arrays):
            self.request.set_output_tensor(number, openvino.Tensor(array, shared_memory=True))
        self.outputs = [torch.from_numpy(array) for array in arrays]

    def has(self, inputs: Sequence[Tensor]) -> bool:
        """Whether these very tensors are bound."""
        return all(own is x for own, x in zip(self.given, inputs, strict=True))

    def bind_(self, inputs: Sequence[Tensor]) -> None:
        """Read these tensors at every run, also when other values are written into them."""
        import openvino

        for number, (x, dtype) in enumerate(zip(inputs, self.dtypes, strict=True)):
            if self.given[number] is x:
                continue
            host = x.detach().to("cpu", dtype).contiguous()
            self.given[number] = x if host.data_ptr() == x.data_ptr() else None  # a copy knows no later values
            self.bound[number] = openvino.Tensor(host.numpy(), shared_memory=True), host
            self.request.set_input_tensor(number, self.bound[number][0])
