"""Layers of a workload."""

from gencomp_core.evaluate.cost import LayerFacts, inspect_layers
from gencomp_core.workloads import load_workload


def layer_facts(workload: str) -> list[LayerFacts]:
    """Every compressible layer, in the order of the model."""
    return inspect_layers(load_workload(workload))
