"""What to say where no plan keeps the budgets."""

from collections.abc import Mapping

from gencomp_core.analysis.planning.amounts import amount_text, round_up
from gencomp_core.errors import PlanError
from gencomp_core.records.plans import OPTION_OF, BudgetName, Budgets

_WHY = {
    "macs": " Zeros and rounded weights are multiplied like others: put channel-pruning into the recipe to save any.",
    "latency_ms": " Zeros and rounded weights take as long in eager: remove channels, or take another runtime.",
}
_WHY_NARROW = {
    "macs": " That is with three quarters of all channels gone, as far as they can go.",
    "latency_ms": " That is with three quarters of channels gone and integers where they pay. Try another runtime.",
}


def impossible(
    budgets: Budgets, nearest: Mapping[BudgetName, float], *, dense_quality: float | None, narrows: bool = False
) -> PlanError:
    """What stands against budgets that no choice keeps.

    Args:
        nearest: the least that each budget must be while the others hold; those that alone are not enough are missing.
        narrows: channels were among the options.
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
            f"{(_WHY_NARROW if narrows else _WHY).get(name, ' Allow that much, or scan harsher options.')}",
            nearest.items(),
        )
    if not nearest:
        return PlanError(f"No plan keeps {' with '.join(wanted)}, even without any one of them. Allow more of each.")
    ways = [f"{OPTION_OF[name]} at least {least(name)}" for name in nearest]
    return PlanError(
        f"No plan keeps {' with '.join(wanted)} with these options. It takes {', or '.join(ways)}, the rest unchanged.",
        nearest.items(),
    )
