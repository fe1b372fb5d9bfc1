"""Recipes that a recovery study can be started with from a page, and its job. No torch."""

from collections.abc import Mapping
from typing import Any

from gencomp_core.analysis.recovery_curves import trains
from gencomp_core.errors import UnknownNameError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Job
from gencomp_core.store import Jobs, Store

PRUNED = {"kind": "magnitude-pruning", "sparsity": 0.7}
ROUNDED = ({"kind": "weight-quantization", "bits": 4}, {"kind": "activation-quantization"})
RECIPES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "one-shot": (PRUNED, {"kind": "fine-tune"}),
    "iterative": ({"kind": "iterative-pruning", "sparsity": 0.7},),
    "no teacher": (PRUNED, {"kind": "fine-tune", "distillation": 0}),
    "norms and biases": (PRUNED, {"kind": "fine-tune", "trainable": "norms-and-biases"}),
    "low-rank": (PRUNED, {"kind": "fine-tune", "trainable": "low-rank"}),
    "QAT": (*ROUNDED, {"kind": "quantization-aware-training"}),
}
"""What a page offers, without steps: 70 % zeros, or 4-bit weights with 8-bit activations."""


def preset(name: str, steps: int) -> Recipe:
    """A recipe of the page with so many steps of training.

    Raises:
        UnknownNameError: no preset has the name.
    """
    if name not in RECIPES:
        raise UnknownNameError(f"No recovery recipe named {name!r}. Available: {', '.join(RECIPES)}.")
    stages = [dict(stage) for stage in RECIPES[name]]
    stages[-1]["steps"] = steps
    return Recipe.from_dict({"stages": stages})


def parameters(workload: str, recipe: Recipe, *, seed: int = 0) -> dict[str, Any]:
    """Of the job: the same as `gencomp recover` has."""
    return {"workload": workload, "recipe": recipe.to_dict(), "samples": None, "seed": seed or None}


def of_workload(store: Store, workload: str) -> list[Job]:
    """Recovery jobs of a workload, newest first."""
    return [job for job in Jobs(store).all() if job.kind == "recover" and job.workload == workload]


def tunes(recipe: Recipe) -> bool:
    """Whether a recipe has a stage that trains, and needs minutes."""
    return trains(recipe)
