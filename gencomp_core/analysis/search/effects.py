"""What untried recipes should come to, from the effects of each value within its stage and of stages together.

Within a stage the logarithms of damage and cost are sums of one effect for each value (a main-effects model, fitted by
ridge regression); over stages damages add up, as small independent errors do, and so do the logarithms of the costs.
What combinations come to beyond that is learned for each set of stages, linear in the costs of the stages alone and
their product: zeros save less in a file of short weights. Rough, and only used to choose what is screened next.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gencomp_core.analysis.pareto import strict_frontier
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.stage import Stage

RIDGE = 0.01
FLOOR = 1e-12
BETTER = (1.05, 1.6)
"""How many times less cost and damage an untried recipe might have than is expected of it."""
Tried = Mapping[Recipe, "Outcome"]


class Outcome(NamedTuple):
    """What a recipe came to, lower is better for both."""

    cost: float
    damage: float


def promising(candidates: Iterable[Recipe], tried: Tried) -> list[Recipe]:
    """Untried recipes on the frontier of what all came to or might come to, cheapest first.

    What a recipe might come to is its expectation improved by `BETTER`, about what expectations are off by: a recipe
    that is expected to lie right behind the frontier is worth a look.

    Args:
        candidates: all that may be tried; those with a stage of which nothing is known are left out.
        tried: outcomes, dense's among them.
    """
    expected = expect(candidates, tried)
    recipes = list(expected)
    hopes = [own if recipe in tried else Outcome(*np.divide(own, BETTER)) for recipe, own in expected.items()]
    costs, damages = (np.array(column) for column in zip(*hopes, strict=True))
    line = np.flatnonzero(strict_frontier(costs, damages))
    return [recipes[position] for position in line[np.argsort(costs[line])] if recipes[position] not in tried]


def expect(candidates: Iterable[Recipe], tried: Tried) -> dict[Recipe, Outcome]:
    """What recipes came to where that is known, and what they should come to elsewhere."""
    effects = _Effects(tried)
    found = dict(tried)
    for recipe in candidates:
        if recipe not in found and (logs := effects.expect(recipe)) is not None:
            found[recipe] = Outcome(float(np.exp(logs[0])), float(np.exp(logs[1])))
    return found


class _Effects:
    """Effects of stages, from recipes with one stage, and of their sets, from recipes with several."""

    def __init__(self, tried: Tried) -> None:
        self.dense = _logs(tried[Recipe()])
        alone: dict[str, list[tuple[Stage, np.ndarray]]] = {}
        several: dict[tuple[str, ...], list[Recipe]] = {}
        for recipe, outcome in tried.items():
            if len(recipe.stages) == 1:
                alone.setdefault(recipe.stages[0].kind, []).append((recipe.stages[0], _logs(outcome)))
            elif recipe.stages:
                several.setdefault(_kinds(recipe), []).append(recipe)
        self.kinds = {kind: _Kind(logs) for kind, logs in alone.items()}
        self.beyond = {
            kinds: _ridge(
                np.array([_interaction(parts) for parts in map(self._parts, recipes)]),
                np.array([_logs(tried[recipe]) - self._together(self._parts(recipe)) for recipe in recipes]),
            )
            for kinds, recipes in several.items()
            if all(kind in self.kinds for kind in kinds)
        }

    def expect(self, recipe: Recipe) -> np.ndarray | None:
        """Logarithms of cost and damage: (2,); None where nothing is known of one of its stages."""
        kinds = _kinds(recipe)
        if not kinds or not all(kind in self.kinds for kind in kinds):
            return None
        parts = self._parts(recipe)
        rough = self._together(parts)
        return rough + _interaction(parts) @ self.beyond[kinds] if kinds in self.beyond else rough

    def _parts(self, recipe: Recipe) -> np.ndarray:
        """Of each stage alone: log of cost over dense's, log of damage: (n, 2)."""
        return np.array([self.kinds[stage.kind].logs(stage) - (self.dense[0], 0.0) for stage in recipe.stages])

    def _together(self, parts: np.ndarray) -> np.ndarray:
        return np.array([self.dense[0] + parts[:, 0].sum(), np.log(np.exp(parts[:, 1]).sum())])


def _interaction(parts: np.ndarray) -> np.ndarray:
    """What the outcome of several stages may depend on beyond their sum: (n + 2,)."""
    ratios = parts[:, 0]
    return np.array([1.0, *ratios, ratios.prod()])


def _ridge(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Ridge regression without intercept: (n, d), (n, k) -> (d, k)."""
    return np.linalg.solve(rows.T @ rows + RIDGE * np.eye(rows.shape[1]), rows.T @ values)


class _Kind:
    """Effects of the values of one kind of stage."""

    def __init__(self, tried: Sequence[tuple[Stage, np.ndarray]]) -> None:
        self.tried = {_key(stage): logs for stage, logs in tried}
        values = {value: None for stage, _ in tried for value in _values(stage)}
        self.columns = {value: number for number, value in enumerate(values)}
        logs = np.array([own for _, own in tried])
        rows = np.array([self._row(stage) for stage, _ in tried])
        self.mean = logs.mean(axis=0)
        self.effects = _ridge(rows, logs - self.mean)

    def logs(self, stage: Stage) -> np.ndarray:
        """Logarithms of cost and damage of the stage alone: (2,)."""
        known = self.tried.get(_key(stage))
        return self.mean + self._row(stage) @ self.effects if known is None else known

    def _row(self, stage: Stage) -> np.ndarray:
        """One-hot code of its values; what was never tried has no effect."""
        row = np.zeros(len(self.columns))
        row[[self.columns[value] for value in _values(stage) if value in self.columns]] = 1
        return row


def _values(stage: Stage) -> list[tuple[str, str]]:
    return [(name, repr(value)) for name, value in stage.model_dump().items()]


def _key(stage: Stage) -> str:
    return repr(_values(stage))


def _kinds(recipe: Recipe) -> tuple[str, ...]:
    return tuple(stage.kind for stage in recipe.stages)


def _logs(outcome: Outcome) -> np.ndarray:
    return np.log([outcome.cost, max(outcome.damage, FLOOR)])
