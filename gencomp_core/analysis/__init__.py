"""Measuring, and deciding from measurements."""
