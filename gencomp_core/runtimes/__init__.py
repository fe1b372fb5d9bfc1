"""Runtimes: what executes a variant."""
