"""Denoising of dense and of some recipes side by side, for the scrubber of the Gallery. Loads torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from gencomp_core.analysis.denoising import denoising_states, divergence
from gencomp_core.charts.tiles import tile
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services.preview import for_a_page, variant_of
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import complete_settings, to_pixels

N_SAMPLES = 16


@dataclass(frozen=True, eq=False)
class Denoising:
    """One model on its way from noise to images.

    Attributes:
        sheets: (steps + 1, h, w) uint8: all samples after each step, as `tile` lays them out.
        low, middle, high: (steps + 1,) distance from dense: quartiles over samples, 0 for dense itself.
    """

    sheets: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray


def denoisings(workload: str, recipes: Sequence[Recipe]) -> list[Denoising]:
    """Dense first, then each recipe, from the same noise at the default settings.

    Raises:
        EvaluationError: the workload does not sample in steps.
    """
    return [_denoising(workload, recipe) for recipe in (Recipe(), *recipes)]


@lru_cache(maxsize=16)
def _denoising(workload: str, recipe: Recipe) -> Denoising:
    states, dense = _states(workload, recipe), _states(workload, Recipe())
    quartiles = torch.quantile(divergence(states, dense), torch.tensor([0.25, 0.5, 0.75]), dim=1)
    low, middle, high = quartiles.numpy()
    sheets = [tile(to_pixels((images + 1) / 2).numpy()) for images in states]  # states lie about [-1, 1]
    return Denoising(np.stack(sheets), low, middle, high)


@lru_cache(maxsize=16)
def _states(workload: str, recipe: Recipe) -> torch.Tensor:
    loaded = load_workload(workload)

    def sample() -> torch.Tensor:
        model = loaded.model if recipe.is_dense else variant_of(workload, recipe).model
        return denoising_states(loaded, model, N_SAMPLES, seed=0, settings=complete_settings(loaded))

    return for_a_page(sample)
