"""Amounts with units, as the command line and pages take and print them: `500kB`, `20ms`, `50M`, `10%`, `1.5FID`."""

import re
from math import ceil, floor, inf, log10

from pydantic import ByteSize, TypeAdapter, ValidationError

from gencomp_core.errors import PlanError
from gencomp_core.records.plans import OPTION_OF, BudgetName, Budgets, Loss, Plan

_SIZES = TypeAdapter(ByteSize)
_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9]*)\s*")
_MS = {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3}
_MACS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_EXAMPLES: dict[BudgetName, str] = {"size_bytes": "500kB", "latency_ms": "20ms", "macs": "50M", "loss": "10%"}
_UNITS = {"size_bytes": (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1)), "macs": (("G", 1e9), ("M", 1e6), ("k", 1e3))}


def read_budgets(
    *,
    size: str | None = None,
    latency: str | None = None,
    macs: str | None = None,
    loss: str | None = None,
    metric: str,
) -> Budgets:
    """Budgets from what a user typed.

    Args:
        size: such as `500kB`, `2MB` or `1.5MiB`.
        latency: such as `20ms` or `1.5s`.
        macs: such as `50M`.
        loss: a fraction of the dense quality such as `10%`, or in the metric's units such as `1.5FID`.
        metric: of the workload.

    Raises:
        PlanError: one line with what can't be read.
    """
    return Budgets(
        size_bytes=None if size is None else _size(size),
        latency_ms=None if latency is None else _amount("latency_ms", latency, _MS),
        macs=None if macs is None else round(_amount("macs", macs, _MACS)),
        loss=None if loss is None else _loss(loss, metric),
    )


def _size(text: str) -> int:
    try:
        size = int(_SIZES.validate_python(text))
    except ValidationError:
        raise _unreadable("size_bytes", text) from None
    if size <= 0:
        raise _unreadable("size_bytes", text)
    return size


def _amount(name: BudgetName, text: str, units: dict[str, float]) -> float:
    found = _NUMBER.fullmatch(text)
    if found is None or found[2].lower() not in units or not 0 < float(found[1]) < inf:
        raise _unreadable(name, text)
    return float(found[1]) * units[found[2].lower()]


def _loss(text: str, metric: str) -> Loss:
    found = _NUMBER.fullmatch(text)
    if found is not None and 0 < float(found[1]) < inf:
        if found[2] == "%":
            return Loss(value=float(found[1]) / 100)
        if found[2].lower() == metric.lower():
            return Loss(value=float(found[1]), unit=metric)
    raise PlanError(
        f"{OPTION_OF['loss']} must be a part of the dense quality such as 10%, or an amount above 0 of its metric such "
        f"as 1.5{metric.upper()}, got {text!r}. Write it with its unit."
    )


def _unreadable(name: BudgetName, text: str) -> PlanError:
    return PlanError(
        f"{OPTION_OF[name]} must be an amount above 0 such as {_EXAMPLES[name]}, got {text!r}. Correct it."
    )


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


def shadow_lines(plan: Plan) -> list[str]:
    """What a little more of each binding budget buys, a line each: `100kB more would buy 0.4 FID`."""
    lines = []
    for own in plan.shadow_prices:
        told = plan.predicted.quality
        step = amount_text(own.budget, own.step, unit=told.metric if told else "")
        if own.saved_bytes is not None:
            gain = amount_text("size_bytes", own.saved_bytes)
        elif own.quality is not None and told is not None:
            gain = f"{own.quality:.2g} {told.metric.upper()}"
        else:
            part = own.damage / plan.predicted.damage if plan.predicted.damage else 0.0
            gain = f"{part:.0%} less damage"
        lines.append(f"{OPTION_OF[own.budget]} binds: {step} more would buy {gain}")
    return lines or ["no budget binds"]
