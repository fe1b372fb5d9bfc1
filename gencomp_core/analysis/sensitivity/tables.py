"""Scores as tables: one row a layer and option, fitted monotone, with interactions, ranks and doubts. No torch."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from gencomp_core.records import LayerOption, LayerScore, MetricFacts, RankCorrelation, ScanMethod, ScoreAxis

TRUSTWORTHY = 0.8
MIN_PAIRS = 5
COLUMNS = [
    "layer", "axis", "option", "level", "sparsity", "bits", "group_size", "pruning_ratio", "position", "damage", "low",
    "high", "fitted", "interaction", "size_bytes", "dense_size_bytes", "saved_bytes",
]  # fmt: skip


def score_table(scores: Iterable[LayerScore]) -> pd.DataFrame:
    """One row per score; `fitted` is monotone over the levels of a layer, `interaction` is that of both effects.

    The fit is least squares, with levels from mild to harsh, of the damages of one layer, axis, group size and
    position. Damages that are not finite count as beyond all others and are left as they are. The interaction is the
    damage of zeroing and rounding together less the sum of the two alone: positive where they make each other worse.

    Source: Barlow 1972, "Statistical Inference under Order Restrictions" (isotonic regression).
    """
    found = list(scores)
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.DataFrame([_row(score) for score in found])
    keys = ["layer", "axis", "format", "position"]
    table["fitted"] = np.nan
    for _, rows in table.groupby(keys, dropna=False, sort=False):
        ordered = rows.sort_values("harshness")
        if ordered["axis"].iloc[0] != "joint":
            table.loc[ordered.index, "fitted"] = monotone(ordered["damage"].to_numpy())
    joint = table["axis"] == "joint"
    table.loc[joint, "fitted"] = table.loc[joint, "damage"]
    table["interaction"] = _interactions(found)
    table["saved_bytes"] = table["dense_size_bytes"] - table["size_bytes"]
    return table[COLUMNS]


def monotone(damages: Sequence[float] | np.ndarray) -> np.ndarray:
    """Damages nearest to the given ones in the least squares that never fall, of levels from mild to harsh: (n,)."""
    found = np.asarray(damages, float)
    finite = np.isfinite(found)
    fitted = found.copy()
    if finite.any():
        fitted[finite] = isotonic_regression(np.maximum(found[finite], 0.0)).x
    return fitted


def level_matrix(table: pd.DataFrame, *, axis: str, value: str = "fitted") -> pd.DataFrame:
    """Layer × option of one axis over the whole generation, layers in their order, mild options first."""
    rows = table[(table["axis"] == axis) & table["position"].isna()]
    return _pivoted(rows, "option", value)


def position_matrix(table: pd.DataFrame, *, option: str, value: str = "damage") -> pd.DataFrame:
    """Layer × position under one option, positions in the order of the generation."""
    rows = table[(table["option"] == option) & table["position"].notna()]
    return _pivoted(rows, "position", value)


def ranked_layers(table: pd.DataFrame, *, option: str, n: int | None = None) -> pd.DataFrame:
    """Layers by their damage under one option, the most sensitive first."""
    rows = table[(table["option"] == option) & table["position"].isna()]
    ranked = rows.sort_values(["damage", "layer"], ascending=[False, True])
    return ranked if n is None else ranked.head(n)


def rank_correlation(first: Iterable[LayerScore], second: Iterable[LayerScore]) -> RankCorrelation | None:
    """Spearman's rank correlation over what both have scored for all of the generation; None where that is too little.

    Options that are unbearable in one of them rank last together.
    """
    one, other = (_whole(scores) for scores in (first, second))
    common = [key for key in one if key in other]
    if len(common) < MIN_PAIRS:
        return None
    values = np.array([[_ranked(own[key].damage.value) for key in common] for own in (one, other)])
    if (values == values[:, :1]).all(axis=1).any():
        return None  # one that finds everything equal has no order
    rho = float(spearmanr(values[0], values[1]).statistic)
    methods = (one[common[0]].method, other[common[0]].method)
    return RankCorrelation(methods=methods, spearman=rho, n=len(common), trustworthy=rho >= TRUSTWORTHY)


def allowance(method: ScanMethod, facts: MetricFacts, *, are_texts: bool, dense_quality: float = math.nan) -> float:
    """Damage that the mildest option of a layer may do, in the units of the method.

    By the metric, the loss that a recommended configuration may have in all. By outputs, that fraction of the spread
    of an output, as root mean square; for texts as many nats a piece, a tenth of what costs as much BLEU in the
    recorded study: rules of thumb, to name layers that need a look.
    """
    if method == "metric":
        return facts.usual_loss * abs(dense_quality)
    return facts.usual_loss if are_texts else facts.usual_loss**2 / 2


def unsafe_layers(scores: Iterable[LayerScore], *, allowed: float) -> dict[str, str]:
    """Layers that even the mildest zeroing or rounding harms beyond what is allowed, each with the reason."""
    mildest: dict[tuple[str, ScoreAxis, str], LayerScore] = {}
    for score in scores:
        weights_alone = score.option.axis in ("sparsity", "bits") and score.direction == "only-this"
        if score.position is not None or not weights_alone:
            continue
        key = (score.layer, score.option.axis, _format(score.option))
        if key not in mildest or _harshness(score.option) < _harshness(mildest[key].option):
            mildest[key] = score
    found: dict[str, str] = {}
    for (layer, _, _), score in mildest.items():
        damage = score.damage.value
        if not math.isfinite(damage):
            found[layer] = f"{score.option.title()} can't be applied, or makes outputs that are not finite"
        elif damage > allowed:
            found.setdefault(layer, f"{score.option.title()} alone does {damage:.3g} of damage, {allowed:.3g} is usual")
    return found


def warnings_for(correlations: Iterable[RankCorrelation]) -> list[str]:
    """One line for each pair of methods that do not agree."""
    return [
        f"{own.methods[0]} and {own.methods[1]} agree in rank by {own.spearman:.2f} only (Spearman, {own.n} options; "
        f"{TRUSTWORTHY} is wanted): trust the one that is nearer to the metric, and confirm before you act."
        for own in correlations
        if not own.trustworthy
    ]


def _row(score: LayerScore) -> dict[str, object]:
    option = score.option
    level = option.bits if option.axis == "bits" else option.pruning_ratio or option.sparsity
    return {
        "layer": score.layer,
        "axis": option.axis,
        "option": option.title(),
        "level": level,
        "harshness": _harshness(option),
        "format": _format(option),
        "sparsity": option.sparsity,
        "bits": option.bits,
        "group_size": option.group_size,
        "pruning_ratio": option.pruning_ratio,
        "position": score.position,
        "damage": score.damage.value,
        "low": score.damage.low,
        "high": score.damage.high,
        "size_bytes": score.size_bytes,
        "dense_size_bytes": score.dense_size_bytes,
    }


def _interactions(scores: Sequence[LayerScore]) -> list[float]:
    """Joint damage less both single ones; not a number where there is no such."""
    known: Mapping[tuple[str, str | None, LayerOption], float] = {
        (score.layer, score.position, score.option): score.damage.value for score in scores
    }

    def of(score: LayerScore) -> float:
        option = score.option
        if option.axis != "joint":
            return math.nan
        zeroed = known.get((score.layer, score.position, LayerOption(sparsity=option.sparsity)), math.nan)
        rounded = option.model_copy(update={"sparsity": 0.0})
        return score.damage.value - zeroed - known.get((score.layer, score.position, rounded), math.nan)

    with np.errstate(invalid="ignore"):
        return [of(score) for score in scores]


def _pivoted(rows: pd.DataFrame, columns: str, value: str) -> pd.DataFrame:
    table = rows.pivot_table(index="layer", columns=columns, values=value, aggfunc="first", sort=False, dropna=False)
    return table.reindex(index=list(dict.fromkeys(rows["layer"])), columns=list(dict.fromkeys(rows[columns])))


def _whole(scores: Iterable[LayerScore]) -> dict[tuple[str, LayerOption, str], LayerScore]:
    return {(own.layer, own.option, own.direction): own for own in scores if own.position is None}


def _ranked(damage: float) -> float:
    return damage if math.isfinite(damage) else math.inf


def _harshness(option: LayerOption) -> float:
    """Grows with what is done, within one axis."""
    if option.axis == "bits":
        return -float(option.bits or 0)
    return option.pruning_ratio or option.sparsity


def _format(option: LayerOption) -> str:
    """What two roundings must share for their widths to be compared."""
    return "" if option.bits is None else f"{option.group_size} {option.symmetric} {option.clipping}"
