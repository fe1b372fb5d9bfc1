"""Layers to be timed: chains of equal ones, as a workload of many small programs.

A chain is long enough that calling it weighs little, and all chains are one model, so that an engine converts them
together.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from gencomp_core.analysis.break_even.kernels import KERNELS
from gencomp_core.records.machines import LayerPoint
from gencomp_core.workloads.calibration import CalibrationBatch
from gencomp_core.workloads.programs import BATCH, Call, Entry, InputSpec, Program

DEPTH = 3
"""Layers of a chain."""
NOTHING = "nothing"
"""The program that computes nothing, for what a call takes."""


POINTS = tuple(
    LayerPoint(
        kind=kind, width=width, positions=positions, batch=batch, macs=batch * positions * KERNELS[kind] * width**2
    )
    for kinds, widths, sizes in (
        (("linear",), (64, 128, 256, 512), ((1, 1), (1, 16), (49, 16))),
        (("conv3", "conv1"), (32, 64, 128, 256), ((196, 1), (196, 16))),
        (("transposed",), (32, 64, 128), ((49, 1), (49, 16))),
    )
    for kind, width, (positions, batch) in product(kinds, widths, sizes)
)
"""What is timed: rows of vectors, and pictures of 14 × 14 pixels, or 7 × 7 that become 14 × 14."""


class EveryOther(nn.Module):
    """Every other pixel, so that a transposed convolution can follow another."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h / 2, w / 2)."""
        return x[:, :, ::2, ::2]


def chain_of(kind: str, width: int, depth: int = DEPTH) -> nn.Sequential:
    """Equal layers with a ReLU behind each."""
    layers: dict[str, Callable[[], list[nn.Module]]] = {
        "linear": lambda: [nn.Linear(width, width)],
        "conv1": lambda: [nn.Conv2d(width, width, 1)],
        "conv3": lambda: [nn.Conv2d(width, width, 3, padding=1)],
        "transposed": lambda: [nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), EveryOther()],
    }
    parts = [part for _ in range(depth) for part in (*layers[kind](), nn.ReLU())]
    return nn.Sequential(*parts)


def name_of(kind: str, width: int, positions: int) -> str:
    """Name of a chain."""
    return f"{kind}-{width}-{positions}"


def input_spec(kind: str, width: int, positions: int) -> InputSpec:
    """The input of a chain."""
    if kind == "linear":
        return InputSpec("x", torch.float32, (BATCH, positions, width))
    side = math.isqrt(positions)
    return InputSpec("x", torch.float32, (BATCH, width, side, side))


class Chains(nn.Module):
    """All chains, by name."""

    def __init__(self, points: Sequence[LayerPoint]) -> None:
        super().__init__()
        self.chains = nn.ModuleDict(
            {name_of(own.kind, own.width, own.positions): chain_of(own.kind, own.width) for own in points}
        )
        self.chains[NOTHING] = nn.ReLU()


class Called(nn.Module):
    """The chains where a runtime has them."""

    def __init__(self, model: nn.Module, calls: Mapping[str, Call]) -> None:
        super().__init__()
        self.model, self.calls = model, calls


@dataclass(eq=False)
class ChainsWorkload:
    """As much of a workload as compressing and opening in a runtime need.

    Attributes:
        points: whose chains it has.
        model: random weights that keep activations near 1.
    """

    points: Sequence[LayerPoint] = POINTS
    name: str = "layer-chains"
    modality: str = "image"
    model: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.model = self.empty_network()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.model.parameters():
                gain = (2 / max(1, parameter[0].numel())) ** 0.5 if parameter.ndim > 1 else 0.0
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain)
        self.model.requires_grad_(False)

    @property
    def weights_hash(self) -> str:
        """The same for all, because weights come from a seed."""
        return "0" * 16

    def empty_network(self) -> nn.Module:
        """The chains, untrained."""
        return Chains(self.points).eval()

    def inputs(self, name: str, batch: int) -> Tensor:
        """Noise for a chain."""
        spec = self.specs[name]
        return torch.randn(spec.sized({BATCH: batch}), generator=torch.Generator().manual_seed(batch))

    @property
    def specs(self) -> dict[str, InputSpec]:
        """The input of each chain."""
        found = {
            name_of(own.kind, own.width, own.positions): input_spec(own.kind, own.width, own.positions)
            for own in self.points
        }
        return {**found, NOTHING: InputSpec("x", torch.float32, (BATCH, 1))}

    def programs(self, model: nn.Module) -> dict[str, Program]:
        """A program for each chain."""
        return {
            name: Program(Entry(model.get_submodule(f"chains.{name}"), "forward").eval(), (spec,))
            for name, spec in self.specs.items()
        }

    def stand_in(self, model: nn.Module, calls: Mapping[str, Call]) -> nn.Module:
        """Holds the calls."""
        return Called(model, calls)

    def forward_batches(self, n: int, *, seed: int) -> Iterable[CalibrationBatch]:
        """One pass through each chain."""
        for name in self.specs:
            yield CalibrationBatch(name, {"all": 4}, partial(_through, name, self.inputs(name, 4)))

    def loss_batches(self, n: int, *, seed: int) -> Iterable[CalibrationBatch]:
        """Nothing is learned."""
        return ()


def _through(name: str, x: Tensor, model: nn.Module) -> Tensor:
    """What comes out of one chain."""
    out: Tensor = model.get_submodule(f"chains.{name}")(x)
    return out
