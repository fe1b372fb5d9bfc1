"""The best choice under limits, with the exact length of the file. No torch."""

from collections.abc import Mapping

from gencomp_core.analysis.planning import knapsack
from gencomp_core.analysis.planning.instance import Chosen, Instance, Total

CORRECTIONS = 8


def best_choice(
    instance: Instance, minimise: Total, limits: Mapping[Total, float], *, gap: float = 0.0
) -> knapsack.Choice | None:
    """Options with the least total of one kind that keep the limits on others; None where none do.

    The solver adds up bytes that are right to a few for each tensor. How far the sum is off the file is known of
    each choice, and corrects the limit until the file fits and no byte is held back.
    """
    limit = limits.get("size_bytes")
    if limit is None or minimise == "size_bytes":
        others: dict[Total, float] = {name: value for name, value in limits.items() if name != "size_bytes"}
        found = about_best(instance, minimise, others, gap=gap)
        return found if found and (limit is None or instance.exact_bytes(found.options) <= limit) else None
    smallest = best_choice(instance, "size_bytes", limits, gap=gap)
    if smallest is None:
        return None
    kept = [knapsack.Choice(smallest.options, 1.0)]
    offset, was_too_long = uncounted(instance, smallest.options), False
    for _ in range(CORRECTIONS):
        found = about_best(instance, minimise, limits, offset=offset, gap=gap)
        if found is None:
            break
        own = uncounted(instance, found.options)
        if instance.exact_bytes(found.options) > limit:
            was_too_long, offset = True, max(own, offset + instance.exact_bytes(found.options) - limit)
            continue
        kept.append(found)
        if was_too_long or own >= offset:
            break
        offset = own
    return min(kept, key=lambda own: (instance.total(minimise, own.options), own.gap))


def about_best(
    instance: Instance, minimise: Total, limits: Mapping[Total, float], *, offset: float = 0.0, gap: float = 0.0
) -> knapsack.Choice | None:
    """The same by the solver's count of bytes.

    Args:
        offset: bytes that it does not count.
        gap: relative distance from the best that is good enough.
    """
    left = {name: limit - instance.constants[name] for name, limit in limits.items()}
    if "size_bytes" in left:
        left["size_bytes"] -= offset
    return knapsack.solve(instance.columns[minimise], instance.columns, left, gap=gap)


def uncounted(instance: Instance, chosen: Chosen) -> float:
    """Bytes of the file that the solver's count misses."""
    return instance.exact_bytes(chosen) - instance.added("size_bytes", chosen)
