"""Compression without training: plain functions of weights, and the draft that they work on."""
