"""Pictures of stages that zero weights."""

import torch
from torch import Tensor

from gencomp_core.compression.calibration import input_norms
from gencomp_core.compression.gptq import layer_error
from gencomp_core.compression.layers import weight_layers
from gencomp_core.services.pictures import Picture
from tools.method_pictures.tables import (
    COLUMNS,
    CONVOLUTION,
    FEED,
    VAE,
    VERSES,
    Stage,
    batches_of,
    dot_columns,
    line_columns,
    made,
    moments,
    rows_in,
    sparsity_by_layer,
    told,
    weights_picture,
    workload_of,
)


def magnitude() -> list[Picture]:
    """Masks of half of the weights, and who gives them under each scope."""
    half: Stage = {"kind": "magnitude-pruning", "sparsity": 0.5}
    pattern: Stage = {"kind": "magnitude-pruning", "pattern": "2:4"}
    dense = rows_in(workload_of(VAE).model, CONVOLUTION)
    free, paired = (rows_in(made(VAE, stage).model, CONVOLUTION) for stage in (half, pattern))
    lost = float(((free != 0) & (paired == 0)).double().sum() / (free != 0).double().sum())
    energy = [float(own.square().sum() / dense.square().sum()) for own in (free, paired)]
    scopes = {
        scope: sparsity_by_layer(made(VAE, {"kind": "magnitude-pruning", "sparsity": 0.7, "scope": scope}).model)
        for scope in ("layer", "global", "lamp", "erk")
    }
    widest = max(scopes["global"], key=lambda name: scopes["global"][name])
    return [
        weights_picture(
            VAE,
            CONVOLUTION,
            {"dense": dense, "50 %, anywhere": free, "2:4": paired},
            f"Half of the weights are zero and {energy[0]:.1%} of their sum of squares is left; two of every four "
            f"neighbours keep {energy[1]:.1%}, because {lost:.0%} of the larger half must go.",
            half,
        ),
        Picture(
            view="dots",
            title="Who gives the 70 % of zeros",
            x_title="share of zeros in the layer",
            caption=f"Four ways to share one budget. Ranked over the whole network, {widest} gives "
            f"{scopes['global'][widest]:.0%} and the last layer {scopes['global']['out']:.0%}.",
            conditions=told(VAE, "", {"kind": "magnitude-pruning", "sparsity": 0.7}),
            columns=dot_columns(scopes),
        ),
    ]


def wanda() -> list[Picture]:
    """Masks by column, and how much is kept of columns with weak and strong inputs."""
    by_input: Stage = {"kind": "wanda-pruning", "sparsity": 0.5}
    by_size: Stage = {"kind": "magnitude-pruning", "sparsity": 0.5}
    workload = workload_of(VERSES)
    layers = weight_layers(workload.model)
    norms = input_norms(workload.model, {FEED: layers[FEED]}, batches_of(VERSES))[FEED]
    order = norms.argsort()
    kept = {
        label: (rows_in(made(VERSES, stage).model, FEED) != 0).double().mean(0)[order]
        for label, stage in (("magnitude", by_size), ("Wanda", by_input))
    }
    smooth = {label: own.unfold(0, 32, 16).mean(1) for label, own in kept.items()}
    middles = [16.5 + 16 * number for number in range(len(smooth["Wanda"]))]
    weak, strong = float(smooth["Wanda"][0]), float(smooth["Wanda"][-1])
    panels = {
        "dense": rows_in(workload.model, FEED)[:, order],
        "50 % magnitude": rows_in(made(VERSES, by_size).model, FEED)[:, order],
        "50 % Wanda": rows_in(made(VERSES, by_input).model, FEED)[:, order],
    }
    spread = torch.linspace(0, len(order) - 1, COLUMNS).round().long()
    return [
        weights_picture(
            VERSES,
            FEED,
            {label: own[:, spread] for label, own in panels.items()},
            "Columns from the weakest input (left) to the strongest: Wanda takes more on the left.",
            by_input,
        ),
        Picture(
            view="lines",
            title="Weights kept, by how strong their input is",
            x_title="input column, from weak to strong",
            y_title="share of weights kept",
            caption=f"Magnitude doesn't look at inputs. Wanda keeps {weak:.0%} of the weights of the weakest inputs "
            f"and {strong:.0%} of the strongest. Means of 32 columns.",
            conditions=told(VERSES, FEED, by_input),
            columns=line_columns({label: own.tolist() for label, own in smooth.items()}, middles),
        ),
    ]


def sparsegpt() -> list[Picture]:
    """Mask and updated weights, and the error of each layer's output."""
    kinds = ("magnitude", "wanda", "sparsegpt")
    stages: dict[str, Stage] = {kind: {"kind": f"{kind}-pruning", "sparsity": 0.6} for kind in kinds}
    model = workload_of(VERSES).model
    after = {kind: made(VERSES, stage).model for kind, stage in stages.items()}
    names = tuple(name for name in weight_layers(model) if name.startswith(("encoder.0.", "decoder.1.")))
    grams = moments(VERSES, names)
    errors = {
        {"sparsegpt": "SparseGPT", "wanda": "Wanda"}.get(kind, kind): {
            name: relative_output_error(rows_in(own, name), rows_in(model, name), grams[name]) for name in names
        }
        for kind, own in after.items()
    }
    mean = {kind: sum(own.values()) / len(own) for kind, own in errors.items()}
    dense, left = rows_in(model, FEED), rows_in(after["sparsegpt"], FEED)
    moved = (left - dense)[left != 0].abs().mean() / dense[left != 0].abs().mean()
    return [
        weights_picture(
            VERSES,
            FEED,
            {"dense": dense, "60 % magnitude": rows_in(after["magnitude"], FEED), "60 % SparseGPT": left},
            f"What stays is changed as well, by {float(moved):.0%} of its size on average, to make up for what went.",
            stages["sparsegpt"],
        ),
        Picture(
            view="dots",
            title="Change of each layer's output",
            x_title="relative squared change",
            caption="Each layer on its dense inputs. Mean over these layers: "
            + ", ".join(f"{kind} {value:.1%}" for kind, value in mean.items())
            + ".",
            conditions=told(VERSES, "", stages["sparsegpt"]),
            columns=dot_columns(errors),
        ),
    ]


def relative_output_error(after: Tensor, dense: Tensor, gram: Tensor) -> float:
    """E‖(W' − W) x‖² / E‖W x‖², by the second moments of x."""
    return float(layer_error(after - dense, gram).sum() / layer_error(dense, gram).sum())


def gradient() -> list[Picture]:
    """Masks by size and by gradient, and where the zeros are."""
    fisher: Stage = {"kind": "gradient-pruning", "sparsity": 0.5}
    by_size: Stage = {"kind": "magnitude-pruning", "sparsity": 0.5, "scope": "global"}
    dense = workload_of(VAE).model
    after = {"magnitude, global": made(VAE, by_size).model, "Fisher, global": made(VAE, fisher).model}
    shares = {label: sparsity_by_layer(own) for label, own in after.items()}
    sets = [torch.cat([rows_in(own, name).flatten() != 0 for name in weight_layers(dense)]) for own in after.values()]
    common = float((sets[0] & sets[1]).double().sum() / sets[0].double().sum())
    by_size_alone, by_fisher = shares.values()
    furthest = max(by_fisher, key=lambda name: abs(by_fisher[name] - by_size_alone[name]))
    return [
        weights_picture(
            VAE,
            CONVOLUTION,
            {"dense": rows_in(dense, CONVOLUTION)} | {label: rows_in(own, CONVOLUTION) for label, own in after.items()},
            f"Both take half of all weights; {common:.0%} of what magnitude keeps, Fisher's score keeps as well.",
            fisher,
        ),
        Picture(
            view="dots",
            title="Who gives the 50 % of zeros",
            x_title="share of zeros in the layer",
            caption=f"Gradients of the training loss on 256 samples move the budget, most in {furthest}: "
            f"{by_size_alone[furthest]:.0%} by size, {by_fisher[furthest]:.0%} by Fisher.",
            conditions=told(VAE, "", fisher),
            columns=dot_columns(shares),
        ),
    ]


def adaptive() -> list[Picture]:
    """Masks at two allowed changes, and where the zeros are."""
    allowed: dict[str, Stage] = {
        f"change {change:g}": {"kind": "adaptive-pruning", "max_output_change": change} for change in (0.03, 0.1)
    }
    after = {label: made(VAE, stage).model for label, stage in allowed.items()}
    shares = {label: sparsity_by_layer(own) for label, own in after.items()}
    zeros = {
        label: float(torch.cat([rows_in(own, name).flatten() == 0 for name in shares[label]]).double().mean())
        for label, own in after.items()
    }
    panels = {"dense": workload_of(VAE).model, **after}
    first = shares["change 0.03"]
    least, most = min(first, key=first.__getitem__), max(first, key=first.__getitem__)
    return [
        weights_picture(
            VAE,
            CONVOLUTION,
            {label: rows_in(own, CONVOLUTION) for label, own in panels.items()},
            "The allowed change of the output decides: "
            + " and ".join(f"{label} zeroes {share:.0%}" for label, share in zeros.items())
            + " of all weights.",
            allowed["change 0.03"],
        ),
        Picture(
            view="dots",
            title="What each layer was found to bear",
            x_title="share of zeros in the layer",
            caption=f"Every layer has a threshold of its own: at change 0.03, {least} gives {first[least]:.0%} and "
            f"{most} {first[most]:.0%}, which may be 95 % at most.",
            conditions=told(VAE, "", allowed["change 0.03"]),
            columns=dot_columns(shares),
        ),
    ]
