"""Lesson on recovery: one cut and then tuning, or step by step, for equally many steps."""

from collections.abc import Mapping, Sequence
from typing import Any

from gencomp_core.charts import lessons as draw
from gencomp_core.services.lessons.evidence import Stages, measured, prune, quality_of, series, sheets
from gencomp_core.services.lessons.lesson import ChoiceGuess, Lesson, Reveal
from gencomp_core.store import Store

WORKLOAD = "fashion-vae"
N_SAMPLES = 5000
MILD, HARSH = 0.7, 0.9
STEPS = 300
TUNE: dict[str, Any] = {"kind": "fine-tune", "steps": STEPS}
CUT, ROUNDS = "one cut", "ten rounds"
ANSWERS = {
    "one cut, at both": (CUT, CUT),
    "ten rounds, at both": (ROUNDS, ROUNDS),
    "one cut at 70%, ten rounds at 90%": (CUT, ROUNDS),
    "ten rounds at 70%, one cut at 90%": (ROUNDS, CUT),
}
"""What may win at the mild and at the harsh sparsity."""


def iterative(sparsity: float) -> dict[str, Any]:
    """Ten rounds of pruning and tuning, plain."""
    return {"kind": "iterative-pruning", "sparsity": sparsity, "steps": STEPS}


def ways(sparsity: float) -> Mapping[str, Stages]:
    """Both ways to a sparsity, with equally many optimizer steps."""
    return {CUT: [prune(sparsity), TUNE], ROUNDS: [iterative(sparsity)]}


def recipes() -> Sequence[Stages]:
    """What the lesson compares, and dense with as much more training as a control."""
    return [[], [TUNE], *(stages for sparsity in (MILD, HARSH) for stages in ways(sparsity).values())]


def one_cut_or_rounds(store: Store) -> Reveal:
    """Which way ends better at a mild and at a harsh sparsity; intervals that overlap are a tie."""
    compared = {f"{s:.0%}, {name}": stages for s in (MILD, HARSH) for name, stages in ways(s).items()}
    table = series(store, WORKLOAD, compared)
    rows = table.to_dict("records")
    winners = (_winners(rows[:2]), _winners(rows[2:]))
    right = tuple(text for text, (mild, harsh) in ANSWERS.items() if mild in winners[0] and harsh in winners[1])
    best = [min(pair, key=lambda row: row["quality"]) for pair in (rows[:2], rows[2:])]
    bare = [quality_of(measured(store, WORKLOAD, prune(s))).value for s in (MILD, HARSH)]
    control = quality_of(measured(store, WORKLOAD, TUNE)).value
    told = "; ".join(f"{row['x']} {row['quality']:.2f}" for row in rows)
    return Reveal(
        truth=right,
        sentence=(
            f"FID ↓ after {STEPS} steps each: {told}. Before any tuning it was {bare[0]:.1f} and {bare[1]:.1f}; dense, "
            f"trained for as many steps more, has {control:.2f}."
        ),
        figure=draw.bars(table, x_title="", y_title="FID", right=tuple(row["x"] for row in best), log=True),
        alt="FID of both ways at both sparsities with intervals.",
        table=table.drop(columns="signature"),
        sheets=sheets(store, [measured(store, WORKLOAD, *ways(HARSH)[name]) for name in (CUT, ROUNDS)]),
        signature=best[1]["signature"],
    )


def _winners(pair: Sequence[Mapping[Any, Any]]) -> tuple[str, ...]:
    """Names of the better way, or of both where the intervals of their differences to dense overlap."""
    (name, cut), (other, rounds) = zip((CUT, ROUNDS), pair, strict=True)
    if cut["change_high"] < rounds["change_low"]:
        return (name,)
    return (other,) if rounds["change_high"] < cut["change_low"] else (name, other)


RECOVERING = (
    Lesson(
        "iterative", "going on", "One cut, or step by step?", WORKLOAD,
        f"Zero weights all at once and tune for {STEPS} steps, or zero a few in each of ten rounds within the same "
        f"{STEPS} steps. Which ends with the better FID, with 70% and with 90% of the weights gone?",
        ChoiceGuess("Better FID", tuple(ANSWERS)),
        one_cut_or_rounds,
        "Rounds let the weights that stay take over before more of them go, which matters when much goes. But the "
        "steps spent between rounds are steps that the final network does not get, and after a mild cut those are "
        "worth more. Count the steps on both sides, or the comparison says nothing.",
        (iterative(HARSH),),
    ),
)  # fmt: skip
