"""Artifacts: what ships. Packing, saving, loading and the self-test."""
