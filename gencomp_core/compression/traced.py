"""The widths of any network: declared for the bundled ones, traced by torch-pruning for others.

torch-pruning is used for its dependency graph only (Fang 2023, arXiv:2301.12900); slicing, saving and refitting are
the same for all networks. Its graph takes any operation that it does not know for an element-wise one, so that
every traced width is tried: the network sliced by one unit must compute what the network does in which the weights
of that unit are zero. Norms over several channels depend on how many there are, and are bypassed in the trial.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gencomp_core.compression.declared import declared
from gencomp_core.compression.layers import weight_layers
from gencomp_core.compression.slicing import change_of
from gencomp_core.compression.structure import Side, Slot, Structure, Width, obstacle, side_size, tensor_dims
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import forward_batches

N_TRIED = 2
TOLERANCE = 1e-3
Run = Callable[[nn.Module], Tensor]


def structure_of(workload: Workload, model: nn.Module, *, seed: int = 0) -> Structure:
    """Widths of a model of a workload."""
    known = declared(model)
    return traced(model, next(forward_batches(workload, N_TRIED, seed=seed)).run) if known is None else known


def traced(model: nn.Module, run: Run) -> Structure:
    """Widths of a network that `run` passes inputs through."""
    import torch_pruning  # type: ignore[import-untyped]

    network = copy.deepcopy(model).requires_grad_(True).eval()
    structure = Structure()
    try:
        with torch.enable_grad():
            differentiable = run(network).grad_fn is not None
            graph = torch_pruning.DependencyGraph()
            if differentiable:
                graph.build_dependency(network, None, forward_fn=lambda own, _: run(own), verbose=False)
    except Exception as error:  # noqa: BLE001 (whatever a foreign network raises is why it can't be traced)
        return _untraced(network, f"could not be traced ({type(error).__name__}: {_line(error)})")
    if not differentiable:
        return _untraced(network, "could not be traced (the pass records no gradients: give forward_batches)")
    names = {module: name for name, module in network.named_modules()}
    made: set[str] = set()
    for name, layer in weight_layers(network).items():
        if name in made:
            continue
        if layer not in graph.module2node or obstacle(network, name):
            structure.reasons[name] = obstacle(network, name) or "takes no part in the traced pass"
            continue
        cut = graph.get_pruner_of_module(layer).prune_out_channels
        group = graph.get_pruning_group(layer, cut, list(range(_n_out(layer))))
        width, reason = _width(graph, group, names, network)
        reason = reason or _trial(network, width, run)
        if reason is None:
            structure.widths.append(width)
            made |= {slot.layer for slot in width.slots if slot.side == "out"}
        else:
            structure.reasons = dict.fromkeys(width.layers, reason) | structure.reasons
    return structure


def _n_out(layer: nn.Module) -> int:
    return side_size(layer, "out") if tensor_dims(layer, "out") else 0


def _untraced(network: nn.Module, reason: str) -> Structure:
    return Structure(reasons=dict.fromkeys(weight_layers(network), reason))


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:100]


def _width(graph: Any, group: Any, names: dict[nn.Module, str], network: nn.Module) -> tuple[Width, str | None]:
    """A group of torch-pruning as a width, and what keeps it from being one."""
    slots, reason = [], None
    for item in group:
        dep, module = item.dep, item.dep.target.module
        if isinstance(module, nn.Parameter):
            reason = "meets a parameter outside of any layer"
        elif "Output" in type(module).__name__:
            reason = "makes the network's own output"
        elif module in names and (tensor_dims(module, "out") or list(module.parameters())):
            side: Side = "out" if graph.is_out_channel_pruning_fn(dep.handler) else "in"
            slots.append(Slot(names[module], side, _index(item.idxs, item.root_idxs)))
            blocked = obstacle(network, names[module])
            if blocked or not tensor_dims(module, side):
                reason = f"{names[module]} {blocked or 'has inputs that can not be sliced'}"
            elif slots[-1].index.numel() == 0 or len(slots[-1].index) != len(slots[0].index):
                reason = f"{names[module]} has channels that torch-pruning did not trace one by one"
    return Width(slots[0].layer, "channels", tuple(slots)), reason


def _index(channels: list[int], units: list[int]) -> Tensor:
    """(n_units, k) from torch-pruning's lists: which channel belongs to which channel of the group's first layer."""
    rows: dict[int, list[int]] = {}
    for channel, unit in zip(channels, units, strict=True):
        rows.setdefault(unit, []).append(channel)
    if len({len(row) for row in rows.values()}) > 1:
        return torch.zeros(len(rows), 0, dtype=torch.int64)
    return torch.tensor([sorted(rows[unit]) for unit in sorted(rows)])


def _trial(network: nn.Module, width: Width, run: Run) -> str | None:
    """Whether slicing one unit away is the same as zeroing it; the reason if not."""
    if width.n_units < 2:
        return "has one channel"
    gone = torch.zeros(width.n_units, dtype=torch.bool)
    gone[0] = True
    masked, sliced = (without_norms(copy.deepcopy(network)) for _ in range(2))
    try:
        zero_(masked, width, gone)
        change_of(network, {width: gone}).apply_(sliced)
        with torch.no_grad():
            expected, found = run(masked), run(sliced)
    except Exception as error:  # noqa: BLE001 (see above: the reason is reported)
        return f"can't be sliced as torch-pruning traced it ({type(error).__name__}: {_line(error)})"
    scale = expected.abs().max().clamp_min(1e-6)
    if expected.shape != found.shape or float((expected - found).abs().max()) > TOLERANCE * float(scale):
        return "does not compute the same when it is sliced as torch-pruning traced it"
    return None


@torch.no_grad()
def zero_(network: nn.Module, width: Width, gone: Tensor) -> None:
    """Zero all weights of some units: (n_units,) bool."""
    for slot in width.slots:
        layer = network.get_submodule(slot.layer)
        for name, dim in tensor_dims(layer, slot.side).items():
            value = getattr(layer, name, None)
            if value is not None and not name.startswith("running"):
                value.index_fill_(dim, slot.index[gone].flatten().to(value.device), 0.0)


def without_norms(network: nn.Module) -> nn.Module:
    """The network with norms over several channels made to give back their input, scaled and shifted."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            module.forward = _scale_and_shift(module)  # type: ignore[method-assign, assignment]
    return network


def _scale_and_shift(norm: nn.GroupNorm | nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        if norm.weight is None:
            return x
        shape = [1, -1] + [1] * (x.ndim - 2) if isinstance(norm, nn.GroupNorm) else [-1]
        scaled: Tensor = x * norm.weight.view(shape)
        return scaled if norm.bias is None else scaled + norm.bias.view(shape)

    return forward
