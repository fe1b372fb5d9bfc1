"""Masks that change while the weights are trained: sparsity that rises, scores that move, weights that come back."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gencomp_core.compression import masks
from gencomp_core.compression.layers import to_rows
from gencomp_core.records import TrainingRecord
from gencomp_core.recovery.tuning import Program
from gencomp_core.recovery.weights import Trainee, TunedWeight

Scores = Callable[[str, TunedWeight], Tensor]


def cubic_sparsity(t: float, *, first: float, last: float) -> float:
    """s(t) = s₁ + (s₀ - s₁) (1 - t)³ for t from 0 to 1.

    Source: Zhu & Gupta 2017 (arXiv:1710.01878), equation 1.
    """
    return last + (first - last) * (1 - min(1.0, t)) ** 3


def rounds_of(steps: int, ramp: float, rounds: int) -> dict[int, float]:
    """When masks change and how much of the way is gone then: {step: t}; the last one has t = 1."""
    last = min(round(ramp * steps), steps - 1)
    if rounds == 1:
        return {last: 1.0}
    return {round(last * i / (rounds - 1)): (i + 1) / rounds for i in range(rounds)}


class RisingSparsity(Program):
    """Zero the weights with the smallest scores, more of them each round.

    Args:
        targets: sparsity of each layer in the end, by layer name.
        overall: one ranking over all layers, at the common target.
        schedule: {step: t} of the rounds.
    """

    def __init__(self, targets: Mapping[str, float], *, overall: bool, schedule: Mapping[int, float]) -> None:
        self.targets, self.overall, self.schedule = dict(targets), overall, dict(schedule)
        self.last_round = max(schedule)
        self.first: dict[str, float] = {}

    def score(self, name: str, own: TunedWeight) -> Tensor:
        """Importance of each weight; higher = keep."""
        return own.latent().detach().abs() * (1 if own.mask is None else own.mask)

    def before_step_(self, trainee: Trainee, step: int) -> None:
        """Choose masks anew in a round."""
        if not self.first:
            self.first = {name: sparsity_of(trainee.weights[name]) for name in self.targets}
        if step in self.schedule:
            self.prune_(trainee, self.schedule[step])

    def prune_(self, trainee: Trainee, t: float) -> None:
        """Masks at a part of the way."""
        wanted = {name: cubic_sparsity(t, first=self.first[name], last=last) for name, last in self.targets.items()}
        scores = {name: self.score(name, trainee.weights[name]) for name in self.targets}
        if self.overall:
            n_dropped = round(sum(wanted[name] * own.numel() for name, own in scores.items()))
            found = masks.drop_smallest_overall(scores, n_dropped)
        else:
            found = {name: masks.keep_largest(own, wanted[name]) for name, own in scores.items()}
        for name, mask in found.items():
            trainee.weights[name].mask = mask

    def counts(self, step: int) -> bool:
        """Only when all rounds are over."""
        return step > self.last_round

    def figures(self, trainee: Trainee) -> dict[str, float]:
        """Sparsity of the weights that are pruned."""
        chosen = [trainee.weights[name] for name in self.targets]
        n = sum(own.base.numel() for own in chosen)
        return {"sparsity": sum(sparsity_of(own) * own.base.numel() for own in chosen) / max(1, n)}

    def state(self) -> dict[str, Any]:
        """Sparsity that each layer came with."""
        return {"first": dict(self.first)}

    def load_(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.first = dict(state["first"])


class Iterative(RisingSparsity):
    """Magnitude, with rewinding and with a controller that ends tuning when the gain fades.

    Args:
        rewind: `rate` begins the learning rate anew after the last round; `weights` also takes the weights that
            stay back to where the stage found them.
        min_gain: relative fall of the held-out figure from check to check below which tuning ends; 0 never ends it.

    Source: Renda 2020 (arXiv:2003.02389), sections 2.2 and 2.3.
    """

    def __init__(
        self,
        targets: Mapping[str, float],
        *,
        overall: bool,
        schedule: Mapping[int, float],
        rewind: str,
        min_gain: float,
    ) -> None:
        super().__init__(targets, overall=overall, schedule=schedule)
        self.rewind, self.min_gain = rewind, min_gain
        self.start: dict[str, Tensor] = {}

    def before_step_(self, trainee: Trainee, step: int) -> None:
        """Choose masks anew in a round; rewind after the last one."""
        if self.rewind == "weights" and not self.start:
            self.start = {name: tensor.detach().clone() for name, tensor in trainee.tensors().items()}
        super().before_step_(trainee, step)
        if self.start and step == self.last_round:
            with torch.no_grad():
                for name, tensor in trainee.tensors().items():
                    tensor.copy_(self.start[name])

    def rate(self, step: int, steps: int) -> float:
        """Anew after the last round, where it is rewound."""
        if self.rewind == "none" or step < self.last_round:
            return super().rate(step, steps)
        return super().rate(step - self.last_round, steps - self.last_round)

    def is_over(self, curve: list[TrainingRecord]) -> bool:
        """Whether the last check brought too little."""
        counted = [record.figures["held_out"] for record in curve if self.counts(record.step)]
        if not self.min_gain or len(counted) < 2:
            return False
        before, now = counted[-2:]
        return before - now < self.min_gain * abs(before)

    def state(self) -> dict[str, Any]:
        """Sparsity and weights that it came with."""
        return {**super().state(), "start": dict(self.start)}

    def load_(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        super().load_(state)
        self.start = dict(state["start"])


class Movement(RisingSparsity):
    """Scores that add up -g · w over the steps.

    Source: Sanh 2020 (arXiv:2005.07683), equations 2 and 3.
    """

    def __init__(self, targets: Mapping[str, float], *, overall: bool, schedule: Mapping[int, float]) -> None:
        super().__init__(targets, overall=overall, schedule=schedule)
        self.moved: dict[str, Tensor] = {}
        self.dead: dict[str, Tensor] = {}

    def score(self, name: str, own: TunedWeight) -> Tensor:
        """How far training has moved each weight away from zero; what was pruned before the stage never comes back."""
        moved = self.moved.get(name)
        if moved is None:  # nothing has moved yet
            return super().score(name, own)
        return moved.masked_fill(self.dead[name], -torch.inf) if name in self.dead else moved

    def before_step_(self, trainee: Trainee, step: int) -> None:
        """Choose masks anew in a round."""
        if not self.first:
            found = {name: trainee.weights[name].mask for name in self.targets}
            self.dead = {name: ~mask for name, mask in found.items() if mask is not None}
        super().before_step_(trainee, step)

    def after_backward_(self, trainee: Trainee, step: int) -> None:
        """Add this step's movement; the mask stops no gradient on its way to the score."""
        if step > self.last_round:
            return
        for name in self.targets:
            own = trainee.weights[name]
            if own.parameter.grad is not None:
                movement = -own.parameter.grad.float() * own.latent().detach()
                self.moved[name] = movement if name not in self.moved else self.moved[name].add_(movement)

    def state(self) -> dict[str, Any]:
        """Scores so far."""
        return {**super().state(), "moved": dict(self.moved), "dead": dict(self.dead)}

    def load_(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        super().load_(state)
        self.moved, self.dead = dict(state["moved"]), dict(state["dead"])


class HardConcrete(RisingSparsity):
    """Gates that are learned with the weights; where they end decides what is zeroed.

    The expected sparsity 1 - mean P(z ≠ 0) of each layer, or of all, is held on the cubic schedule by a multiplier that
    rises while it falls behind.

    Args:
        strength: how fast the multiplier rises.

    Source: Louizos 2018 (arXiv:1712.01312); a target in place of a fixed weight: Wang 2020 (arXiv:1910.04732).
    """

    def __init__(
        self, targets: Mapping[str, float], *, overall: bool, schedule: Mapping[int, float], strength: float
    ) -> None:
        super().__init__(targets, overall=overall, schedule=schedule)
        self.strength = strength
        self.multiplier = 0.0

    def score(self, name: str, own: TunedWeight) -> Tensor:
        """How open each gate is; what was pruned before the stage never comes back."""
        assert own.gate is not None
        found = own.gate.log_alpha.detach()
        return found if own.mask is None else found.masked_fill(~own.mask, -torch.inf)

    def penalty(self, trainee: Trainee, step: int) -> Tensor | float:
        """λ · (wanted - expected sparsity) while it is short, summed over weights."""
        if step >= self.last_round:
            return 0.0
        t = (step + 1) / self.last_round
        lacking: list[Tensor] = []
        for name, last in self.targets.items():
            own = trainee.weights[name]
            assert own.gate is not None
            chance = own.gate.chance() if own.mask is None else own.gate.chance() * own.mask
            lacking.append(chance.sum() - (1 - cubic_sparsity(t, first=self.first[name], last=last)) * chance.numel())
        short = torch.stack([torch.stack(lacking).sum()] if self.overall else lacking).clamp_min(0)
        n = sum(trainee.weights[name].base.numel() for name in self.targets)
        self.multiplier += self.strength * float(short.detach().sum()) / n
        return self.multiplier * short.sum() / n

    def before_step_(self, trainee: Trainee, step: int) -> None:
        """Masks take the place of the gates in the last round; what a gate usually is goes into its weight."""
        super().before_step_(trainee, step)
        for name in self.targets:
            own = trainee.weights[name]
            assert own.gate is not None
            if step == self.last_round:
                with torch.no_grad():
                    own.base.mul_(own.gate.draw())
            own.gate.is_open = step < self.last_round

    def state(self) -> dict[str, Any]:
        """The multiplier."""
        return {**super().state(), "multiplier": self.multiplier}

    def load_(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        super().load_(state)
        self.multiplier = state["multiplier"]


class Regularized(RisingSparsity):
    """A penalty on weights until they are zeroed.

    Args:
        kind: `l1`, `group-lasso` or `growing`.
        strength: what it adds to the loss at the start; for `growing` the weight decay that is reached.
    """

    def __init__(
        self, targets: Mapping[str, float], *, overall: bool, schedule: Mapping[int, float], kind: str, strength: float
    ) -> None:
        super().__init__(targets, overall=overall, schedule=schedule)
        self.kind, self.strength = kind, strength
        self.at_start = 0.0
        self.doomed: dict[str, Tensor] = {}

    def before_step_(self, trainee: Trainee, step: int) -> None:
        """Say at the start what the growing penalty is on."""
        if self.kind == "growing" and not self.doomed:
            scores = {name: self.score(name, trainee.weights[name]) for name in self.targets}
            if self.overall:
                n_dropped = round(sum(last * scores[name].numel() for name, last in self.targets.items()))
                keep = masks.drop_smallest_overall(scores, n_dropped)
            else:
                keep = {name: masks.keep_largest(scores[name], last) for name, last in self.targets.items()}
            self.doomed = {name: ~mask for name, mask in keep.items()}
        super().before_step_(trainee, step)

    def penalty(self, trainee: Trainee, step: int) -> Tensor | float:
        """Added to the loss before weights are zeroed."""
        if step >= self.last_round:
            return 0.0
        weights = {name: trainee.weights[name].latent() for name in self.targets}
        if self.kind == "growing":  # δ(t) / 2 · |w|², Wang 2021, equation 1
            decay = self.strength * (step + 1) / self.last_round
            return decay / 2 * sum((weights[name] * doomed).square().sum() for name, doomed in self.doomed.items())
        if self.kind == "l1":
            parts = [own.abs().sum() for own in weights.values()]
        else:
            rows = [to_rows(own, transposed=trainee.weights[name].transposed) for name, own in weights.items()]
            parts = [math.sqrt(own.shape[1]) * own.square().sum(1).add(1e-12).sqrt().sum() for own in rows]
        total = torch.stack(parts).sum()
        self.at_start = self.at_start or float(total.detach()) or 1.0
        return self.strength * total / self.at_start

    def state(self) -> dict[str, Any]:
        """What the penalty refers to."""
        return {**super().state(), "at_start": self.at_start, "doomed": dict(self.doomed)}

    def load_(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        super().load_(state)
        self.at_start, self.doomed = state["at_start"], dict(state["doomed"])


class Exchange(Program):
    """The smallest weights go, those with the largest gradient come back, as zeros.

    Args:
        fraction: of the weights that stay, in the first round; α / 2 · (1 + cos(π t)) later.
        schedule: {step: t} of the rounds.

    Source: Evci 2020 (arXiv:1911.11134), algorithm 1.
    """

    def __init__(self, fraction: float, schedule: Mapping[int, float]) -> None:
        self.fraction, self.schedule = fraction, dict(schedule)

    @torch.no_grad()
    def after_backward_(self, trainee: Trainee, step: int) -> None:
        """Exchange weights in a round; the next step sees the new masks."""
        if step not in self.schedule:
            return
        fraction = self.fraction / 2 * (1 + math.cos(math.pi * self.schedule[step]))
        for own in trainee.weights.values():
            if own.mask is None or own.parameter.grad is None:
                continue
            n = round(fraction * int(own.mask.sum()))
            n = min(n, int((~own.mask).sum()))
            if n:
                own.mask = exchanged(own.mask, own.latent().detach().abs(), own.parameter.grad.abs().float(), n)
                own.base.masked_fill_(~own.mask, 0.0)


def exchanged(mask: Tensor, magnitude: Tensor, gradient: Tensor, n: int) -> Tensor:
    """The mask without its n smallest weights, and with the n others that have the largest gradients."""
    dropped = torch.where(mask, magnitude, torch.inf).flatten().topk(n, largest=False).indices
    grown = torch.where(mask, -torch.inf, gradient).flatten().topk(n).indices
    new = mask.flatten().clone()
    new[dropped] = False
    new[grown] = True
    return new.view(mask.shape)


def sparsity_of(own: TunedWeight) -> float:
    """Fraction of a weight that its mask zeroes."""
    return 0.0 if own.mask is None else 1 - float(own.mask.float().mean())
