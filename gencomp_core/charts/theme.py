"""Colours, axes and number formats that every chart and page shares."""

import math

import pandas as pd

FAMILY_COLOURS = {
    "dense": "#6b7280",
    "pruning": "#0072b2",
    "quantization": "#d55e00",
    "pruning + quantization": "#009e73",
    "quantization + pruning": "#cc79a7",
    "structure": "#56b4e9",
    "structure + quantization": "#332288",
    "structure + pruning": "#44aa99",
    "structure + pruning + quantization": "#117733",
    "recovery": "#882255",
    "trained small": "#e69f00",
    "trained small + compressed": "#a65628",
}
"""One colour per method family, from Okabe & Ito's palette for colour-blind readers."""

FAMILY_OF = {
    **dict.fromkeys(
        ("magnitude-pruning", "wanda-pruning", "sparsegpt-pruning", "gradient-pruning", "adaptive-pruning"), "pruning"
    ),
    **dict.fromkeys(
        (
            "weight-quantization", "float-format", "low-rank-correction", "bias-correction", "cross-layer-equalization",
            "smooth-quant", "activation-quantization",
        ),
        "quantization",
    ),
    **dict.fromkeys(("channel-pruning", "head-pruning", "block-removal", "low-rank-factorization"), "structure"),
    **dict.fromkeys(
        ("fine-tune", "quantization-aware-training", "step-distillation", "self-critical-tuning"), "recovery"
    ),
    **dict.fromkeys(
        ("iterative-pruning", "movement-pruning", "hard-concrete-pruning", "regularized-pruning", "regrowth"), "pruning"
    ),
}  # fmt: skip
"""Method family of each stage kind."""

FAMILY_MARKS = {
    "dense": "star",
    "pruning": "circle",
    "quantization": "square",
    "pruning + quantization": "diamond",
    "quantization + pruning": "cross",
    "structure": "hexagon",
    "structure + quantization": "pentagon",
    "structure + pruning": "hexagram",
    "structure + pruning + quantization": "octagon",
    "recovery": "star-square",
    "trained small": "star-triangle-up",
    "trained small + compressed": "triangle-up",
}


def family(kinds: list[str]) -> str:
    """Method family of a recipe's stage kinds, in their order; recovery counts only where it stands alone."""
    words = list(dict.fromkeys(FAMILY_OF.get(kind, kind) for kind in kinds))
    shown = [word for word in words if word != "recovery"] or words
    return " + ".join(shown) or "dense"


def bytes_text(n_bytes: float) -> str:
    """Bytes for people, decimal units as on disks: 1.17 MB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes:.0f} B"


def ms_text(ms: float) -> str:
    """Milliseconds for people, three digits: 122 ms, 4.56 ms."""
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"


def count_text(n: float) -> str:
    """Large counts for people: 2.72 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f}"


def log_axis(title: str, values: pd.Series) -> dict[str, object]:
    """Logarithmic axis with marks at 1, 2 and 5 of each decade, written out."""
    positive = values[values > 0]
    axis: dict[str, object] = {"title": title, "type": "log"}
    if positive.empty:
        return axis
    decades = range(math.floor(math.log10(positive.min())), math.ceil(math.log10(positive.max())) + 1)
    marks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return axis | {"tickvals": marks, "ticktext": [count_text(mark) if mark >= 1 else f"{mark:g}" for mark in marks]}
