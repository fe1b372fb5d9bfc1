"""Training after compression: what brings the quality back without undoing what was saved."""
