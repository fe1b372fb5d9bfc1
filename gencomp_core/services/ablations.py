"""How the networks were trained, and what each strategy bought: reading the recorded ablations, without torch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gencomp_core.data.assets import check_asset
from gencomp_core.errors import DataError
from gencomp_core.records import METRICS
from gencomp_core.runtime_env import ASSETS
from gencomp_core.training.ablations import ABLATIONS, ARMS, NOTES
from gencomp_core.training.config import CONFIG_FOLDER, load_config
from gencomp_core.workloads import card_of

__all__ = ["NOTES"]  # pages read them here, too
FOLDER = ASSETS / "ablations"
PICTURES = "pictures"
COMMAND = "python -m tools.record_ablations"
CURVE_COLUMNS = ["name", "arm", "seed", "step", "seconds", "quantity", "value"]
COLUMNS = {
    "results": [
        "name", "arm", "seed", "network", "metric", "steps", "status", "reason", "quality", "value", "low", "high",
        "n_samples", "seconds", "peak_bytes", "machine", "figures", "samples", "versions", "replicates",
    ],
    "curves": CURVE_COLUMNS,
    "verdicts": [
        "name", "network", "verdict", "times_better", "low", "high", "without", "with", "n_seeds", "compared", "reason",
    ],
}  # fmt: skip
VERDICTS = {"helps": "It helps", "hurts": "It hurts", "no difference": "No difference here", "failed": "A run failed"}
LEAST = 1e-3  # a metric of 0 has no logarithm
MEDIAN_CHI_SQUARED = 0.4549  # of one degree of freedom


@dataclass(frozen=True, eq=False)
class Recorded:
    """The recorded tables; columns as in `COLUMNS`.

    Attributes:
        results: one row a run; `replicates` are the metric's bootstrap resamples, `figures` and `samples` JSON.
        curves: one row a point; seconds of processor time.
        verdicts: one row an ablation; `times_better` is a ratio of metrics, above 1 is better with the strategy.
    """

    results: pd.DataFrame
    curves: pd.DataFrame
    verdicts: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Baseline:
    """How a shipped network was trained.

    Attributes:
        configuration: YAML text.
        curve: as `Recorded.curves`.
        steps, minutes: of the run.
    """

    configuration: str
    curve: pd.DataFrame
    steps: int
    minutes: float


def recorded(folder: Path | None = None) -> Recorded | None:
    """The recorded ablations, or None before any was recorded.

    Raises:
        DataError: a table is missing, damaged or was made by another version.
    """
    paths = {name: (folder or FOLDER) / f"{name}.parquet" for name in COLUMNS}
    if not any(path.exists() for path in paths.values()):
        return None
    return Recorded(**{name: _table(path, COLUMNS[name]) for name, path in paths.items()})


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    restore = f"Restore it from the repository, or run '{COMMAND}'."
    if not path.exists():
        raise DataError(f"{path} is missing, while its companions are there. {restore}")
    check_asset(path)
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({str(error).splitlines()[0]}). {restore}") from None
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise DataError(f"{path} has no column {lacking[0]!r}, so another version made it. {restore}")
    return table


def picture_path(name: str, arm: str, folder: Path | None = None) -> Path:
    """File of an arm's samples at its first seed."""
    return (folder or FOLDER) / PICTURES / f"{name}-{arm}.webp"


def picture(name: str, arm: str, folder: Path | None = None) -> bytes | None:
    """An arm's samples as WEBP, or None where none are kept."""
    path = picture_path(name, arm, folder)
    return path.read_bytes() if path.exists() else None


def overview(found: Recorded, network: str | None = None) -> pd.DataFrame:
    """Verdicts with title, row, question and source of their ablations, best first; failed ones last.

    Args:
        network: whose; all networks without it.
    """
    table = found.verdicts[found.verdicts["name"].isin(list(ABLATIONS))]
    if network is not None:
        table = table[table["network"] == network]
    facts = [ABLATIONS[name] for name in table["name"]]
    about = {field: [getattr(one, field) for one in facts] for field in ("title", "row", "question", "source")}
    table = table.assign(**about)
    return table.sort_values("times_better", ascending=False, na_position="last", ignore_index=True)


def sentence(verdict: Mapping[str, Any]) -> str:
    """One ablation's verdict for people, in Markdown."""
    heading = f"**{VERDICTS[verdict['verdict']]}.**"
    if verdict["verdict"] == "failed":
        return f"{heading} {verdict['reason']}"
    facts = METRICS[card_of(verdict["network"]).metric]
    seeds = f"{verdict['n_seeds']} seeds" if verdict["n_seeds"] > 1 else "one seed"
    return (
        f"{heading} {facts.title} is {verdict['with']:.2f} with it and {verdict['without']:.2f} without "
        f"({facts.better} is better): {verdict['times_better']:.2f} × as good, 95 % interval "
        f"[{verdict['low']:.2f}, {verdict['high']:.2f}], after {verdict['compared']}, {seeds}."
    )


def arms(found: Recorded, name: str) -> dict[str, dict[str, Any]]:
    """Means over the seeds of each arm that finished: value, low, high, seconds, peak_bytes and its figures."""
    table = found.results[(found.results["name"] == name) & (found.results["status"] == "finished")]
    means: dict[str, dict[str, Any]] = {}
    for arm in ARMS:
        rows = table[table["arm"] == arm]
        if rows.empty:
            continue
        figures = [json.loads(text) for text in rows["figures"]]
        shown = {key: np.mean([one[key] for one in figures], axis=0).tolist() for key in figures[0]}
        numbers = {name: float(rows[name].mean()) for name in ("value", "low", "high", "seconds", "peak_bytes")}
        means[arm] = {**numbers, "figures": shown, "quality": rows["quality"].iloc[0]}
    return means


def text_samples(found: Recorded, name: str) -> pd.DataFrame:
    """A few test verses with the answers of both arms at the first seed; empty for images."""
    columns: dict[str, Sequence[str]] = {}
    for row in found.results[found.results["name"] == name].sort_values("seed", kind="stable").to_dict("records"):
        samples = json.loads(row["samples"]) or []
        if samples and row["arm"] not in columns:
            columns["source"], columns["reference"], columns[row["arm"]] = zip(*samples, strict=True)
    return pd.DataFrame(columns)


def runs_of(found: Recorded, name: str) -> pd.DataFrame:
    """Every run of an ablation, without what is nested."""
    nested = ["replicates", "samples", "versions"]
    return found.results[found.results["name"] == name].drop(columns=nested)


def curves_of(found: Recorded, name: str) -> pd.DataFrame:
    """All curves of an ablation."""
    return found.curves[found.curves["name"] == name]


def baseline(workload: str) -> Baseline | None:
    """How a shipped network was trained, or None where no record of it ships.

    Raises:
        DataError: the record is damaged.
    """
    path = ASSETS / "checkpoints" / workload / "curve.jsonl"
    configuration = CONFIG_FOLDER / f"{workload}.yaml"
    if not path.exists() or not configuration.exists():
        return None
    try:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        by_step = {record["step"]: record for record in records}  # a resumed run repeats steps; the last counts
        key = {"name": workload, "arm": "shipped", "seed": 0}
        points = [key | point for step in sorted(by_step) for point in curve_points(by_step[step])]
        last = by_step[max(by_step)]
        curve = pd.DataFrame(points, columns=CURVE_COLUMNS)
        return Baseline(configuration.read_text(), curve, int(last["step"]), float(last["seconds"]) / 60)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}). Restore it from the repository.") from None


def curve_points(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The loss and the held-out figures of a training record, one point each."""
    at = {"step": record["step"], "seconds": record["seconds"]}
    for quantity, value in {"loss": record["loss"], **record["figures"]}.items():
        yield at | {"quantity": quantity, "value": value}


def held_out(curve: pd.DataFrame) -> str | None:
    """The held-out figure of all arms that says most: FID or BLEU where it is there, otherwise the first one."""
    n_arms = curve.groupby("quantity", sort=False)["arm"].nunique()
    quantities = [str(name) for name in n_arms.index[n_arms == n_arms.max()] if name != "loss"]
    return next((name for name in METRICS if name in quantities), quantities[0] if quantities else None)


def configuration_fields(network: str) -> pd.DataFrame:
    """Every field of a network's training configuration: its value in the shipped one, and what it means."""
    shipped = load_config(network)
    helps: dict[str, str] = {}
    for kind in reversed(type(shipped).__mro__[:-1]):
        helps |= _attributes(kind.__doc__ or "")
    rows = [
        {"field": name, "shipped": str(value), "meaning": helps.get(name, "")}
        for name, value in shipped.model_dump().items()
    ]
    return pd.DataFrame(rows)


def _attributes(docstring: str) -> dict[str, str]:
    """What the Attributes section of a docstring says of each name; several may share a line."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in docstring.partition("Attributes:\n")[2].splitlines():
        before, colon, after = line.partition(": ")
        is_entry = bool(colon) and len(line) - len(line.lstrip()) <= 8
        if is_entry:
            names = [name.strip() for name in before.split(",")]
            found |= dict.fromkeys(names, after.strip())
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def verdicts(results: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Whether each strategy helps: log ratios of the metric, above 0 better with it, averaged over the seeds.

    The interval is Student's, of two variances. Sampling: bootstrap resamples of the same samples in all
    runs of an ablation (paired). Training: the spread of the log ratio between seeds. Two seeds
    say little of a spread, so that the median over all ablations of the network, made consistent for one
    degree of freedom, is taken where it is larger than the ablation's own.
    """
    rows, ratios = [], {}
    for name, table in results.groupby("name", sort=False):
        facts = ABLATIONS[str(name)]
        own = curves[curves["name"] == name]
        rows.append(_compared(table, own, by_seconds=facts.equal == "seconds") | {"name": name})
        ratios[name] = rows[-1].pop("ratios")
    for row in rows:
        same = [ratios[other["name"]] for other in rows if other["network"] == row["network"]]
        row |= _judged(ratios[row["name"]], row.pop("sampling_variance"), same)
    return pd.DataFrame(rows, columns=COLUMNS["verdicts"])


def _compared(table: pd.DataFrame, curves: pd.DataFrame, *, by_seconds: bool) -> dict[str, Any]:
    """Log ratio of each seed that finished in both arms, and the variance of their mean from sampling."""
    first = table.iloc[0]
    sign = 1 if METRICS[first["metric"]].better == "higher" else -1
    done = table[table["status"] == "finished"].set_index(["arm", "seed"])
    seeds = [seed for seed in sorted(table["seed"].unique()) if all((arm, seed) in done.index for arm in ARMS)]
    failed = table[table["status"] != "finished"]
    row: dict[str, Any] = {
        "network": first["network"],
        "n_seeds": len(seeds),
        "compared": f"{first['steps']:,} steps",
        "reason": "; ".join(failed["arm"] + " it, seed " + failed["seed"].astype(str) + ": " + failed["reason"]),
        "ratios": np.array([]),
        "sampling_variance": 0.0,
    }
    if not seeds:
        return row
    values = done["value"].astype(float).to_dict()
    if by_seconds:
        common = min(done.loc[(arm, seed), "seconds"] for arm in ARMS for seed in seeds)
        row["compared"] = f"{common:.0f} s of training each"
        quantity = first["metric"]
        values = {key: _at_seconds(curves, key, quantity=quantity, seconds=common) for key in values}
    ratios = [sign * (_log(values["with", seed]) - _log(values["without", seed])) for seed in seeds]
    resampled = [
        _log(done.loc[("with", seed), "replicates"]) - _log(done.loc[("without", seed), "replicates"]) for seed in seeds
    ]
    row |= {arm: float(np.mean([values[arm, seed] for seed in seeds])) for arm in ARMS}
    return row | {"ratios": np.array(ratios), "sampling_variance": float(np.var(np.mean(resampled, axis=0)))}


def _at_seconds(curves: pd.DataFrame, run: Any, *, quantity: str, seconds: float) -> float:
    """Figure of a run (arm, seed) at a time, between two validations on a straight line of its logarithm."""
    own = curves[(curves["arm"] == run[0]) & (curves["seed"] == run[1]) & (curves["quantity"] == quantity)]
    return float(np.exp(np.interp(seconds, own["seconds"], _log(own["value"]))))


def _judged(ratios: np.ndarray, sampling_variance: float, same_network: list[np.ndarray]) -> dict[str, Any]:
    """Ratio with interval and verdict, from the log ratios of an ablation and of all of its network."""
    if not len(ratios):
        return {"verdict": "failed"}
    from scipy.stats import t as student_t  # half a second that pages need not wait for

    spreads = [float(np.var(own, ddof=1)) for own in same_network if len(own) > 1]
    pooled = float(np.median(spreads)) / MEDIAN_CHI_SQUARED if spreads else 0.0
    own = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    error = np.sqrt(sampling_variance + max(own, pooled) / len(ratios))
    half = float(student_t.ppf(0.975, max(1, len(spreads)))) * error
    mean = float(np.mean(ratios))
    verdict = "helps" if mean - half > 0 else "hurts" if mean + half < 0 else "no difference"
    low, value, high = np.exp([mean - half, mean, mean + half]).tolist()
    return {"verdict": verdict, "times_better": value, "low": low, "high": high}


def _log(values: Any) -> Any:
    return np.log(np.maximum(values, LEAST))
