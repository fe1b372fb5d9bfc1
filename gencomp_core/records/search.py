"""What a search tries, and what it makes of it."""

from typing import Any, Literal

from gencomp_core.records.base import Estimate, Record

Verdict = Literal["promoted", "dropped", "full", "failed"]


class Screening(Record):
    """What a recipe costs, and what some samples say of it: few to leave it out, all to publish it.

    Attributes:
        signature: of the request and of what was asked.
        workload, title: what was screened.
        n_samples: how many.
        costs: exact, by address of the axis, such as `size_bytes`.
        quality: of the metric; None where only drift was asked.
        change: of the metric, compressed minus dense at the same seeds.
        damage: how far the model moved from dense, lower is better; None for a full measurement.
        seconds: processor time it took.
    """

    signature: str
    workload: str
    title: str
    n_samples: int
    costs: dict[str, float]
    quality: Estimate | None = None
    change: Estimate | None = None
    damage: Estimate | None = None
    seconds: float


class Trial(Record):
    """One step of a search.

    Attributes:
        number: of the configuration, in the order in which they were first tried; 0 is dense.
        title, recipe: what was tried.
        rung: 0 for the fewest samples, and so on; the last is the full count.
        n_samples: samples of that rung.
        cost: on the axis that is searched; None where it failed.
        found: the figures; None where it failed.
        verdict: `promoted` to the next rung, `dropped` on this one, `full` for a finished measurement, `failed`.
        reason: what beats it, or why it failed.
    """

    number: int
    title: str
    recipe: dict[str, Any]
    rung: int
    n_samples: int
    cost: float | None = None
    found: Screening | None = None
    verdict: Verdict
    reason: str | None = None
