"""Sensitivity: how much quality each layer costs when it alone, or all but it, is compressed.

Modules that read scores (`options`, `tables`) don't import torch; those that make them do.
"""
