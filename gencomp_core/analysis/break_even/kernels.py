"""Kinds of layers that are timed. No torch."""

KERNELS = {"linear": 1, "conv1": 1, "conv3": 9, "transposed": 16}
"""Weights of each pair of channels, by kind of layer."""
