"""Quality, fidelity and cost of a model: one file per metric, named after it."""
