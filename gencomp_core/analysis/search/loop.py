"""The search: many configurations over few samples, those that nothing surely beats over all of them.

Successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943) with two differences: what goes up a rung is what no
other surely dominates, not a fixed share; and the last rung goes by what a measurement could still add.
"""

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gencomp_core.analysis.pareto import N_USUAL_LOSSES
from gencomp_core.analysis.search.effects import Outcome, promising
from gencomp_core.analysis.search.promotion import Standing, beaten_by, possible_gains
from gencomp_core.analysis.search.proposals import Proposer, SamplerName
from gencomp_core.analysis.search.space import Space
from gencomp_core.errors import GenCompError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS, Estimate, Screening, Trial, Verdict
from gencomp_core.records.metrics import Better

TOLERANCE = 2e-3
SCREENING_SHARE = 0.5
AT_ONCE = 6


class Evaluator(Protocol):
    """Finds out about recipes; what it knows already it gives back at once."""

    def screen(self, recipe: Recipe, n_samples: int) -> Screening:
        """Costs, and what a few samples say."""

    def measure(self, recipe: Recipe) -> Screening:
        """Costs, and quality at the full count."""


@dataclass(frozen=True)
class SearchPlan:
    """What a search is to do.

    Attributes:
        metric: of the workload, a key of `METRICS`.
        x: address of the cost.
        rungs: samples of each rung, two at least; the full count last.
        trials: configurations to try, dense among them.
        seconds: wall time; None for no limit. Half of it goes to the rungs of few samples at most.
        seed: of the sampler.
        sampler: of Optuna.
        tolerance: share of the hypervolume that a full measurement must be able to add.
        first: recipes to try first, from the space or not.
    """

    metric: str
    x: str
    rungs: tuple[int, ...]
    trials: int = 100
    seconds: float | None = None
    seed: int = 0
    sampler: SamplerName = "tpe"
    tolerance: float = TOLERANCE
    first: tuple[Recipe, ...] = ()


@dataclass
class _Known:
    """A configuration under way, with what each rung found."""

    number: int
    recipe: Recipe
    found: dict[int, Screening] = field(default_factory=dict)


def search(space: Space, evaluator: Evaluator, plan: SearchPlan) -> Iterator[Trial]:
    """Try, promote, measure. Yields every step; ends when nothing is left that is worth its measurement, or in time.

    The same space, plan and figures give the same steps: what an evaluator knows from before is not found out again,
    so that asking again goes on where a search was stopped.
    """
    yield from _Search(space, evaluator, plan).run()


class _Search:
    def __init__(self, space: Space, evaluator: Evaluator, plan: SearchPlan) -> None:
        self.space, self.evaluator, self.plan = space, evaluator, plan
        self.facts = METRICS[plan.metric]
        self.full = len(plan.rungs) - 1
        self.known: dict[str, _Known] = {}
        self.proposer = Proposer(space, seed=plan.seed, sampler=plan.sampler)
        self.outcomes: dict[Recipe, Outcome] = {}
        self.started = time.monotonic()

    def run(self) -> Iterator[Trial]:
        dense = self._add(Recipe())
        for rung in (0, self.full):
            yield self._evaluate(dense, rung)
            if rung not in dense.found:
                return
        self._note(dense)
        yield from self._try_all()
        alive = [known for known in self.known.values() if known is dense or 0 in known.found]
        for rung in range(self.full):
            if rung:
                for known in alive:
                    yield self._evaluate(known, rung)
            alive = [known for known in alive if rung in known.found]
            beaten = beaten_by([self._standing(known, rung) for known in alive])
            for known, by in zip(alive, beaten, strict=True):
                if by is not None and known is not dense:
                    yield self._trial(known, rung, "dropped", f"trial {alive[by].number} is surely better")
            alive = [known for known, by in zip(alive, beaten, strict=True) if by is None or known is dense]
        yield from self._measure_all(dense, [known for known in alive if known is not dense])

    def _try_all(self) -> Iterator[Trial]:
        """Try configurations on the lowest rung until the trials or their share of the time are used up."""
        for recipe in self._candidates():
            if len(self.known) >= self.plan.trials or self._late(SCREENING_SHARE):
                return
            if recipe.signature in self.known:
                continue
            known = self._add(recipe)
            yield self._evaluate(known, 0)
            if 0 in known.found:
                self._note(known)

    def _candidates(self) -> Iterator[Recipe]:
        """What is given; then a third each: stages alone, what their effects promise, what the sampler asks for."""
        yield from self.plan.first
        recipes = list(self.space.recipes.values())
        share = (self.plan.trials - len(self.known)) // 3
        yield from _alone(recipes, share, seed=self.plan.seed)
        enough = len(self.known) + share
        while len(self.known) < enough:
            chosen = [own for own in promising(recipes, self.outcomes) if own.signature not in self.known]
            if not chosen:
                break
            yield from _spread(chosen, min(AT_ONCE, enough - len(self.known)))
        while (asked := self.proposer.ask(set(self.known))) is not None:
            yield asked

    def _note(self, known: _Known) -> None:
        outcome = Outcome(self._cost(known), self._damage(known, 0).value)
        self.outcomes[known.recipe] = outcome
        self.proposer.tell(known.recipe, outcome)

    def _measure_all(self, dense: _Known, waiting: list[_Known]) -> Iterator[Trial]:
        """Measure what could still add to the frontier: the most damaged first, then the greatest possible gain."""
        below = self.full - 1
        waiting = sorted(waiting, key=lambda known: self._damage(known, below).value)
        while waiting and not self._late(1.0):
            gains = self._gains(dense, waiting)
            best = int(np.argmax(gains)) if gains is not None else -1
            if gains is not None and gains[best] < self.plan.tolerance:
                break
            yield self._evaluate(waiting.pop(best), self.full)
        late = self._late(1.0)
        reason = "the time was used up" if late else f"it could add less than {self.plan.tolerance:.1%} of the area"
        for known in waiting:
            yield self._trial(known, below, "dropped", reason)

    def _gains(self, dense: _Known, waiting: Sequence[_Known]) -> np.ndarray | None:
        """What each could add at most, as a share of the hypervolume; None before there is one.

        Of two hypervolumes the larger share counts: up to ten usual losses, where what is shipped lies, and up to the
        largest loss measured, so that the cheap end is explored too.
        """
        below = self.full - 1
        measured = []
        for known in self.known.values():
            loss = self._loss(known, self.full) if self.full in known.found else None
            if loss is not None and below in known.found:
                measured.append((math.log2(self._cost(known)), self._damage(known, below).value, loss))
        quality = dense.found[self.full].quality
        assert quality is not None
        losses = (N_USUAL_LOSSES * self.facts.usual_loss * abs(quality.value), max(own.value for _, _, own in measured))
        most = math.log2(max(self._cost(known) for known in self.known.values() if known.found))
        candidates = [(math.log2(self._cost(known)), self._damage(known, below).value) for known in waiting]
        shares = []
        for worst in losses:
            gains, now = possible_gains(candidates, measured, reference=(most, worst))
            shares += [gains / now] if now > 0 else []
        return np.max(shares, axis=0) if shares else None

    def _add(self, recipe: Recipe) -> _Known:
        known = _Known(len(self.known), recipe)
        self.known[recipe.signature] = known
        return known

    def _evaluate(self, known: _Known, rung: int) -> Trial:
        try:
            found = (
                self.evaluator.measure(known.recipe)
                if rung == self.full
                else self.evaluator.screen(known.recipe, self.plan.rungs[rung])
            )
        except GenCompError as error:
            return self._trial(known, rung, "failed", str(error))
        known.found[rung] = found
        return self._trial(known, rung, "full" if rung == self.full else "promoted")

    def _trial(self, known: _Known, rung: int, verdict: Verdict, reason: str | None = None) -> Trial:
        found = known.found.get(rung)
        return Trial(
            number=known.number,
            title=known.recipe.title(),
            recipe=known.recipe.to_dict(),
            rung=rung,
            n_samples=self.plan.rungs[rung],
            cost=found.costs[self.plan.x] if found else None,
            found=found,
            verdict=verdict,
            reason=reason,
        )

    def _standing(self, known: _Known, rung: int) -> Standing:
        return Standing(self._cost(known), self._damage(known, rung), self._loss(known, rung))

    def _cost(self, known: _Known) -> float:
        """As the highest rung found it."""
        return known.found[max(known.found)].costs[self.plan.x]

    def _damage(self, known: _Known, rung: int) -> Estimate:
        damage = known.found[rung].damage
        assert damage is not None
        return damage

    def _loss(self, known: _Known, rung: int) -> Estimate | None:
        change = known.found[rung].change
        return None if change is None else _lower_is_better(change, self.facts.better)

    def _late(self, share: float) -> bool:
        limit = self.plan.seconds
        return limit is not None and time.monotonic() - self.started >= share * limit


def _lower_is_better(estimate: Estimate, better: Better) -> Estimate:
    if better == "lower":
        return estimate
    return Estimate(value=-estimate.value, low=-estimate.high, high=-estimate.low)


def _alone(recipes: Sequence[Recipe], n: int, *, seed: int) -> list[Recipe]:
    """About n recipes with one stage, drawn at random, each kind of stage by its share and at least two of it."""
    by_kind: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        if len(recipe.stages) == 1:
            by_kind.setdefault(recipe.stages[0].kind, []).append(recipe)
    total = sum(len(own) for own in by_kind.values())
    draw = random.Random(seed)
    return [
        recipe
        for own in by_kind.values()
        for recipe in draw.sample(own, min(len(own), max(2, round(n * len(own) / total))))
    ]


def _spread(recipes: Sequence[Recipe], n: int) -> list[Recipe]:
    """At most n of them, evenly from first to last."""
    if len(recipes) <= n:
        return list(recipes)
    return [recipes[round(position)] for position in np.linspace(0, len(recipes) - 1, max(0, n))]
