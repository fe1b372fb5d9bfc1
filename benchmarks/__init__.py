"""Benchmarks, run by hand; their tables are kept in docs/benchmarks.md."""
