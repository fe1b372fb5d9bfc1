"""Whole blocks removed: which there are, how little each is missed, and the change to the network."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from gencomp_core.compression.changes import CHANGES
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.factored import Factored
from gencomp_core.compression.layers import WEIGHT_LAYERS, layers_for, weight_layers
from gencomp_core.errors import RecipeError
from gencomp_core.models.diffusion import AttentionBlock, FlowUNet, ResidualBlock
from gencomp_core.models.gan import Generator, GeneratorBlock, RefineBlock
from gencomp_core.models.seq2seq import Seq2Seq
from gencomp_core.models.vae import ConvBlock, FashionVAE
from gencomp_core.recipes.structure import BlockRemoval
from gencomp_core.registry import suggestion
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches

Remedy = Literal["pass", "zero", "delete"]


class PassThrough(nn.Module):
    """Stands where a block was: gives back what it gets."""

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """x and whatever else the block took -> x."""
        return x


class AddsNothing(nn.Module):
    """Stands where a convolution was whose output was added to something."""

    def forward(self, x: Tensor) -> Tensor:
        """x -> zeros like x."""
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Block:
    """A part of a network that it can do without.

    Attributes:
        name: of its first module.
        remedies: what becomes of each of its modules: passed through, adding nothing, or taken off
            its list (the others keep their names).
    """

    name: str
    remedies: Mapping[str, Remedy]

    def holds(self, layer: str) -> bool:
        """Whether a layer is part of it."""
        return any(layer == name or layer.startswith(f"{name}.") for name in self.remedies)


@CHANGES.add("blocks")
@dataclass(frozen=True)
class BlockChange:
    """Blocks are removed.

    Attributes:
        remedies: by module: `pass`, `zero` or `delete`.
    """

    kind: ClassVar[str] = "blocks"
    remedies: Mapping[str, Remedy]

    def apply_(self, network: nn.Module) -> None:
        """Put the stand-ins in place."""
        for name, remedy in self.remedies.items():
            network.get_submodule(name)  # AttributeError when it is not there
            parent, _, key = name.rpartition(".")
            holder = network.get_submodule(parent)
            if remedy == "delete":
                delattr(holder, key)  # a list's own deletion would number the others anew
            else:
                setattr(holder, key, PassThrough() if remedy == "pass" else AddsNothing())

    def fields(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"removed": dict(self.remedies)}

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `fields`; KeyError, TypeError or ValueError where they are damaged."""
        removed = dict(fields["removed"])
        if not set(removed.values()) <= {"pass", "zero", "delete"}:
            raise ValueError(f"a block can be pass, zero or delete, not {sorted(set(removed.values()))}")
        return cls(removed)


def remove_blocks_(draft: Draft, stage: BlockRemoval) -> None:
    """Remove the named blocks, or those that the output misses least, one after the other."""
    chosen = layers_for(stage, draft.layers, owner=draft.owner)
    if not chosen:
        return
    if stage.blocks:
        for name in stage.blocks:
            _remove_(draft, _named(draft, _removable(draft, chosen), name))
        return
    wanted = cast(int, stage.n_blocks)
    offered = _removable(draft, chosen)
    if wanted > len(offered):
        names = ", ".join(block.name for block in offered) or "none"
        raise RecipeError(
            f"{stage.kind}: n_blocks must be at most {len(offered)} for {draft.owner}, got {wanted}. "
            f"Blocks that can be removed: {names}."
        )
    batches = list(forward_batches(draft.workload, stage.calibration_samples, seed=draft.seed))
    draft.calibrated_with_(batches)
    dense = copy.deepcopy(draft.model)
    for _ in range(wanted):
        offered = _removable(draft, chosen)
        changes = output_changes(dense, draft.model, offered, batches)
        _remove_(draft, min(offered, key=lambda block: changes[block.name]))


def output_changes(
    dense: nn.Module, model: nn.Module, blocks: list[Block], batches: list[CalibrationBatch]
) -> dict[str, float]:
    """How far the output is from the dense model's without each block: Σ‖y − y'‖² / Σ‖y‖², by block."""
    without = {block.name: copy.deepcopy(model) for block in blocks}
    for block in blocks:
        BlockChange(block.remedies).apply_(without[block.name])
    missed, total = dict.fromkeys(without, 0.0), 0.0
    with torch.no_grad():
        for batch in batches:
            expected = batch.run(dense).double()
            total += float(expected.square().sum())
            for name, network in without.items():
                missed[name] += float((batch.run(network).double() - expected).square().sum())
    return {name: error / max(total, 1e-30) for name, error in missed.items()}


def blocks_of(workload: Workload, model: nn.Module, *, seed: int = 0) -> list[Block]:
    """Blocks that a network can do without, in its order."""
    known = next((find for kind, find in _DECLARED.items() if type(model) is kind), None)
    if known is not None:
        return known(model)
    return _observed(model, next(iter(forward_batches(workload, 2, seed=seed))))


def outside_blocks(model: nn.Module, blocks: list[Block]) -> dict[str, str]:
    """Weight layers that lie in no block, each with the reason."""
    reason = "lies in no block whose output is as wide as its input and to which the input is added"
    return {name: reason for name in weight_layers(model) if not any(block.holds(name) for block in blocks)}


def _removable(draft: Draft, chosen: Mapping[str, object]) -> list[Block]:
    found = blocks_of(draft.workload, draft.model, seed=draft.seed)
    return [block for block in found if all(name in chosen for name in draft.layers if block.holds(name))]


def _named(draft: Draft, offered: list[Block], name: str) -> Block:
    names = [block.name for block in offered]
    if name not in names:
        raise RecipeError(
            f"block-removal: blocks must name blocks of {draft.owner} that can be removed, got {name!r}."
            f"{suggestion(name, names)} Available: {', '.join(names) or 'none'}."
        )
    return offered[names.index(name)]


def _remove_(draft: Draft, block: Block) -> None:
    draft.change_(BlockChange(block.remedies))


def _flow_unet(model: FlowUNet) -> list[Block]:
    found = []
    for name, module in model.named_modules():
        equal = isinstance(module, ResidualBlock) and isinstance(module.skip, nn.Identity)
        if (equal or isinstance(module, AttentionBlock)) and model.config.residual:
            found.append(Block(name, {name: "pass"}))
    return found


def _generator(model: Generator) -> list[Block]:
    found = []
    for name, module in model.named_modules():
        if isinstance(module, GeneratorBlock) and module.residual and isinstance(module.conv, nn.Conv2d | Factored):
            found.append(Block(f"{name}.conv", {f"{name}.conv": "zero", f"{name}.norm2": "pass"}))
        if isinstance(module, RefineBlock) and module.residual:
            found.append(Block(name, {name: "pass"}))
    return found


def _fashion_vae(model: FashionVAE) -> list[Block]:
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, ConvBlock)]
    return [Block(name, {name: "pass"}) for name, module in found if module.residual]


def _seq2seq(model: Seq2Seq) -> list[Block]:
    """Encoder and decoder layers; the last decoder layer left stays, because the pointer reads its attention."""
    if not model.config.residual:
        return []
    names = [f"encoder.{key}" for key, _ in model.encoder.named_children()]
    if len(model.decoder) > 1:
        names += [f"decoder.{key}" for key, _ in model.decoder.named_children()]
    return [Block(name, {name: "delete"}) for name in names]


_DECLARED: dict[type[nn.Module], Callable[[Any], list[Block]]] = {
    FlowUNet: _flow_unet,
    Generator: _generator,
    FashionVAE: _fashion_vae,
    Seq2Seq: _seq2seq,
}


def _observed(model: nn.Module, batch: CalibrationBatch) -> list[Block]:
    """Members of lists and sequences of any network that hold layers, and give back the shape that they get."""
    keeps: dict[str, bool] = {}

    def look(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        same = bool(inputs) and isinstance(output, Tensor) and getattr(inputs[0], "shape", None) == output.shape
        keeps[name] = keeps.get(name, True) and same

    members = {
        f"{name}.{key}".lstrip("."): member
        for name, holder in model.named_modules()
        if isinstance(holder, nn.ModuleList | nn.Sequential)
        for key, member in holder.named_children()
        if not isinstance(member, (*WEIGHT_LAYERS, Factored)) and weight_layers(member)
    }
    hooks = [
        member.register_forward_hook(lambda _, inputs, output, name=name: look(name, inputs, output))
        for name, member in members.items()
    ]
    try:
        with torch.no_grad():
            batch.run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return [Block(name, {name: "pass"}) for name in members if keeps.get(name)]
