"""Seven lessons from "what is a weight" to "choose for a budget"."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from gencomp_core.charts import lessons as draw
from gencomp_core.charts.pareto import pareto_chart
from gencomp_core.charts.theme import bytes_text
from gencomp_core.runtime_env import ASSETS
from gencomp_core.services.frontiers import COSTS, frontier_of
from gencomp_core.services.lessons.evidence import (
    allowed,
    best_row,
    eager_latency,
    measured,
    prune,
    quality_of,
    quantize,
    series,
    sheets,
    tied_best,
)
from gencomp_core.services.lessons.lesson import ChoiceGuess, Lesson, NumberGuess, Reveal
from gencomp_core.store import Store

VAE, GAN = "fashion-vae", "fashion-gan"
SPARSITIES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BUDGET = 400_000
N_BINS = 61


def what_is_a_weight(store: Store) -> Reveal:
    """File size of dense, and a histogram of all weights."""
    dense = measured(store, VAE)
    edges, counts = _histogram(VAE)
    table = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "weights": counts})
    return Reveal(
        truth=dense.size_bytes / 1e6,
        sentence=(
            f"{dense.n_params:,} numbers at 4 bytes each are {4 * dense.n_params:,} bytes, and the file has "
            f"{dense.size_bytes:,}: its names and shapes are the rest."
        ),
        figure=draw.histogram(edges, counts, x_title="value of a weight"),
        alt="Histogram of all weights: a narrow peak around zero with thin tails.",
        table=table,
        signature=dense.signature,
    )


def how_many_can_go(store: Store) -> Reveal:
    """Quality over the share of zeros."""
    table = series(store, VAE, {100 * s: [prune(s)] for s in SPARSITIES})
    within = table[allowed(table, store, VAE)]
    dense = quality_of(measured(store, VAE))
    most = float(within["x"].max()) if len(within) else 0.0
    shown = [measured(store, VAE), *(measured(store, VAE, prune(s)) for s in (0.3, 0.5, 0.7))]
    return Reveal(
        truth=most,
        sentence=(
            f"Up to {most:.0f} % of the weights can be zero before FID is surely no longer within 10 % of dense "
            f"({dense.value:.2f}, n = {dense.n_samples:,})."
        ),
        figure=draw.curve(
            table, x_title="zeros, %", y_title="FID ↓", dense=dense.value, log=True, marked=most if most else None
        ),
        alt="FID over the share of zeros: flat at first, then rising ever faster.",
        table=table.drop(columns="signature"),
        sheets=sheets(store, shown),
        signature=str(within.iloc[-1]["signature"]) if len(within) else None,
    )


def is_half_zero_half_size(store: Store) -> Reveal:
    """Bytes and milliseconds of a network that is half zeros."""
    dense, half = measured(store, VAE), measured(store, VAE, prune(0.5))
    latency = eager_latency(half)
    share = 100 * half.size_bytes / dense.size_bytes
    table = series(store, VAE, {"dense": [], **{f"{s:.0%} zeros": [prune(s)] for s in (0.3, 0.5, 0.7, 0.9)}})
    bytes_table = pd.DataFrame({"x": table["x"], "quality": table["size_bytes"] / 1e6})
    return Reveal(
        truth=share,
        sentence=(
            f"{half.size_bytes:,} of {dense.size_bytes:,} bytes: {share:.0f} %. One bit a weight says where the zeros "
            f"are, which is what is paid on top. It takes {latency.ratio:.2f} × the time of dense: "
            f"{'no faster' if latency.verdict == 'tie' else latency.verdict}."
        ),
        figure=draw.bars(bytes_table, x_title="", y_title="weights file, MB ↓", right=("50% zeros",)),
        alt="Size of the file at 0, 30, 50, 70 and 90 per cent zeros.",
        table=table.drop(columns="signature"),
        signature=half.signature,
    )


def how_few_bits(store: Store) -> Reveal:
    """Quality over the width of the integers."""
    table = series(store, GAN, {bits: [quantize(bits)] for bits in range(8, 1, -1)})
    within = table[allowed(table, store, GAN)]
    dense = quality_of(measured(store, GAN))
    fewest = float(within["x"].min()) if len(within) else 8.0
    shown = [measured(store, GAN), *(measured(store, GAN, quantize(bits)) for bits in (8, 5, 3, 2))]
    return Reveal(
        truth=fewest,
        sentence=(
            f"{fewest:.0f} bits: FID is surely within 10 % of dense ({dense.value:.2f}, n = {dense.n_samples:,}) "
            f"down to "
            "there, with one scale a channel and nothing tuned."
        ),
        figure=draw.curve(table, x_title="bits a weight", y_title="FID ↓", dense=dense.value, log=True, marked=fewest),
        alt="FID over bits per weight: flat from 8 to 7, then rising steeply below 5.",
        table=table.drop(columns="signature"),
        sheets=sheets(store, shown),
        signature=str(within.iloc[-1]["signature"]) if len(within) else None,
    )


SCALES: dict[str, dict[str, Any]] = {
    "the whole layer": quantize(4, granularity="tensor"),
    "an output channel": quantize(4),
    "64 weights": quantize(4, group_size=64),
    "16 weights": quantize(4, group_size=16),
}


def who_shares_a_scale(store: Store) -> Reveal:
    """Four ways to share scales at four bits."""
    table = series(store, GAN, {name: [stage] for name, stage in SCALES.items()})
    right = tied_best(table)
    figures = "; ".join(
        f"{row['x']}: FID {row['quality']:.2f} at {bytes_text(row['size_bytes'])}" for row in table.to_dict("records")
    )
    tie = " They tie." if len(right) > 1 else ""
    return Reveal(
        truth=right,
        sentence=f"The fewer weights share a scale, the finer the grid, and every scale costs 16 bits. {figures}.{tie}",
        figure=draw.bars(table, x_title="who shares a scale", y_title="FID ↓", right=right),
        alt="FID of four ways to share a scale at four bits, with intervals.",
        table=table.drop(columns="signature"),
        signature=str(best_row(table)["signature"]),
    )


ORDERS = {
    "prune first, then round": [prune(0.5), quantize(4)],
    "round first, then prune": [quantize(4), prune(0.5)],
}


def which_order(store: Store) -> Reveal:
    """Both orders of the same two stages."""
    table = series(store, GAN, ORDERS)
    right = tied_best(table)
    if len(right) > 1:
        right = ("no difference",)
    values = dict(zip(table["x"], table["quality"], strict=True))
    shown = [measured(store, GAN), *(measured(store, GAN, *stages) for stages in ORDERS.values())]
    return Reveal(
        truth=right,
        sentence="; ".join(f"{name}: FID {value:.1f}" for name, value in values.items()) + ". Lower is better.",
        figure=draw.bars(table, x_title="", y_title="FID ↓", right=right),
        alt="FID of both orders with intervals.",
        table=table.drop(columns="signature"),
        sheets=sheets(store, shown),
        signature=str(best_row(table)["signature"]),
    )


OFFERS: dict[str, list[dict[str, Any]]] = {
    "4-bit per channel": [quantize(4)],
    "50% magnitude (layer) → 6-bit": [prune(0.5), quantize(6)],
    "4-bit g32, affine, MSE clip": [quantize(4, group_size=32, symmetric=False, clipping="mse")],
    "3-bit g16": [quantize(3, group_size=16)],
}


def choose_for_a_budget(store: Store) -> Reveal:
    """The best of four that fit, on the whole frontier."""
    table = series(store, GAN, OFFERS)
    right = tied_best(table)
    best = best_row(table)
    frontier = frontier_of(store, GAN, x="size_bytes")
    return Reveal(
        truth=right,
        sentence=(
            f"{best['title']}: FID {best['quality']:.2f} [{best['quality_low']:.2f}, {best['quality_high']:.2f}] at "
            f"{int(best['size_bytes']):,} bytes. All four fit {bytes_text(BUDGET)}; the ring marks it on the frontier."
        ),
        figure=pareto_chart(
            frontier, x="size_bytes", x_title=COSTS["size_bytes"].title, y_title="FID", selected=str(best["signature"])
        ),
        alt="Bytes against FID of all measured configurations; the chosen one is ringed.",
        table=table.drop(columns="signature"),
        signature=str(best["signature"]),
    )


@cache
def _histogram(workload: str) -> tuple[list[float], list[int]]:
    """Bin edges and counts over the weights of a bundled checkpoint, the outermost thousandth left out."""
    tensors = load_file(ASSETS / "checkpoints" / workload / "model.safetensors")
    values = np.concatenate([x.astype(np.float32).ravel() for x in tensors.values()])
    low, high = np.quantile(values, [0.0005, 0.9995])
    counts, edges = np.histogram(values, bins=N_BINS, range=(float(low), float(high)))
    return edges.tolist(), counts.tolist()


FIRST_STEPS = (
    Lesson(
        "weight", "first steps", "What is a weight?", VAE,
        "This image generator is 660,961 numbers, and nothing else. Each is kept as a 32-bit float. How large is "
        "its file?",
        NumberGuess("Megabytes", 0.1, 20, 0.1, 10, "MB", near=0.3),
        what_is_a_weight,
        "A network is a list of numbers with a plan of how to multiply them. Most are close to zero, which is why "
        "some "
        "can go and the others need few bits.",
    ),
    Lesson(
        "zeros", "first steps", "How many weights can go?", VAE,
        "Set the smallest weights of every layer to zero. What share can go before the pictures are measurably worse?",
        NumberGuess("Share of zeros, %", 0, 90, 5, 70, "%", near=10),
        how_many_can_go,
        "Small weights change little, and others make up for them, up to a point. Behind it every further weight was "
        "needed. FID compares many pictures with real ones; the interval says what chance alone could do.",
        (prune(0.5),),
    ),
    Lesson(
        "half", "first steps", "Half the weights, half the file?", VAE,
        "Half of the weights are zero now. How large is the file, as a share of dense?",
        NumberGuess("Share of the dense file, %", 10, 100, 1, 50, "%", near=3),
        is_half_zero_half_size,
        "A zero in an ordinary array takes as much room and time as any other number. The file shrinks because "
        "zeros are "
        "left out and a mask says where they were. The processor still multiplies by all of them.",
        (prune(0.5),),
    ),
    Lesson(
        "bits", "first steps", "How few bits does a weight need?", GAN,
        "Round every weight to an integer of a few bits, with one scale a channel. How few bits keep the quality?",
        NumberGuess("Bits a weight", 1, 8, 1, 4, "bits", near=0),
        how_few_bits,
        "Each bit less makes the grid twice as coarse, and the error four times as large. At first it drowns in "
        "what the "
        "network tolerates; then it doubles and doubles.",
        (quantize(4),),
    ),
    Lesson(
        "scales", "first steps", "Who shares a scale?", GAN,
        "All four files below hold 4-bit integers. Who should share one scale to get the lowest FID?",
        ChoiceGuess("One scale for", tuple(SCALES)),
        who_shares_a_scale,
        "The scale is the step of the grid, and the largest weight sets it. One outlier makes the grid coarse for "
        "all who "
        "share it. Smaller groups shut it in, for more bytes of scales.",
        (quantize(4, group_size=64),),
    ),
    Lesson(
        "order", "first steps", "Prune first, or round first?", GAN,
        "The recipe has two stages: half of the weights to zero, and 4 bits. Which order gives better pictures?",
        ChoiceGuess("Order", (*ORDERS, "no difference")),
        which_order,
        "Pruning looks at sizes. After rounding, many weights have the same size, and it can't tell any more which of "
        "them matter. Pruned first, the scales fit what is left.",
        (prune(0.5), quantize(4)),
    ),
    Lesson(
        "budget", "first steps", "Choose for a budget", GAN,
        f"You may ship {bytes_text(BUDGET)}. All of these fit. Which has the lowest FID?",
        ChoiceGuess("Configuration", tuple(OFFERS)),
        choose_for_a_budget,
        "No rule finds it: a byte can go into more weights, more bits or more scales. So one measures many and "
        "looks at "
        "the frontier, on which nothing is both smaller and better.",
        (quantize(4, group_size=32, symmetric=False, clipping="mse"),),
    ),
)  # fmt: skip
