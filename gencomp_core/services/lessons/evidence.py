"""Evidence for lessons: measurements of given recipes, read from the store. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from gencomp_core.charts.tiles import from_webp, tile, to_webp, untile
from gencomp_core.errors import EvaluationError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS, Latency, Measurement, Quality
from gencomp_core.services import library
from gencomp_core.store import Store
from gencomp_core.workloads import card_of

N_SHOWN, COLUMNS = 12, 12
Stages = Sequence[Mapping[str, Any]]


def prune(sparsity: float, scope: str = "layer") -> dict[str, Any]:
    """A pruning stage, plain."""
    return {"kind": "magnitude-pruning", "sparsity": sparsity, "scope": scope}


def quantize(bits: int, **fields: Any) -> dict[str, Any]:
    """A rounding stage, plain."""
    return {"kind": "weight-quantization", "bits": bits, **fields}


def measured(store: Store, workload: str, *stages: Mapping[str, Any]) -> Measurement:
    """The measurement of a recipe.

    Raises:
        EvaluationError: it was not measured.
    """
    recipe = Recipe.from_dict({"stages": list(stages)})
    found = library.stored_for(store, workload, recipe)
    if found is None:
        raise EvaluationError(
            f"This lesson needs {recipe.title()} of {workload}, which this store does not hold. Load the recorded "
            "demo study on the Overview page."
        )
    return found


def quality_of(measurement: Measurement) -> Quality:
    """Quality of a measurement that has one.

    Raises:
        EvaluationError: its quality was not measured.
    """
    if measurement.quality is None:
        raise EvaluationError(f"The quality of {measurement.title} was not measured. Measure it again in Explore.")
    return measurement.quality


def series(store: Store, workload: str, recipes: Mapping[Any, Stages]) -> pd.DataFrame:
    """Figures of several recipes, one row each: `x`, title, bytes, quality with interval and paired change."""
    rows = []
    for x, stages in recipes.items():
        found = measured(store, workload, *stages)
        quality, change = quality_of(found), found.quality_change
        drift = found.fidelity.get(METRICS[card_of(workload).metric].drift)
        rows.append(
            {
                "x": x,
                "title": found.title,
                "size_bytes": found.size_bytes,
                "quality": quality.value,
                "quality_low": quality.low,
                "quality_high": quality.high,
                "change_low": change.low if change else float("nan"),
                "change_high": change.high if change else float("nan"),
                "drift": drift.value if drift else float("nan"),
                "signature": found.signature,
            }
        )
    return pd.DataFrame(rows)


def allowed(table: pd.DataFrame, store: Store, workload: str) -> pd.Series:
    """Which rows are surely within the usual loss of dense: by the far end of the paired interval."""
    facts = METRICS[card_of(workload).metric]
    dense = quality_of(measured(store, workload)).value
    loss = table["change_high"] if facts.better == "lower" else -table["change_low"]
    within: pd.Series = loss <= facts.usual_loss * dense
    return within


def best_row(table: pd.DataFrame, *, better: str = "lower") -> dict[str, Any]:
    """The row with the best quality."""
    rows: list[dict[str, Any]] = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    return (min if better == "lower" else max)(rows, key=lambda row: float(row["quality"]))


def tied_best(table: pd.DataFrame, *, better: str = "lower") -> tuple[str, ...]:
    """`x` of the best row, and of all whose intervals overlap its own."""
    best = best_row(table, better=better)
    tied = (table["quality_low"] <= best["quality_high"]) & (table["quality_high"] >= best["quality_low"])
    return tuple(str(x) for x in table["x"][tied])


def sheets(store: Store, found: Iterable[Measurement]) -> dict[str, bytes]:
    """The first samples of measurements at the same seeds, by caption; what was not kept is left out."""
    shown = {}
    for measurement in found:
        content = store.picture(measurement.signature, library.SAMPLES)
        if content is not None:
            images = untile(from_webp(content))[:N_SHOWN]
            shown[f"{measurement.title}, seed {measurement.request.seed}"] = to_webp(tile(images, columns=COLUMNS))
    return shown


def eager_latency(measurement: Measurement) -> Latency:
    """Latency in eager at batch 1.

    Raises:
        EvaluationError: it was not timed.
    """
    for latency in measurement.latency:
        if latency.runtime == "eager" and latency.batch == 1:
            return latency
    raise EvaluationError(f"{measurement.title} was not timed. Run 'gencomp evaluate' with it once.")
