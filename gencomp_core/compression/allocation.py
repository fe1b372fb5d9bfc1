"""How layers share one sparsity over the network."""

import math
from collections.abc import Mapping, Sequence


def erk_counts(shapes: Mapping[str, Sequence[int]], density: float) -> dict[str, int]:
    """Weights that each layer keeps under the Erdős–Rényi-kernel rule.

    The density of a layer is ε · (sum of its dimensions) / (product of its dimensions), at most 1, with ε such
    that round(density · n) weights stay in all. Dimensions are those of the weight: (out, in) of a Linear,
    (out, in, height, width) of a convolution; an embedding (entries, width) is treated as a Linear.

    Args:
        shapes: {layer: shape of its weight}.
        density: fraction of all weights that is kept, in (0, 1].

    Source: Mocanu 2018 (arXiv:1707.04780); with kernel sizes: Evci 2020 (arXiv:1911.11134), section 3.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total = round(density * sum(sizes.values()))
    shares = {name: float(sum(shape)) for name, shape in shapes.items()}  # density · size, up to ε
    full: set[str] = set()
    while True:
        rest = {name: share for name, share in shares.items() if name not in full}
        left = total - sum(sizes[name] for name in full)
        epsilon = left / sum(rest.values()) if rest else 0.0
        over = {name for name, share in rest.items() if epsilon * share >= sizes[name]}
        if not over:
            break
        full |= over
    exact = {name: float(sizes[name]) if name in full else epsilon * shares[name] for name in shapes}
    return _rounded(exact, total)


def _rounded(exact: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that add up to `total`: rounded down, then the largest remainders up."""
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
