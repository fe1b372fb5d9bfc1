"""Training of the bundled baselines: one loop, one task per network."""
