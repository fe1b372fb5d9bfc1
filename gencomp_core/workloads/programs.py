"""The programs of a generator: graphs that a runtime executes, and the stand-in that samplers call in their place.

A sampler calls one method of its network, again and again, with tensors. Where that is so, nobody has to describe the
graph: one short generation shows the inputs, and a second one, with another number of samples, which sizes follow it.
Where more is needed, as for texts that grow token by token, the workload describes its programs itself.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gencomp_core.errors import EvaluationError
from gencomp_core.workloads.base import Workload, complete_settings, makes_texts

Sizes = Mapping[str, int]
Call = Callable[..., Sequence[Tensor]]
"""A program where a runtime has it: tensors in, tensors out, which hold until the next call.

Who passes on the same tensors again, with other values written into them, spares the runtime from taking them anew.
"""
PROGRAM = "model"
BATCH = "batch"
_TRIED = (2, 3)  # one sample alone would look like a size that never changes
_FIRST_EXPORTED = 3  # 0 and 1 are special to torch.export; every size gets a number of its own


@dataclass(frozen=True)
class InputSpec:
    """One input of a program.

    Attributes:
        name: of the input.
        dtype: of its values.
        shape: sizes; a word where it varies, "batch" where it is the number of samples.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...]

    def sized(self, sizes: Sizes) -> tuple[int, ...]:
        """The shape at given sizes."""
        return tuple(sizes[size] if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True, eq=False)
class Program:
    """One graph: tensors in, tensors out.

    Attributes:
        module: whose forward pass it is.
        inputs: what that takes, in order.
    """

    module: nn.Module
    inputs: tuple[InputSpec, ...]

    @property
    def size_names(self) -> tuple[str, ...]:
        """Sizes that vary, in the order in which they are met."""
        return tuple(dict.fromkeys(size for spec in self.inputs for size in spec.shape if isinstance(size, str)))

    def sizes_of(self, inputs: Sequence[Tensor]) -> dict[str, int]:
        """The sizes that vary, as these inputs have them."""
        return {
            size: tensor.shape[axis]
            for tensor, spec in zip(inputs, self.inputs, strict=True)
            for axis, size in enumerate(spec.shape)
            if isinstance(size, str)
        }

    def zeros(self, sizes: Sizes | None = None) -> tuple[Tensor, ...]:
        """Inputs of zeros; without sizes, each that varies is another small number."""
        chosen = sizes or {name: _FIRST_EXPORTED + i for i, name in enumerate(self.size_names)}
        return tuple(torch.zeros(spec.sized(chosen), dtype=spec.dtype) for spec in self.inputs)


@runtime_checkable
class DescribesPrograms(Protocol):
    """A workload whose sampler needs several programs, or one that two short generations can't show."""

    def programs(self, model: nn.Module) -> Mapping[str, Program]:
        """Programs of a model, dense or compressed, by name: short words that name files too."""

    def stand_in(self, model: nn.Module, calls: Mapping[str, Call]) -> nn.Module:
        """What takes the model's place in `generate` and wherever else the workload is handed a model.

        Args:
            model: whose parameters and plain attributes it shows.
            calls: the programs where the runtime has them, by name.
        """


class Entry(nn.Module):
    """The method of a network that samplers call, as a forward pass of its own."""

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the method gives; a weight that is used twice is one and the same in the graph."""
        with parametrize.cached():
            out: Tensor | tuple[Tensor, ...] = getattr(self.network, self.method)(*inputs)
        return out


class StandIn(nn.Module):
    """Looks like a network to its sampler, and passes the calls of one method on.

    Args:
        network: whose parameters and plain attributes it shows.
        method: that is passed on.
        call: takes the inputs of that method, and gives one tensor.
    """

    def __init__(self, network: nn.Module, method: str, call: Call) -> None:
        super().__init__()
        self.network, self.method, self.call = network, method, call

    def forward(self, *inputs: Tensor) -> Tensor:
        """Only where the sampler calls the network itself."""
        if self.method != "forward":
            raise _unknown(self.network, "forward")
        return self._passed_on(*inputs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == self.__dict__.get("method"):
                return self._passed_on
            value = getattr(super().__getattr__("network"), name)
            if callable(value) and not isinstance(value, nn.Module):
                raise _unknown(self.network, name) from None
            return value

    def _passed_on(self, *inputs: Tensor) -> Tensor:
        return self.call(*inputs)[0].clone()  # samplers keep what they are given


def entry_of(workload: Workload) -> str:
    """Name of the method that samplers call: the workload's `entry`, or the forward pass."""
    return str(getattr(workload, "entry", "forward"))


def programs_of(workload: Workload, model: nn.Module) -> dict[str, Program]:
    """The programs of a model, by name: those that the workload describes, or one that two short generations show.

    Raises:
        EvaluationError: the sampler calls another method, or passes on something else than tensors; or it makes texts,
            and describes nothing.
    """
    if isinstance(workload, DescribesPrograms):
        return dict(workload.programs(model))
    if makes_texts(workload):
        raise EvaluationError(
            f"{workload.name} can run in eager only: a workload that makes texts must describe its programs, and it "
            "has no 'programs' and 'stand_in'. Use --runtime eager."
        )
    return {PROGRAM: _seen(workload, model)}


def stand_in_of(workload: Workload, model: nn.Module, calls: Mapping[str, Call]) -> nn.Module:
    """What takes a model's place in the workload's sampler.

    Args:
        calls: the model's programs where a runtime has them, by name.
    """
    if isinstance(workload, DescribesPrograms):
        return workload.stand_in(model, calls)
    return StandIn(model, entry_of(workload), calls[PROGRAM])


def _seen(workload: Workload, model: nn.Module) -> Program:
    """The program of a model, seen in two short generations."""
    method = entry_of(workload)
    seen = [_first_inputs(workload, model, method, n) for n in _TRIED]
    specs = []
    for number, (few, more) in enumerate(zip(*seen, strict=True)):
        follows = [BATCH if a != b else a for a, b in zip(few.shape, more.shape, strict=True)]
        specs.append(InputSpec(_input_name(model, method, number), few.dtype, tuple(follows)))
    return Program(Entry(model, method).eval(), tuple(specs))


def _input_name(model: nn.Module, method: str, number: int) -> str:
    own = [p.name for p in inspect.signature(getattr(model, method)).parameters.values() if p.kind != p.VAR_POSITIONAL]
    return own[number] if number < len(own) else f"input{number}"


class _SeenError(Exception):
    """Ends a generation as soon as its inputs are known."""

    def __init__(self, inputs: tuple[Any, ...]) -> None:
        self.inputs = inputs


def _first_inputs(workload: Workload, model: nn.Module, method: str, n: int) -> tuple[Tensor, ...]:
    def stop(*inputs: Any) -> Sequence[Tensor]:
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
