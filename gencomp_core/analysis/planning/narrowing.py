"""Narrower networks that a plan may choose from: how many channels of each group go, and what is left of each layer.

What a layer reads and what it puts out shrink by different groups, so that its cost is a product: no knapsack adds
that up. Channels are therefore removed greedily, always where the damage is least for the cost that is saved, which
gives a path from the dense network to the narrowest one. A plan looks at places along it, and solves the rest exactly.

Source: greedy ratio of damage to saving, as in Kellerer 2004, "Knapsack Problems", chapter 2; at each step over all
larger removals of a group, so that flat starts don't hide what comes behind them. No torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gencomp_core.records.speed import WidthGroup

RATIOS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
TRIED = (0.25, 0.5)
"""Ratios whose damage is measured at the end of the generation."""

_LEAST_POWER, _MOST_POWER = 1.0, 6.0
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Narrowing:
    """A network with fewer channels.

    Attributes:
        removed: shares that go, by group; groups that stay whole are missing.
        kept: parts of the inputs and outputs that are left, by layer, norms included; whole layers are missing.
        damage: what this does to finished samples, group by group.
    """

    removed: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    damage: float = 0.0

    def part(self, layer: str) -> float:
        """Part of a layer's weight, and of its multiply-accumulates, that is left."""
        inputs, outputs = self.kept.get(layer, (1.0, 1.0))
        return inputs * outputs


@dataclass(frozen=True, eq=False)
class Widths:
    """Groups of channels, and what can be removed of each.

    Attributes:
        groups: with their trials.
    """

    groups: tuple[WidthGroup, ...]

    def levels(self, group: WidthGroup) -> list[int]:
        """Shares that may be removed of a group, ascending; 0 first."""
        return [0, *levels_of(group.n_steps)] if group.trials else [0]

    def narrowing(self, removed: Mapping[str, int]) -> Narrowing:
        """The network without so many shares of each group."""
        left: dict[str, list[float]] = {}
        for group in self.groups:
            gone = removed.get(group.name, 0) / group.n_steps
            if not gone:
                continue
            for side, parts in ((0, group.inputs), (1, group.outputs)):
                for layer, part in parts.items():
                    left.setdefault(layer, [1.0, 1.0])[side] -= part * gone
        return Narrowing(
            removed={name: n for name, n in removed.items() if n},
            kept={layer: (own[0], own[1]) for layer, own in left.items()},
            damage=sum(group_damage(own, removed.get(own.name, 0)) for own in self.groups),
        )

    def path(self, cost: Mapping[str, float]) -> list[Narrowing]:
        """Narrower and narrower networks, the dense one first.

        Args:
            cost: of each layer, which falls with the inputs and the outputs that are left.
        """
        layers, arrays = list(cost), _Arrays.of(self.groups, list(cost))
        weights = np.array([cost[layer] for layer in layers])
        options = [self.levels(group) for group in self.groups]
        damages = [
            np.array([group_damage(group, n) for n in own]) for group, own in zip(self.groups, options, strict=True)
        ]
        at = [0] * len(options)
        found = [Narrowing()]
        while True:
            gone = np.array([own[i] / g.n_steps for own, i, g in zip(options, at, self.groups, strict=True)])
            now = arrays.cost(weights, gone)
            best: tuple[float, int, int] | None = None
            for number, group in enumerate(self.groups):
                for level in range(at[number] + 1, len(options[number])):
                    more = gone.copy()
                    more[number] = options[number][level] / group.n_steps
                    saved = now - arrays.cost(weights, more)
                    if saved <= 0:
                        continue
                    price = (damages[number][level] - damages[number][at[number]]) / saved
                    best = min(best or (np.inf, 0, 0), (price, number, level))
            if best is None or not np.isfinite(best[0]):
                return found
            at[best[1]] = best[2]
            removed = {group.name: own[i] for group, own, i in zip(self.groups, options, at, strict=True)}
            found.append(self.narrowing(removed))


@dataclass(frozen=True, eq=False)
class _Arrays:
    """Parts of layers that groups make up: (layers, groups) each."""

    inputs: np.ndarray
    outputs: np.ndarray

    @classmethod
    def of(cls, groups: Sequence[WidthGroup], layers: Sequence[str]) -> "_Arrays":
        sides = [[[getattr(group, side).get(layer, 0.0) for group in groups] for layer in layers] for side in _SIDES]
        shape = (len(layers), len(groups))
        return cls(*(np.array(own, float).reshape(shape) for own in sides))

    def cost(self, weights: np.ndarray, gone: np.ndarray) -> float:
        """Total cost with so much of each group gone: (groups,) in [0, 1)."""
        return float(weights @ ((1 - self.inputs @ gone) * (1 - self.outputs @ gone)))


_SIDES = ("inputs", "outputs")


def levels_of(n_steps: int, ratios: Sequence[float] = RATIOS) -> list[int]:
    """Whole numbers of shares that come nearest to the ratios; at least one goes and one stays."""
    return sorted({min(max(1, round(ratio * n_steps)), n_steps - 1) for ratio in ratios}) if n_steps > 1 else []


def group_damage(group: WidthGroup, n_removed: int) -> float:
    """Damage of removing so many shares: a power of their number through what was tried, never falling."""
    if not n_removed or not group.trials:
        return 0.0
    sizes = np.array([own.n_removed for own in group.trials], float)
    errors = np.maximum.accumulate([max(own.error, _TINY) for own in group.trials])
    logs, values = np.log(sizes), np.log(errors)
    power = (values[-1] - values[0]) / (logs[-1] - logs[0]) if len(sizes) > 1 else 2.0
    power = float(np.clip(power, _LEAST_POWER, _MOST_POWER))
    x = np.log(n_removed)
    if x <= logs[0]:
        return float(np.exp(values[0] + power * (x - logs[0])))
    if x >= logs[-1]:
        return float(np.exp(values[-1] + power * (x - logs[-1])))
    return float(np.exp(np.interp(x, logs, values)))
