"""The widths of the bundled networks, written down from their forward passes.

They follow the network as it is, so that they still hold when it has lost channels, heads or blocks.
"""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import nn

from gencomp_core.compression.factored import Factored
from gencomp_core.compression.structure import Side, Slot, Structure, Width, WidthKind, side_size
from gencomp_core.models.diffusion import AttentionBlock, FlowUNet, Level, ResidualBlock
from gencomp_core.models.gan import Generator, GeneratorBlock
from gencomp_core.models.seq2seq import Attention, FeedForward, Seq2Seq
from gencomp_core.models.vae import ConvBlock, FashionVAE

POSITIONS = 7 * 7  # a channel of a 7 × 7 picture that is flattened into a vector, channel by channel
RESIDUAL_WIDTH = "has the width of the residual stream, which embeddings, positions and output share: it stays"


class _Stream:
    """A width that is being written down.

    Args:
        size: channels of the first layer that belong to one unit.
    """

    def __init__(self, model: nn.Module, name: str, *, kind: WidthKind = "channels", unit: str = "", size: int = 1):
        self.model, self.name, self.kind = model, name, kind
        self.n = side_size(model.get_submodule(factor(model, unit or name, "out")), "out") // size
        self.slots: list[Slot] = []
        self.add("out", unit or name, size=size)

    def add(self, side: Side, layer: str, *, starts: Iterable[int] = (0,), size: int = 1) -> "_Stream":
        """Unit u has the channels start + u · size to start + (u + 1) · size - 1 of a layer's side, for each start."""
        first = torch.tensor(list(starts))[None, :, None] + size * torch.arange(self.n)[:, None, None]
        self.slots.append(Slot(factor(self.model, layer, side), side, (first + torch.arange(size)).flatten(1)))
        return self

    def width(self) -> Width:
        """The finished width."""
        return Width(self.name, self.kind, tuple(self.slots))


class _Streams:
    """All widths of a network that is being written down."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.found: list[_Stream] = []

    def new(self, name: str, **fields: Any) -> _Stream:
        """Begin a width at the layer that makes it."""
        self.found.append(_Stream(self.model, name, **fields))
        return self.found[-1]

    def heads(self, name: str, attention: AttentionBlock | Attention) -> None:
        """Heads of an attention: consecutive channels of q, k, v, and columns of the projection."""
        size = attention.q.out_features // attention.n_heads
        heads = self.new(name, kind="heads", unit=f"{name}.q", size=size)
        for side, layer in (("out", "k"), ("out", "v"), ("in", "proj")):
            heads.add(cast(Side, side), f"{name}.{layer}", size=size)

    def structure(self) -> Structure:
        """The finished widths."""
        return Structure([stream.width() for stream in self.found])


def factor(model: nn.Module, layer: str, side: Side) -> str:
    """The layer that has the inputs or outputs of one: it, or a factor of it."""
    if not isinstance(model.get_submodule(layer), Factored):
        return layer
    return f"{layer}.{'thin' if side == 'in' else 'wide'}"


def _flow_unet(model: FlowUNet) -> Structure:
    streams = _Streams(model)
    streams.new("time_in").add("in", "time_hidden")
    condition = streams.new("time_hidden").add("out", "class_embedding")

    def level(name: str, inputs: list[_Stream]) -> _Stream:
        own = cast(Level, model.get_submodule(name))
        stream = _residual_block(streams, f"{name}.block", own.block, inputs, condition)
        if isinstance(own.attention, AttentionBlock):
            stream = _attention_block(streams, f"{name}.attention", own.attention, stream)
        return stream

    h = streams.new("stem")
    skips = [h]
    for number in range(len(model.down0)):
        h = level(f"down0.{number}", [h])
        skips.append(h)
    h.add("in", "downsample")
    h = streams.new("downsample")
    skips.append(h)
    for number in range(len(model.down1)):
        h = level(f"down1.{number}", [h])
        skips.append(h)
    h = level("middle", [h])
    for number in range(len(model.up1)):
        h = level(f"up1.{number}", [h, skips.pop()])
    h.add("in", "upsample")
    h = streams.new("upsample")
    for number in range(len(model.up0)):
        h = level(f"up0.{number}", [h, skips.pop()])
    h.add("out", "out_norm").add("in", "out")
    return streams.structure()


def _residual_block(
    streams: _Streams, name: str, block: nn.Module, inputs: list[_Stream], condition: _Stream
) -> _Stream:
    """Where a block's output goes on: in a width of its own, or in that of its input, which is added to it."""
    if not isinstance(block, ResidualBlock):
        return inputs[0]  # removed
    projects = not isinstance(block.skip, nn.Identity)
    start = 0
    for stream in inputs:
        stream.add("out", f"{name}.norm1", starts=[start]).add("in", f"{name}.conv1", starts=[start])
        if projects:
            stream.add("in", f"{name}.skip", starts=[start])
        start += stream.n
    condition.add("in", f"{name}.cond")
    inner = streams.new(f"{name}.conv1")
    inner.add("out", f"{name}.cond", starts=[0, inner.n]).add("out", f"{name}.norm2").add("in", f"{name}.conv2")
    if block.residual and not projects:
        return inputs[0].add("out", f"{name}.conv2")
    after = streams.new(f"{name}.conv2")
    return after.add("out", f"{name}.skip") if projects else after


def _attention_block(streams: _Streams, name: str, block: AttentionBlock, stream: _Stream) -> _Stream:
    stream.add("out", f"{name}.norm")
    for layer in ("q", "k", "v"):
        stream.add("in", f"{name}.{layer}")
    streams.heads(name, block)
    return stream.add("out", f"{name}.proj") if block.residual else streams.new(f"{name}.proj")


def _generator(model: Generator) -> Structure:
    streams = _Streams(model)

    def normed(stream: _Stream, norm: str) -> _Stream:
        return stream.add("out", f"{norm}.norm").add("out", f"{norm}.scale").add("out", f"{norm}.shift")

    def refined(stream: _Stream, norm: str, conv: str, *, residual: bool) -> _Stream:
        if not isinstance(model.get_submodule(conv), nn.Conv2d | Factored):
            return stream  # removed
        normed(stream, norm).add("in", conv)
        return stream.add("out", conv) if residual else streams.new(conv)

    h = streams.new("project", size=POSITIONS)
    for name in ("up1", "up2"):
        block = cast(GeneratorBlock, model.get_submodule(name))
        normed(h, f"{name}.norm1").add("in", f"{name}.up")
        h = refined(streams.new(f"{name}.up"), f"{name}.norm2", f"{name}.conv", residual=block.residual)
        for number, more in enumerate(block.more):
            own = f"{name}.more.{number}"
            h = refined(h, f"{own}.norm", f"{own}.conv", residual=bool(more.residual)) if hasattr(more, "conv") else h
    h.add("out", "out_norm").add("in", "out")
    return streams.structure()


def _fashion_vae(model: FashionVAE) -> Structure:
    streams = _Streams(model)

    def blocks(name: str, stream: _Stream) -> _Stream:
        for number, block in enumerate(cast(nn.Sequential, model.get_submodule(name))):
            own = f"{name}.{number}"
            if not isinstance(block, ConvBlock):
                continue  # removed
            stream.add("out", f"{own}.norm1").add("in", f"{own}.conv1")
            streams.new(f"{own}.conv1").add("out", f"{own}.norm2").add("in", f"{own}.conv2")
            stream = stream.add("out", f"{own}.conv2") if block.residual else streams.new(f"{own}.conv2")
        return stream

    h = blocks("encoder.1", streams.new("encoder.0")).add("in", "encoder.2")
    h = blocks("encoder.3", streams.new("encoder.2"))
    h.add("out", "encoder.4").add("in", "posterior", size=POSITIONS)
    classes = streams.new("class_embedding")
    classes.add("in", "posterior", starts=[h.n * POSITIONS])
    classes.add("in", "latent_in", starts=[model.config.latent_dim])
    blocks("decoder.0", streams.new("latent_in", size=POSITIONS)).add("in", "decoder.1")
    blocks("decoder.2", streams.new("decoder.1")).add("in", "decoder.3")
    streams.new("decoder.3").add("out", "decoder.4").add("in", "out")
    return streams.structure()


def _seq2seq(model: Seq2Seq) -> Structure:
    streams = _Streams(model)
    for name, module in model.named_modules():
        if isinstance(module, FeedForward):
            streams.new(f"{name}.inner").add("in", f"{name}.outer")
        if isinstance(module, Attention):
            streams.heads(name, module)
    structure = streams.structure()
    structure.reasons |= dict.fromkeys(("embedding", "copy_gate"), RESIDUAL_WIDTH)
    return structure


_DECLARED: dict[type[nn.Module], Callable[[Any], Structure]] = {
    FlowUNet: _flow_unet,
    Generator: _generator,
    FashionVAE: _fashion_vae,
    Seq2Seq: _seq2seq,
}


def declared(model: nn.Module) -> Structure | None:
    """Widths of a bundled network; None for any other."""
    write = _DECLARED.get(type(model))
    return None if write is None else write(model)
