"""torch.compile: the programs of a generator in one piece of C++ (or Triton) each, for each size that comes.

Integers are widened to floats before anything is computed, as in eager: what it gains is fusing. What was compiled is
kept at home, so that another process compiles it in seconds.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from gencomp_core.compression.activations import quantizer_of
from gencomp_core.errors import EvaluationError, MissingDependencyError
from gencomp_core.runtime_env import home
from gencomp_core.runtimes.conversion import exported
from gencomp_core.runtimes.subject import Opened, Subject
from gencomp_core.workloads.base import device_of
from gencomp_core.workloads.programs import Program, programs_of, stand_in_of

COMPILERS = ("g++", "clang++")
COMPILER_ERRORS = (TorchDynamoException, RuntimeError)
"""What a compiler raises that can't go on; its own errors are runtime errors."""


def open_compiled(subject: Subject, *, stored: Path | None = None) -> Opened:
    """The model's programs, each compiled when it is first called with a size: seconds to minutes.

    Raises:
        EvaluationError: a workload without programs.
        MissingDependencyError: the machine has no C++ compiler.
    """
    del stored  # compiled code belongs to one machine
    _check_compiler()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home() / "runtimes" / "compile"))
    calls = {name: CompiledProgram(program) for name, program in programs_of(subject.workload, subject.model).items()}
    rounded = any(quantizer_of(layer) for layer in subject.model.modules())
    ran = "float32, weights widened on loading" if subject.quantized else "float32"
    ran += ", inputs rounded in float32" if rounded else ""
    return Opened(stand_in_of(subject.workload, subject.model, calls), f"{ran}; compiled for each batch size")


class CompiledProgram:
    """Calls a program, compiled for each size by itself.

    Args:
        program: on the device of its model.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.device = device_of(program.module)
        self.by_size: dict[tuple[int, ...], Callable[..., Tensor | Sequence[Tensor]]] = {}

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The program's outputs, where the inputs are."""
        sizes = tuple(self.program.sizes_of(inputs).values())
        given = [x.to(self.device, spec.dtype) for x, spec in zip(inputs, self.program.inputs, strict=True)]
        try:
            if sizes not in self.by_size:
                self.by_size[sizes] = self._compiled(given)
            with torch.no_grad():
                out = self.by_size[sizes](*given)
        except COMPILER_ERRORS as error:
            self.by_size.pop(sizes, None)
            raise _refusal(error) from None
        return [own.to(inputs[0].device) for own in ((out,) if isinstance(out, Tensor) else out)]

    def _compiled(self, inputs: list[Tensor]) -> Callable[..., Tensor | Sequence[Tensor]]:
        """Of an exported graph, whose code is its own: dynamo gives up after eight sizes of one and the same code."""
        graph = exported(self.program, inputs)
        return torch.compile(graph.module(), dynamic=False)


def _refusal(error: Exception) -> EvaluationError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
    return EvaluationError(f"torch.compile could not compile the model ({reason}). Use --runtime eager.")


def _check_compiler() -> None:
    """A CPU needs a C++ compiler; `CXX` names another one than the usual."""
    wanted = [os.environ["CXX"].split()[0]] if os.environ.get("CXX") else COMPILERS
    if not any(shutil.which(name) for name in wanted):
        raise MissingDependencyError(
            f"The runtime compile needs a C++ compiler, found none named {' or '.join(wanted)}. "
            "Install g++, name yours in CXX, or use --runtime eager."
        )
