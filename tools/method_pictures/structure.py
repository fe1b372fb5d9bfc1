"""Pictures of stages that remove channels, heads and blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gencomp_core.compression.blocks import blocks_of, output_changes
from gencomp_core.compression.layers import weight_layers, weight_of
from gencomp_core.compression.slicing import ChannelChange
from gencomp_core.services.pictures import Picture
from gencomp_core.variant import Variant
from gencomp_core.workloads.calibration import forward_batches
from tools.method_pictures.tables import (
    CONVOLUTION,
    DIFFUSION,
    FEED,
    VAE,
    VERSES,
    Stage,
    dot_columns,
    line_columns,
    made,
    moments,
    rows_in,
    told,
    workload_of,
)


def channels() -> list[Picture]:
    """Widths before and after, and the ranking of one layer's channels."""
    stage: Stage = {"kind": "channel-pruning", "pruning_ratio": 0.3}
    dense, after = workload_of(VAE).model, made(VAE, stage)
    left: dict[str, dict[str, float]] = {"outputs": {}, "weights": {}}
    for name in weight_layers(dense):
        own, before = rows_in(after.model, name), rows_in(dense, name)
        left["outputs"][name] = len(own) / len(before)
        left["weights"][name] = own.numel() / before.numel()
    whole = sum(rows_in(after.model, name).numel() for name in left["weights"])
    whole /= sum(rows_in(dense, name).numel() for name in left["weights"])
    kept = kept_outputs(after)[CONVOLUTION]
    norms = rows_in(dense, CONVOLUTION).square().sum(1).sqrt()
    return [
        Picture(
            view="dots",
            title="What is left of each layer",
            x_title="share of the dense layer",
            caption="Layers that are added to each other shrink together. A layer that loses inputs as well as outputs "
            f"keeps {min(left['weights'].values()):.0%} of its weights; {whole:.0%} of all stay.",
            conditions=told(VAE, "", stage),
            columns=dot_columns(left),
        ),
        ranking(f"Channels of {CONVOLUTION}", norms, kept, told(VAE, CONVOLUTION, stage)),
    ]


def ranking(title: str, norms: Tensor, kept: Sequence[int], conditions: str) -> Picture:
    """Sizes of channels from small to large, those that went apart from those that stayed."""
    order = norms.argsort().tolist()
    series: dict[str, list[float | None]] = {
        label: [float(norms[unit]) if (unit in kept) == stays else None for unit in order]
        for label, stays in (("removed", False), ("kept", True))
    }
    return Picture(
        view="ranking",
        title=title,
        x_title="channel, from small to large",
        y_title="L2 norm of its weights",
        caption="The smallest go. The score counts the weights of a channel in all layers that have it, so that the "
        "ranking differs from that by this layer's weights alone.",
        conditions=conditions,
        columns=line_columns(series),
    )


def kept_outputs(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Channels that stayed, by layer that makes them."""
    changes = [change for change in variant.changes if isinstance(change, ChannelChange)]
    return {name: sides["out"] for change in changes for name, sides in change.kept.items() if "out" in sides}


def heads() -> list[Picture]:
    """Size of every head; which went and which stayed."""
    stage: Stage = {"kind": "head-pruning", "pruning_ratio": 0.5}
    dense, kept = workload_of(VERSES).model, kept_outputs(made(VERSES, stage))
    series: dict[str, dict[str, float]] = {"removed": {}, "kept": {}}
    names = []
    for layer, stays in kept.items():
        if not layer.endswith(".q"):
            continue
        attention = layer.removesuffix(".q")
        n_heads = int(dense.get_submodule(attention).n_heads)  # type: ignore[arg-type]
        size = len(rows_in(dense, layer)) // n_heads
        parts = [rows_in(dense, f"{attention}.{part}") for part in "qkv"] + [rows_in(dense, f"{attention}.proj").T]
        for head in range(n_heads):
            own = slice(head * size, (head + 1) * size)
            norm = float(sum(float(part[own].square().sum()) for part in parts)) ** 0.5
            names.append(f"{attention}, head {head + 1}")
            series["kept" if head * size in stays else "removed"][names[-1]] = norm
    return [
        Picture(
            view="dots",
            title="Every head, and which half goes",
            x_title="L2 norm of the head's weights",
            caption="In each attention the heads with the smaller weights go, "
            f"{len(series['removed'])} of {len(names)} in all, with their queries, keys, values and columns of the "
            "projection.",
            conditions=told(VERSES, "", stage),
            columns=dot_columns(series, names),
        )
    ]


def blocks() -> list[Picture]:
    """How far the output moves without each block."""
    pictures = []
    for name in (VERSES, DIFFUSION):
        workload = workload_of(name)
        found = blocks_of(workload, workload.model)
        batches = list(forward_batches(workload, 32, seed=0))
        changes = output_changes(workload.model, workload.model, found, batches)
        least, most = min(changes, key=changes.__getitem__), max(changes, key=changes.__getitem__)
        rest = {block: value for block, value in changes.items() if block != least}
        pictures.append(
            Picture(
                view="dots",
                title=f"Without each block: {name}",
                x_title="relative squared change",
                caption=f"{least} is missed least ({changes[least]:.2%}) and goes first; without {most} the output "
                f"changes by {changes[most]:.0%}.",
                conditions=told(name, "", {"kind": "block-removal", "n_blocks": 1}),
                columns=dot_columns({"stays": rest, "goes first": {least: changes[least]}}, list(changes)),
            )
        )
    return pictures


def factorization() -> list[Picture]:
    """Energy of a layer's output by rank, and what is left of each layer."""
    stage: Stage = {"kind": "low-rank-factorization", "energy": 0.95}
    dense, after = workload_of(VERSES).model, made(VERSES, stage).model
    names = (FEED, "encoder.0.attention.q", "encoder.0.attention.v")
    grams = moments(VERSES, names)
    energies = {}
    for name in names:
        rows = rows_in(dense, name).double()
        values = torch.linalg.eigvalsh(rows @ grams[name].double() @ rows.T).flip(0).clamp_min(0)
        energies[name] = values.cumsum(0) / values.sum()
    needed = {name: int((own < stage["energy"]).sum()) + 1 for name, own in energies.items()}
    counts = {name: weight_of(layer).numel() for name, layer in weight_layers(after).items()}
    left = {
        name: sum(n for own, n in counts.items() if own == name or own.startswith(f"{name}."))
        / weight_of(layer).numel()
        for name, layer in weight_layers(dense).items()
    }
    shown = [name for name in left if name.startswith(("encoder.0.", "decoder.1.")) or "." not in name]
    series = {
        "whole": {name: left[name] for name in shown if left[name] == 1},
        "factored": {name: left[name] for name in shown if left[name] < 1},
    }
    n_thin = sum(share < 1 for share in left.values())
    return [
        Picture(
            view="lines",
            title="Energy of the output by rank",
            x_title="rank",
            y_title="share of the squared output",
            caption="For 95 % of the squared output on calibration inputs, "
            + ", ".join(f"{name} needs {rank} of {len(energies[name])}" for name, rank in needed.items())
            + " directions.",
            conditions=told(VERSES, "", stage),
            columns=line_columns({name: own.tolist() for name, own in energies.items()}),
        ),
        Picture(
            view="dots",
            title="Weights left of a layer",
            x_title="share of the dense layer",
            caption=f"{n_thin} of {len(left)} layers get smaller as two thin ones; the others stay whole. "
            f"{sum(counts.values()) / sum(weight_of(own).numel() for own in weight_layers(dense).values()):.0%} of all "
            "weights are left. Shown are the first and the last block.",
            conditions=told(VERSES, "", stage),
            columns=dot_columns(series, shown),
        ),
    ]
