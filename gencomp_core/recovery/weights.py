"""What is trained, and how the network's weights come from it.

A network keeps its own parameters: before every step they get the values that follow from what is trained (masked,
rounded, with low-rank additions), and after the backward pass their gradients go on to what is trained. So any network
can be tuned, tied weights and hooks included, and what is checked in between is exactly what would ship.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import from_rows, is_transposed, to_rows, weight_of
from gencomp_core.recovery.gates import Gate
from gencomp_core.recovery.grids import Grid, IntegerGrid
from gencomp_core.recovery.ranges import TrainedRange

ADAPTER_START = 0.02  # standard deviation of the inner factor of an addition; the outer one starts at zero


@dataclass(eq=False)
class TunedWeight:
    """One weight of a layer: a float weight or a low-rank addition to one, masked, and rounded.

    Attributes:
        parameter: of the network; gets `value()` before every step.
        base: float weight that training starts from; trained itself where there are no factors.
        factors: (out, rank) and (rank, columns), whose product is added to the base.
        mask: bool; False where the weight stays zero. None where nothing was pruned.
        grid: what rounds it; None where it stays float32.
        transposed: whether output channels are dimension 1.
        gate: learned, in front of the weight until a mask takes its place; None where there is none.
    """

    parameter: nn.Parameter
    base: Tensor
    factors: tuple[Tensor, Tensor] | None
    mask: Tensor | None
    grid: Grid | None
    transposed: bool
    gate: Gate | None = None

    def tensors(self) -> dict[str, Tensor]:
        """What is trained, by name."""
        whole = {"weight": self.base} if self.factors is None else {"wide": self.factors[0], "thin": self.factors[1]}
        gate = {} if self.gate is None else {"gate": self.gate.parameter}
        return whole | (self.grid.tensors() if self.grid else {}) | gate

    def latent(self) -> Tensor:
        """The float weight before masking and rounding."""
        if self.factors is None:
            return self.base
        addition = from_rows(self.factors[0] @ self.factors[1], self.base.shape, transposed=self.transposed)
        return self.base + addition

    def value(self) -> Tensor:
        """The weight that the network runs with; differentiable."""
        value = self.latent()
        if self.grid:
            value = self.grid.value(value)
        if self.gate is not None and self.gate.is_open:
            value = value * self.gate.draw()
        return value if self.mask is None else torch.where(self.mask, value, 0.0)


@dataclass(eq=False)
class Trainee:
    """Everything of a network that is trained.

    Attributes:
        network: whose parameters they are.
        weights: of layers, by layer name.
        plain: other parameters, trained as they are, by name.
        ranges: of quantized activations, by layer name.
    """

    network: nn.Module
    weights: dict[str, TunedWeight]
    plain: dict[str, nn.Parameter]
    ranges: dict[str, TrainedRange] = field(default_factory=dict)
    _values: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = [(own, own.detach().clone()) for own in self.network.parameters()]

    def tensors(self) -> dict[str, Tensor]:
        """What is trained, by name, in a fixed order."""
        found: dict[str, Tensor] = dict(self.plain)
        holders: list[tuple[str, TunedWeight | TrainedRange]] = [*self.weights.items(), *self.ranges.items()]
        for layer, own in holders:
            found |= {f"{layer}:{name}": tensor for name, tensor in own.tensors().items()}
        return found

    @torch.no_grad()
    def load_start_(self) -> None:
        """Go back to where training began: the network's parameters, bit for bit."""
        for parameter, value in self._start:
            parameter.copy_(value)

    def write_(self) -> None:
        """Give the network's weights their values, and remember how they came about where gradients are wanted."""
        for span in self.ranges.values():
            span.write_()
        self._values = [own.value() for own in self.weights.values()]
        with torch.no_grad():
            for own, value in zip(self.weights.values(), self._values, strict=True):
                own.parameter.copy_(value)

    def backward_(self) -> None:
        """Hand gradients of the network's weights on to what they came from."""
        values, gradients = [], []
        for own, value in zip(self.weights.values(), self._values, strict=True):
            if own.parameter.grad is not None and value.requires_grad:
                values.append(value)
                gradients.append(own.parameter.grad.to(value.dtype))
        if values:
            torch.autograd.backward(values, gradients)
        self._values = []

    def clear_gradients_(self) -> None:
        """Forget all gradients."""
        for tensor in (*self.tensors().values(), *self.network.parameters()):
            tensor.grad = None

    def state(self) -> dict[str, Tensor]:
        """A copy of what is trained, with the network's buffers."""
        own = {f"trained/{name}": tensor.detach().clone() for name, tensor in self.tensors().items()}
        masks = {
            f"mask/{name}": weight.mask.clone() for name, weight in self.weights.items() if weight.mask is not None
        }
        grids = {
            f"grid/{name}/{part}": tensor
            for name, weight in self.weights.items()
            if isinstance(weight.grid, IntegerGrid)
            for part, tensor in weight.grid.state().items()
        }
        return own | masks | grids | {f"buffer/{name}": buffer.clone() for name, buffer in self.network.named_buffers()}

    @torch.no_grad()
    def load_(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
        for name, tensor in self.tensors().items():
            tensor.copy_(state[f"trained/{name}"])
        for name, weight in self.weights.items():
            if isinstance(weight.grid, IntegerGrid):
                parts = ("bits", "scale", "zero_point")
                found = {part: state[f"grid/{name}/{part}"] for part in parts if f"grid/{name}/{part}" in state}
                weight.grid.load_(found)
            mask = state.get(f"mask/{name}")
            weight.mask = mask if mask is None else mask.to(weight.base.device)
        for name, buffer in self.network.named_buffers():
            buffer.copy_(state[f"buffer/{name}"])
        self.write_()

    @torch.no_grad()
    def settle_(self, draft: Draft) -> None:
        """Write what was reached to the draft: weights, integers, masks."""
        for name, own in self.weights.items():
            latent = own.latent().detach().clone()
            if own.mask is not None:
                latent.masked_fill_(~own.mask, 0.0)
                draft.pruned.add(name)
            if own.grid is None:
                weight_of(draft.layers[name]).copy_(latent)
                continue
            if own.mask is not None:
                draft.masks[name] = own.mask
            quantized = own.grid.quantized(latent)
            draft.quantize_(name, quantized if own.mask is None else quantized.with_zeros(own.mask), of=latent)


GridFor = Callable[[str], Grid]


def trainee_of(
    draft: Draft,
    is_chosen: Callable[[str], bool],
    grid_for: GridFor,
    *,
    with_weights: bool = True,
    rank: int | None = None,
    seed: int = 0,
) -> Trainee:
    """What of a draft is trained.

    Args:
        is_chosen: whether the parameters of a module, by its name, are trained.
        grid_for: the grid of a quantized layer, by its name.
        with_weights: train weights of layers too, not only what is beside them.
        rank: of low-rank additions in place of whole weights. They suit neither look-ups nor groups, which
            are trained whole.
    """
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, TunedWeight] = {}
    taken: set[int] = set()
    for name, layer in draft.layers.items():
        parameter = layer._parameters.get("weight")
        if parameter is None:
            continue  # made anew from other parameters at every call, which are trained in its place
        taken.add(id(parameter))
        if with_weights and is_chosen(name):
            weights[name] = _tuned(draft, name, parameter, grid_for, rank, generator)
    plain = {
        name: parameter
        for name, parameter in draft.model.named_parameters()
        if id(parameter) not in taken and parameter.is_floating_point() and is_chosen(name.rpartition(".")[0])
    }
    return Trainee(draft.model, weights, plain)


def _tuned(
    draft: Draft, name: str, parameter: nn.Parameter, grid_for: GridFor, rank: int | None, generator: torch.Generator
) -> TunedWeight:
    layer = draft.layers[name]
    mask = draft.kept(name) if name in draft.pruned else None
    grid = grid_for(name) if name in draft.quantized else None
    base = draft.rounded_from[name] if grid else weight_of(layer)
    base = grid.start(base) if grid else base.float()
    base = base.clone() if mask is None else torch.where(mask, base, 0.0)
    transposed = is_transposed(layer)
    factors = None
    if rank is not None and not isinstance(layer, nn.Embedding) and getattr(layer, "groups", 1) == 1:
        n_rows, n_columns = to_rows(base, transposed=transposed).shape
        rank = min(rank, n_rows, n_columns)
        thin = ADAPTER_START * torch.randn(rank, n_columns, generator=generator)
        factors = base.new_zeros(n_rows, rank), thin.to(base)
    return TunedWeight(parameter, base, factors, mask, grid, transposed)


def start_training_(trainee: Trainee) -> None:
    """Let gradients reach what is trained, and nothing else of the network."""
    trainee.network.requires_grad_(False)
    for parameter in (*trainee.plain.values(), *(own.parameter for own in trainee.weights.values())):
        parameter.requires_grad_(True)
    for tensor in trainee.tensors().values():
        tensor.requires_grad_(True)


def stop_training_(network: nn.Module, tensors: Iterable[Tensor]) -> None:
    """Let no gradient reach anything any more."""
    network.requires_grad_(False).eval()
    for tensor in (*tensors, *network.parameters()):
        tensor.grad = None
