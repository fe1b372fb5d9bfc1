"""The program of a generator: the graph that a runtime executes, and the stand-in that samplers call in its place.

A sampler calls one method of its network, again and again, with tensors. Where that is so, nobody has to describe the
graph: one short generation shows the inputs, and a second one, with another number of samples, which sizes follow it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gencomp_core.errors import EvaluationError
from gencomp_core.workloads.base import Workload, complete_settings

Call = Callable[..., Tensor]
BATCH = "batch"
_TRIED = (2, 3)  # one sample alone would look like a size that never changes


@dataclass(frozen=True)
class InputSpec:
    """One input of a program.

    Attributes:
        dtype: of its values.
        shape: sizes; "batch" where it is the number of samples.
    """

    dtype: torch.dtype
    shape: tuple[int | str, ...]

    def sized(self, batch: int) -> tuple[int, ...]:
        """The shape for so many samples."""
        return tuple(batch if size == BATCH else int(size) for size in self.shape)


@dataclass(frozen=True, eq=False)
class Program:
    """One graph: tensors in, one tensor out.

    Attributes:
        module: whose forward pass it is.
        inputs: what that takes, in order.
    """

    module: nn.Module
    inputs: tuple[InputSpec, ...]

    def zeros(self, batch: int) -> tuple[Tensor, ...]:
        """Inputs of zeros for so many samples."""
        return tuple(torch.zeros(spec.sized(batch), dtype=spec.dtype) for spec in self.inputs)


class Entry(nn.Module):
    """The method of a network that samplers call, as a forward pass of its own."""

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the method gives."""
        out: Tensor = getattr(self.network, self.method)(*inputs)
        return out


class StandIn(nn.Module):
    """Looks like a network to its sampler, and passes the calls of one method on.

    Args:
        network: whose parameters and plain attributes it shows.
        method: that is passed on.
        call: takes the inputs of that method.
    """

    def __init__(self, network: nn.Module, method: str, call: Call) -> None:
        super().__init__()
        self.network, self.method, self.call = network, method, call

    def forward(self, *inputs: Tensor) -> Tensor:
        """Only where the sampler calls the network itself."""
        if self.method != "forward":
            raise _unknown(self.network, "forward")
        return self.call(*inputs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == self.__dict__.get("method"):
                return self.__dict__["call"]
            value = getattr(super().__getattr__("network"), name)
            if callable(value) and not isinstance(value, nn.Module):
                raise _unknown(self.network, name) from None
            return value


def entry_of(workload: Workload) -> str:
    """Name of the method that samplers call: the workload's `entry`, or the forward pass."""
    return str(getattr(workload, "entry", "forward"))


def program_of(workload: Workload, model: nn.Module) -> Program:
    """The program of a model, seen in two short generations.

    Raises:
        EvaluationError: the sampler calls another method, or passes on something else than tensors.
    """
    method = entry_of(workload)
    seen = [_first_inputs(workload, model, method, n) for n in _TRIED]
    specs = []
    for few, more in zip(*seen, strict=True):
        follows = [BATCH if a != b else a for a, b in zip(few.shape, more.shape, strict=True)]
        specs.append(InputSpec(few.dtype, tuple(follows)))
    return Program(Entry(model, method).eval(), tuple(specs))


class _SeenError(Exception):
    """Ends a generation as soon as its inputs are known."""

    def __init__(self, inputs: tuple[Any, ...]) -> None:
        self.inputs = inputs


def _first_inputs(workload: Workload, model: nn.Module, method: str, n: int) -> tuple[Tensor, ...]:
    def stop(*inputs: Any) -> Tensor:
        raise _SeenError(inputs)

    try:
        workload.generate(StandIn(model, method, stop), 0, n, seed=0, settings=complete_settings(workload))
    except _SeenError as seen:
        if all(isinstance(x, Tensor) for x in seen.inputs):
            return seen.inputs
    raise EvaluationError(
        f"{workload.name} can run in eager only: its sampler must call {method} of the network with tensors alone. "
        "Use --runtime eager."
    )


def _unknown(network: nn.Module, name: str) -> EvaluationError:
    return EvaluationError(
        f"Only one method of {type(network).__name__} can be run by another runtime, and the sampler calls {name} too. "
        "Use --runtime eager, or name the method in the workload's `entry`."
    )
