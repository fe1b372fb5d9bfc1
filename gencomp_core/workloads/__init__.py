"""Workloads: a generative model with its data, its noise or prompts, and how it is judged.

Importing this package does not import torch; loading a workload does.
"""

from gencomp_core.workloads.catalog import CATALOG, WorkloadCard, card_of, load_workload

__all__ = ["CATALOG", "WorkloadCard", "card_of", "load_workload"]
