"""The ledger: what was predicted beside what was measured afterwards, and how far the planner is off. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from gencomp_core.records.plans import KeptPrediction

COLUMNS = [
    "recipe_signature", "title", "source", "planner_version", "predicted_at", "measured_at", "size_predicted",
    "size_is_exact", "size_measured", "size_error", "runtime", "batch", "latency_predicted", "latency_measured",
    "latency_error", "latency_inside", "damage",
    "change_predicted", "change_low", "change_high", "change_measured", "change_error", "inside", "n_pairs",
]  # fmt: skip


Timed = Mapping[tuple[str, str, int], float]
"""Milliseconds by signature of the measurement, runtime and batch."""


def ledger_table(
    predictions: Sequence[KeptPrediction], figures: pd.DataFrame, latencies: Iterable[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """Predictions with the first measurement of the same recipe and weights that was made after them.

    Args:
        predictions: of one workload.
        figures: its measurements, with `recipe_signature`, `weights`, `measured_at`, `size_bytes`, `quality_change`,
            `signature`.
        latencies: medians with `signature`, `runtime`, `batch` and `median_ms`.

    Returns:
        One row for each prediction, newest first; measured columns are empty while nothing was measured.
    """
    timed: Timed = {(own["signature"], own["runtime"], own["batch"]): own["median_ms"] for own in latencies}
    rows = [_row(kept, _measured_after(kept, figures), timed) for kept in predictions]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values("predicted_at", ascending=False, kind="stable").reset_index(drop=True)


def account(table: pd.DataFrame) -> dict[str, Any]:
    """The planner's own error over a ledger.

    Returns:
        `n` predictions that were measured; `largest_size_error` of exact ones in bytes; `n_quality` with a predicted
        quality, the share of them `inside` the interval (should be about 0.95), the `median_error` of the change, and
        `spearman` of damage with the measured loss, `n_latency` with a measured time and the `median_latency_error` of
        those, as a part of what was said; None where there is nothing to tell.
    """
    measured = table.dropna(subset=["size_measured"])
    told = measured.dropna(subset=["change_predicted", "change_measured"])
    exact = measured[measured["size_is_exact"].astype(bool)]
    ranked = measured.dropna(subset=["change_measured"]).drop_duplicates("recipe_signature")
    correlation = None
    if len(ranked) > 2 and ranked["damage"].nunique() > 1 and ranked["change_measured"].nunique() > 1:
        correlation = float(spearmanr(ranked["damage"], ranked["change_measured"].abs()).statistic)
    return {
        "n": len(measured),
        "largest_size_error": int(exact["size_error"].abs().max()) if len(exact) else None,
        "n_quality": len(told),
        "inside": float(told["inside"].astype(bool).mean()) if len(told) else None,
        "median_error": float(told["change_error"].abs().median()) if len(told) else None,
        "spearman": correlation,
        "n_latency": int(measured["latency_error"].notna().sum()),
        "median_latency_error": _median_size(measured["latency_error"].dropna()),
    }


def _median_size(errors: "pd.Series") -> float | None:
    return float(errors.astype(float).abs().median()) if len(errors) else None


def _measured_after(kept: KeptPrediction, figures: pd.DataFrame) -> "pd.Series | None":
    """A measurement can't score a prediction that was made with it at hand."""
    if figures.empty:
        return None
    same = figures[
        (figures["recipe_signature"] == kept.recipe_signature)
        & (figures["weights"] == kept.weights_hash[:8])
        & (figures["measured_at"] >= kept.predicted_at)
    ]
    return None if same.empty else same.sort_values("measured_at").iloc[0]


def _row(kept: KeptPrediction, found: "pd.Series | None", timed: Timed) -> dict[str, Any]:
    told, quality = kept.prediction, kept.prediction.quality
    row: dict[str, Any] = {
        "recipe_signature": kept.recipe_signature,
        "title": kept.title,
        "source": kept.source,
        "planner_version": kept.planner_version,
        "predicted_at": kept.predicted_at,
        "size_predicted": told.size_bytes,
        "size_is_exact": told.size_is_exact,
        "latency_predicted": told.latency_ms,
        "runtime": told.runtime,
        "batch": told.batch,
        "damage": told.damage,
    }
    if quality is not None:
        row |= {
            "change_predicted": quality.change,
            "change_low": quality.change_low,
            "change_high": quality.change_high,
            "n_pairs": quality.n_pairs,
        }
    if found is None:
        return row
    row |= {
        "measured_at": found["measured_at"],
        "size_measured": int(found["size_bytes"]),
        "size_error": int(found["size_bytes"]) - told.size_bytes,
        "change_measured": found["quality_change"],
    }
    ms = timed.get((str(found.get("signature")), told.runtime, told.batch))
    if ms is not None:
        row["latency_measured"] = ms
        if told.latency_ms:
            row["latency_error"] = ms / told.latency_ms - 1
        if told.latency_low is not None and told.latency_high is not None:
            row["latency_inside"] = bool(told.latency_low <= ms <= told.latency_high)
    change = row["change_measured"]
    if quality is not None and change is not None and np.isfinite(change):
        row["change_error"] = change - quality.change
        row["inside"] = bool(quality.change_low <= change <= quality.change_high)
    return row
