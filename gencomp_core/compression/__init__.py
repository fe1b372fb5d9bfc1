"""Compression without training: plain functions of weights, and the draft that they work on."""

# Modules that register changes: whoever reads a weights file must know them.
from gencomp_core.compression import activations, blocks, channels, corrections, factored, low_rank, smoothing

__all__ = ["activations", "blocks", "channels", "corrections", "factored", "low_rank", "smoothing"]
