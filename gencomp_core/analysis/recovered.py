"""How much of a lost quality came back."""

from gencomp_core.records import Estimate


def gap_recovered(damaged: Estimate, recovered: Estimate) -> Estimate | None:
    """(damaged - recovered) / (damaged - dense): 1 is all of it, below 0 is worse than before.

    The ends pair the far ends of both intervals, so that they hold at least as surely as those do.

    Args:
        damaged, recovered: differences to dense at the same seeds, in either direction of the metric.

    Returns:
        None where the damage lies within its own interval: there is nothing to be recovered.
    """
    if damaged.low <= 0 <= damaged.high:
        return None
    ends = [1 - after / before for after in (recovered.low, recovered.high) for before in (damaged.low, damaged.high)]
    return Estimate(value=1 - recovered.value / damaged.value, low=min(ends), high=max(ends))
