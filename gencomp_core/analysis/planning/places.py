"""Places along the way from the dense network to the narrowest one, at each of which options are chosen. No torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from gencomp_core.analysis.planning.instance import Instance, Total
from gencomp_core.analysis.planning.knapsack import Choice
from gencomp_core.analysis.planning.solving import about_best, best_choice
from gencomp_core.records import LayerOption

N_LOOKS = 9
"""How many places are looked at before the best one's neighbours are."""
_ROUGH = 1e-2

Places = Sequence[Instance]
"""The dense network first, each with fewer channels than the one before it."""
Found = tuple[Instance, Choice]


def places_of(instance: Instance, limits: Mapping[Total, float]) -> Places:
    """The network as it is; with narrower ones where milliseconds or multiply-accumulates are limited.

    Removing channels saves bytes as well, but rounding does so at less damage.
    """
    if instance.widths is None or not limits.keys() & {"latency_ms", "macs"}:
        return [instance]
    path = instance.widths.path(_cost(instance, "latency_ms" in limits))
    return [instance.narrowed(own) for own in path]


def best_place(places: Places, minimise: Total, limits: Mapping[Total, float]) -> Found | None:
    """The best choice over all places; None where none keeps the limits."""
    if len(places) == 1:
        found = best_choice(places[0], minimise, limits)
        return None if found is None else (places[0], found)
    rough = about_best_place(places, minimise, limits, gap=_ROUGH)
    if rough is None:
        return None
    exact = best_choice(rough[0], minimise, limits)
    if exact is None:  # it kept the limits by the solver's count of bytes only
        others = [(own, best_choice(own, minimise, limits)) for own in _looks(places, N_LOOKS)]
        known = [(own, choice) for own, choice in others if choice is not None]
        return min(known, key=lambda own: own[0].total(minimise, own[1].options), default=None)
    return rough[0], exact


def about_best_place(
    places: Places, minimise: Total, limits: Mapping[Total, float], *, offset: float = 0.0, gap: float = 0.0
) -> Found | None:
    """The same by the solver's count of bytes, looking at a few places and at the best one's neighbours."""
    if len(places) == 1:
        found = about_best(places[0], minimise, limits, offset=offset, gap=gap)
        return None if found is None else (places[0], found)
    known: dict[int, Choice | None] = {}

    def total(position: int) -> float:
        if position not in known:
            own = places[position]
            fits = own.macs <= limits.get("macs", np.inf)
            known[position] = about_best(own, minimise, limits, offset=offset, gap=max(gap, _ROUGH)) if fits else None
        choice = known[position]
        return np.inf if choice is None else places[position].total(minimise, choice.options)

    width = max(1, (len(places) - 1) // (N_LOOKS - 1))
    best = min({*range(0, len(places), width), len(places) - 1}, key=total)
    while width > 1:
        width = max(1, width // 2)
        best = min((own for own in (best, best - width, best + width) if 0 <= own < len(places)), key=total)
    choice = known[best]
    return None if choice is None else (places[best], choice)


def _looks(places: Places, n: int) -> list[Instance]:
    return [places[round(own)] for own in np.linspace(0, len(places) - 1, min(n, len(places)))]


def _cost(instance: Instance, in_ms: bool) -> dict[str, float]:
    """What channels save, by layer: milliseconds with integers where those can be had, or multiply-accumulates."""
    if not in_ms or instance.latency is None:
        return {own.layer: float(own.macs) for own in instance.prices.layers}
    integers = LayerOption(bits=8, activation_bits=8)
    inputs = instance.damages.inputs
    ms_of = instance.latency.ms_of
    return {
        own.layer: ms_of(own.layer, integers if own.layer in inputs else LayerOption())
        for own in instance.prices.layers
    }
