"""Budgets in words: sizes and times for people, and what to do where no plan keeps them."""

from collections.abc import Mapping
from math import ceil, floor, log10

from gencomp_core.errors import PlanError
from gencomp_core.records.plans import OPTION_OF, BudgetName, Budgets

_UNITS = {"size_bytes": (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1)), "macs": (("G", 1e9), ("M", 1e6), ("k", 1e3))}
_WHY = {
    "macs": " Zeros and rounded weights are multiplied like others: put channel-pruning into the recipe to save any.",
    "latency_ms": " Zeros and rounded weights take as long in eager: remove channels, or take another runtime.",
}


def round_up(value: float, *, digits: int = 4) -> float:
    """The next number with so many significant digits, so that a limit that is printed can be kept."""
    if value <= 0:
        return value
    unit = 10.0 ** (floor(log10(value)) - digits + 1)
    return ceil(round(value / unit, 6)) * unit


def amount_text(name: BudgetName, value: float, *, unit: str = "fraction") -> str:
    """An amount as the command line takes it: `412.4kB`, `20ms`, `66.9M`, `10%`, `1.5FID`."""
    if name == "loss":
        return f"{100 * value:.4g}%" if unit == "fraction" else f"{value:.4g}{unit.upper()}"
    if name == "latency_ms":
        return f"{value:.4g}ms"
    for sign, size in _UNITS[name]:
        if value >= size:
            return f"{value / size:.7g}{sign}"
    return f"{value:.7g}"


def impossible(budgets: Budgets, nearest: Mapping[BudgetName, float], *, dense_quality: float | None) -> PlanError:
    """What stands against budgets that no choice keeps.

    Args:
        nearest: the least that each budget must be while the others hold; those that alone are not enough are missing.
    """
    given: dict[BudgetName, float] = dict(budgets.given)
    loss = budgets.loss
    if loss is not None:
        given["loss"] = loss.value
    unit = loss.unit if loss else "fraction"

    def least(name: BudgetName) -> str:
        value = nearest[name]
        if name == "loss" and unit == "fraction":
            value /= abs(dense_quality or 1.0)
        return amount_text(name, round_up(value), unit=unit)

    wanted = [f"{OPTION_OF[name]} {amount_text(name, value, unit=unit)}" for name, value in given.items()]
    if len(given) == 1:
        name = next(iter(given))
        got = amount_text(name, given[name], unit=unit)
        return PlanError(
            f"{OPTION_OF[name]} must be at least {least(name)} with these options, got {got}."
            f"{_WHY.get(name, ' Allow that much, or scan harsher options.')}",
            nearest.items(),
        )
    if not nearest:
        return PlanError(f"No plan keeps {' with '.join(wanted)}, even without any one of them. Allow more of each.")
    ways = [f"{OPTION_OF[name]} at least {least(name)}" for name in nearest]
    return PlanError(
        f"No plan keeps {' with '.join(wanted)} with these options. It takes {', or '.join(ways)}, the rest unchanged.",
        nearest.items(),
    )
