"""What Optuna's sampler asks for next.

Optuna: Akiba 2019 (arXiv:1907.10902). The sampler is its multivariate tree-structured Parzen estimator on two
objectives: Bergstra 2011; Ozaki 2022 (JAIR 73); Watanabe 2023 (arXiv:2304.11127).
"""

import random
from typing import Any, Literal

import numpy as np

from gencomp_core.analysis.search.effects import FLOOR, Outcome
from gencomp_core.analysis.search.space import Point, Space, is_ordered
from gencomp_core.recipes.recipe import Recipe

SamplerName = Literal["tpe", "gp", "random"]
ASKS = 8


class Proposer:
    """Asks for recipes of a space that were not tried, and is told what came of those that were.

    Args:
        seed: of the sampler.
        sampler: which of Optuna's.
    """

    def __init__(self, space: Space, *, seed: int, sampler: SamplerName = "tpe") -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = space
        self._distributions = {name: _distribution(values) for name, values in space.grid.axes.items()}
        self._study = optuna.create_study(directions=["minimize"] * 2, sampler=_sampler(sampler, seed))
        self._random = random.Random(seed)

    def ask(self, tried: set[str]) -> Recipe | None:
        """A recipe with none of these signatures, or None when there is none left."""
        recipe: Recipe | None = None
        for _ in range(ASKS):
            trial = self._study.ask(self._distributions)
            point = tuple(int(trial.params[name]) for name in self._distributions)
            recipe = self.space.canonical(point)
            if recipe is not None and recipe.signature not in tried:
                return recipe
        return self._nearest(point, tried)

    def tell(self, recipe: Recipe, outcome: Outcome) -> None:
        """Add what came of a recipe; one from outside of the space is left out.

        Cost and damage are told as logarithms, so that a halving counts the same everywhere.
        """
        from optuna.trial import create_trial

        point = self.space.points.get(recipe.signature)
        if point is None:
            return
        values = [float(np.log2(max(value, FLOOR))) for value in outcome]
        params = dict(zip(self._distributions, point, strict=True))
        self._study.add_trial(create_trial(values=values, params=params, distributions=self._distributions))

    def _nearest(self, point: Point, tried: set[str]) -> Recipe | None:
        """One of the untried recipes that differ on the fewest axes."""
        near: dict[int, list[str]] = {}
        for signature, other in self.space.points.items():
            if signature not in tried:
                near.setdefault(sum(a != b for a, b in zip(point, other, strict=True)), []).append(signature)
        return self.space.recipes[self._random.choice(near[min(near)])] if near else None


def _distribution(values: tuple[Any, ...]) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    positions = range(len(values))
    return IntDistribution(0, len(values) - 1) if is_ordered(values) else CategoricalDistribution(tuple(positions))


def _sampler(name: SamplerName, seed: int) -> Any:
    from optuna import samplers

    match name:
        case "tpe":
            return samplers.TPESampler(seed=seed, multivariate=True)
        case "gp":
            return samplers.GPSampler(seed=seed)
        case "random":
            return samplers.RandomSampler(seed=seed)
