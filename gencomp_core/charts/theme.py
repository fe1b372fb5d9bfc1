"""Colours and number formats that every chart and page shares."""

FAMILY_COLOURS = {
    "dense": "#6b7280",
    "pruning": "#0072b2",
    "quantization": "#d55e00",
    "pruning + quantization": "#009e73",
    "quantization + pruning": "#cc79a7",
    "trained small": "#e69f00",
    "trained small + compressed": "#a65628",
}
"""One colour per method family, from Okabe & Ito's palette for colour-blind readers."""

FAMILY_MARKS = {
    "dense": "star",
    "pruning": "circle",
    "quantization": "square",
    "pruning + quantization": "diamond",
    "quantization + pruning": "cross",
    "trained small": "star-triangle-up",
    "trained small + compressed": "triangle-up",
}


def family(kinds: list[str]) -> str:
    """Method family of a recipe's stage kinds, in their order."""
    words: list[str] = []
    for kind in kinds:
        word = "pruning" if "pruning" in kind else "quantization" if "quantization" in kind else kind
        if word not in words:
            words.append(word)
    return " + ".join(words) or "dense"


def bytes_text(n_bytes: float) -> str:
    """Bytes for people, decimal units as on disks: 1.17 MB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes:.0f} B"


def count_text(n: float) -> str:
    """Large counts for people: 2.72 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f}"
