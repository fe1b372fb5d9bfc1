"""Pictures of stages that round weights and activations, and of those that make up for it."""

from typing import Any

import torch
from torch import Tensor, nn

from gencomp_core.compression.activations import activation_scales, watch_inputs
from gencomp_core.compression.corrections import output_shifts
from gencomp_core.compression.layers import weight_layers
from gencomp_core.compression.low_rank import IN, OUT
from gencomp_core.compression.smoothing import largest_inputs
from gencomp_core.services.pictures import Picture
from gencomp_core.workloads.calibration import forward_batches
from tools.method_pictures.tables import (
    CONVOLUTION,
    DIFFUSION,
    FEED,
    VAE,
    VERSES,
    Stage,
    batches_of,
    dot_columns,
    histogram_columns,
    line_columns,
    made,
    moments,
    rounded,
    rows_in,
    told,
    workload_of,
)

MOST_CHANNELS = 192
Sides = tuple[Tensor, Tensor]


def weight_quantization() -> list[Picture]:
    """One channel on its grid, and how many weights GPTQ and AdaRound round to another integer."""
    bits: Stage = {"kind": "weight-quantization", "bits": 3}
    channel = 5
    dense = rows_in(workload_of(VAE).model, CONVOLUTION)[channel]
    levels = {
        "3 bits, nearest": rows_in(made(VAE, bits).model, CONVOLUTION)[channel],
        "3 bits, MSE clipping": rows_in(made(VAE, bits | {"clipping": "mse"}).model, CONVOLUTION)[channel],
    }
    errors = [float((own - dense).square().mean().sqrt() / dense.square().mean().sqrt()) for own in levels.values()]
    nearest = made(VAE, bits)
    others, further = {}, 0.0
    for label, rounding in (("GPTQ", "gptq"), ("AdaRound", "adaround")):
        own = made(VAE, bits | {"rounding": rounding})
        others[label] = {
            name: float((own.quantized[name].codes != nearest.quantized[name].codes).double().mean())
            for name in nearest.quantized
            if name.startswith(("latent", "decoder", "out"))
        }
        steps = torch.cat(
            [(own.quantized[n].codes - nearest.quantized[n].codes).abs().flatten() for n in others[label]]
        )
        further = max(further, float((steps > 1).double().mean()))
    return [
        Picture(
            view="histograms",
            title="One channel and its grid",
            x_title="weight",
            y_title="share of weights",
            caption=f"Three bits leave seven values. Nearest reaches to the largest weight, with an error of "
            f"{errors[0]:.0%} of the weights' size; a narrower range errs by {errors[1]:.0%}.",
            conditions=told(VAE, CONVOLUTION, bits),
            columns=histogram_columns(dense, levels),
        ),
        Picture(
            view="dots",
            title="Rounded the other way",
            x_title="share of the layer's weights",
            caption="The layer's output counts, so that many weights are not rounded to the nearest integer: "
            + ", ".join(f"{label} {sum(own.values()) / len(own):.0%}" for label, own in others.items())
            + f" on average, {further:.1%} by more than one step.",
            conditions=told(VAE, "", bits),
            columns=dot_columns({"GPTQ": others["GPTQ"], "AdaRound": others["AdaRound"]}),
        ),
    ]


def float_format() -> list[Picture]:
    """Sixteen values even and uneven, and the rounding error of each format."""
    formats = {"NF4": "nf4", "FP8-E4M3": "float8_e4m3fn", "bfloat16": "bfloat16"}
    dense = rows_in(workload_of(VERSES).model, FEED)
    stages: dict[str, Stage] = {
        "4-bit integers, g64": {"kind": "weight-quantization", "bits": 4, "group_size": 64},
        "8-bit integers": {"kind": "weight-quantization", "bits": 8},
    }
    stages |= {label: {"kind": "float-format", "format": name} for label, name in formats.items()}
    after = {label: rows_in(made(VERSES, stage).model, FEED) for label, stage in stages.items()}
    block = (0, slice(0, 64))
    ratio = {
        label: float(10 * torch.log10(dense.square().sum() / (own - dense).square().sum()))
        for label, own in after.items()
    }
    by_kind = {
        kind: {label: value for label, value in ratio.items() if ("integers" in label) == (kind == "integers")}
        for kind in ("integers", "floating point")
    }
    gain = ratio["NF4"] - ratio["4-bit integers, g64"]
    return [
        Picture(
            view="histograms",
            title=f"One block of 64 weights of {FEED}",
            x_title="weight",
            y_title="share of weights",
            caption="Both have sixteen values at most: integers lie evenly, those of NF4 densest where a normal "
            f"distribution has most weights. Over the layer that is worth {gain:.1f} dB.",
            conditions=told(VERSES, FEED, {"kind": "float-format", "format": "nf4"}),
            columns=histogram_columns(
                dense[block], {label: after[label][block] for label in ("4-bit integers, g64", "NF4")}
            ),
        ),
        Picture(
            view="dots",
            title="Signal to rounding error, by format",
            x_title="dB (higher is better)",
            caption="6 dB are one bit. At 8 bits integers with a scale for each channel are finer than FP8, whose "
            "steps grow with the weight. float16 is left out: these weights ship in it and lose nothing.",
            conditions=told(VERSES, FEED),
            columns=dot_columns(by_kind),
        ),
    ]


def low_rank() -> list[Picture]:
    """Singular values of the rounding error with and without the branch."""
    bits: Stage = {"kind": "weight-quantization", "bits": 3}
    branch: Stage = {"kind": "low-rank-correction", "rank": 8}
    plain, corrected = made(VERSES, bits), made(VERSES, bits, branch)
    dense = rows_in(workload_of(VERSES).model, FEED)
    branch_of = dict(weight_layers(corrected.model)[FEED].named_buffers())
    product = branch_of[OUT].float() @ branch_of[IN].float()
    values, vectors = torch.linalg.eigh(moments(VERSES, (FEED,))[FEED].double())
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    error = dense - rows_in(plain.model, FEED)
    errors = {"rounded": error, "with a branch of rank 8": error - product}
    spectra = {label: torch.linalg.svdvals(own.double() @ root)[:64] for label, own in errors.items()}
    left = [float((own.double() @ root).square().sum()) for own in errors.values()]
    return [
        Picture(
            view="lines",
            title="Rounding error by direction",
            x_title="direction of the output, from large to small",
            y_title="singular value",
            caption=f"Eight directions are taken off, the largest ones: the squared error of the output falls by "
            f"{1 - left[1] / left[0]:.0%}. First 64 of {min(dense.shape)}, weighted by the inputs.",
            conditions=told(VERSES, FEED, bits, branch),
            columns=line_columns({label: own.tolist() for label, own in spectra.items()}),
        )
    ]


def bias_correction() -> list[Picture]:
    """Shift of the mean of each output channel before and after."""
    bits: Stage = {"kind": "weight-quantization", "bits": 3}
    correction: Stage = {"kind": "bias-correction"}
    layer, batches = "decoder.0.0.conv1", batches_of(VAE)
    shifts = {}
    for label, stages in (("rounded", [bits]), ("bias corrected", [bits, correction])):
        layers = {layer: weight_layers(made(VAE, *stages).model)[layer]}
        shifts[label] = output_shifts(workload_of(VAE).model, layers, batches)[layer]
    order = shifts["rounded"].argsort()
    before, after = (float(own.abs().mean()) for own in shifts.values())
    return [
        Picture(
            view="lines",
            title=f"Shift of the mean output of {layer}",
            x_title="output channel, sorted",
            y_title="mean of dense − compressed",
            caption=f"Rounding moved the mean of a channel by {before:.3g} on average; afterwards by {after:.1g}. "
            "Noise about the mean stays.",
            conditions=told(VAE, layer, bits, correction),
            columns=line_columns({label: own[order].tolist() for label, own in shifts.items()}),
        )
    ]


def two_sides(before: Sides, after: Sides, **fields: str) -> Picture:
    """Ranges of a channel on two sides against each other, before and after a scale moved between them.

    Channels that carry nothing are left out, and of more than `MOST_CHANNELS` only every second, third … is drawn.
    """
    columns: dict[str, list[Any]] = {"series": [], "x": [], "value": []}
    alive = (torch.stack([*before, *after]) > 0).all(0).nonzero()[:, 0]
    drawn = alive[:: -(-len(alive) // MOST_CHANNELS)]
    for label, (first, second) in (("before", before), ("after", after)):
        columns["series"] += [label] * len(drawn)
        columns["x"] += rounded(first[drawn].tolist())
        columns["value"] += rounded(second[drawn].tolist())
    return Picture(view="points", columns=columns, **fields)  # type: ignore[arg-type]


def unevenness(values: Tensor) -> float:
    """Largest over median: how much finer a scale of its own would be for the typical channel."""
    return float(values.max() / values.median())


def equalization() -> list[Picture]:
    """Ranges of both sides of each channel before and after."""
    stage: Stage = {"kind": "cross-layer-equalization"}
    first, second = "encoder.0.feed.inner", "encoder.0.feed.outer"

    def sides(model: nn.Module) -> Sides:
        return rows_in(model, first).abs().amax(1), rows_in(model, second).abs().amax(0)

    before, after = sides(workload_of(VERSES).model), sides(made(VERSES, stage).model)
    gaps = [2 ** float((one / two).log2().abs().mean()) for one, two in (before, after)]
    picture = two_sides(
        before,
        after,
        title="Largest weight by channel",
        x_title="in the first layer (log)",
        y_title="in the second layer (log)",
        caption=f"The two sides of a channel differ by a factor of {gaps[0]:.2f} on average before and {gaps[1]:.2f} "
        "after; the network computes the same.",
        conditions=told(VERSES, f"{first} → {second}", stage),
    )
    return [picture]


def smooth_quant() -> list[Picture]:
    """Ranges of inputs and of the weights that they meet, before and after."""
    stage: Stage = {"kind": "smooth-quant"}
    layer, batches = "middle.block.cond", batches_of(DIFFUSION)

    def sides(model: nn.Module) -> Sides:
        inputs = largest_inputs(model, [layer], batches)[layer]  # behind the smoothing
        return inputs, rows_in(model, layer).abs().amax(0)

    before, after = sides(workload_of(DIFFUSION).model), sides(made(DIFFUSION, stage).model)
    uneven = [unevenness(inputs) for inputs, _ in (before, after)]
    picture = two_sides(
        before,
        after,
        title=f"Largest values at {layer}",
        x_title="largest input (log)",
        y_title="largest weight (log)",
        caption=f"The largest input channel is {uneven[0]:.1f} × the median one before and {uneven[1]:.1f} × after; "
        "the weights take up the difference, so that both sides of a channel end equal.",
        conditions=told(DIFFUSION, layer, stage),
    )
    return [picture]


def activation_quantization() -> list[Picture]:
    """Range of an input at each step of the sampler, and what was chosen."""
    layer = "up1.1.block.conv2"
    workload = workload_of(DIFFUSION)
    stage: Stage = {"kind": "activation-quantization", "calibration_samples": 80}
    met: dict[float, list[float]] = {}

    def see(_: str, x: Tensor, place: str) -> None:
        time = float(place.partition("=")[2])
        low, high = x.aminmax()
        known = met.setdefault(time, [0.0, 0.0])
        met[time] = [min(known[0], float(low)), max(known[1], float(high))]

    watch_inputs(workload.model, [layer], list(forward_batches(workload, 80, seed=0)), see)
    times = sorted(met)
    ends = {"inputs": [met[t] for t in times]}
    choices: dict[str, Stage] = {
        "all steps, min-max": {},
        "all steps, MSE": {"observer": "mse"},
        "last step": {"steps": "last"},
    }
    for label, fields in choices.items():
        low, high = chosen_range(made(DIFFUSION, stage | fields).model, layer)
        ends[label] = [[low, high]] * len(times)
    columns: dict[str, list[Any]] = {"series": [], "x": [], "value": []}
    for label, pairs in ends.items():
        columns["series"] += [label] * (2 * len(times) + 1)
        columns["x"] += [*times, times[-1], *times]
        columns["value"] += [*rounded(low for low, _ in pairs), None, *rounded(high for _, high in pairs)]
    widest, last = (max(high for _, high in ends[label]) for label in ("inputs", "last step"))
    return [
        Picture(
            view="lines",
            title=f"Inputs of {layer}",
            x_title="time of the step",
            y_title="smallest and largest input",
            caption=f"Inputs reach {widest:.1f}; a range from the last step alone ends at {last:.1f} and cuts off the "
            "others. MSE gives up the rarest values for smaller steps.",
            conditions=told(DIFFUSION, layer, stage),
            columns=columns,
        )
    ]


def chosen_range(model: nn.Module, layer: str) -> tuple[float, float]:
    """Ends of the range that a layer's input is rounded in."""
    own = activation_scales(model)[layer]
    scale, zero = own.scale[0], own.zero_point[0]
    return -zero * scale, (2**own.bits - 1 - zero) * scale
