"""What has been measured: reading the store, without torch."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pandas as pd

from gencomp_core.analysis import pareto
from gencomp_core.charts.theme import family
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS, Measurement, MetricFacts
from gencomp_core.runtime_env import ASSETS, default_store_url, machine
from gencomp_core.services.texts import TEXTS
from gencomp_core.store import Store
from gencomp_core.store.predictions import basis_from_bytes, save_basis
from gencomp_core.store.scores import restore_scan
from gencomp_core.workloads import CATALOG, card_of

DEMO_FOLDER = ASSETS / "demo"
SAMPLES = "samples"


@cache
def open_store(url: str | None = None) -> Store:
    """The store behind a URL; a new one starts with the recorded demo study.

    Raises:
        StoreError: it can't be opened.
    """
    store = Store(url or default_store_url())
    if store.is_new:
        add_demo(store)
    return store


def add_demo(store: Store) -> int:
    """Add the recorded demo study to a store; returns the number of its measurements."""
    path = DEMO_FOLDER / "measurements.jsonl"
    if not path.exists():
        return 0
    measurements = [Measurement.model_validate_json(line) for line in path.read_text().splitlines()]
    pictures = {file.stem: file.read_bytes() for file in (DEMO_FOLDER / "pictures").glob("*.webp")}
    kept = {name: {SAMPLES: content} for name, content in pictures.items()}
    texts = {file.name.split(".")[0]: file.read_bytes() for file in (DEMO_FOLDER / "texts").glob("*.json.gz")}
    kept |= {name: {TEXTS: content} for name, content in texts.items()}
    store.save_many(measurements, kept, origin="demo")
    for plain in _recorded_scans():
        restore_scan(store, plain, origin="demo")
    for file in (DEMO_FOLDER / "plans").glob("*.json.z"):
        if basis := basis_from_bytes(file.read_bytes()):
            save_basis(store, basis)
    return len(measurements)


def _recorded_scans() -> Iterator[dict[str, Any]]:
    """Recorded sensitivity scans, as `plain_scan` gives them."""
    path = DEMO_FOLDER / "scores.jsonl.gz"
    if path.exists():
        with gzip.open(path, "rt") as lines:
            yield from map(json.loads, lines)


def figures(store: Store, workload: str) -> pd.DataFrame:
    """All measurements of a workload, one a row, with `dense_quality`, `is_dense` and latencies.

    Latencies are those of this machine where there are some, otherwise those that were recorded;
    `latency_machine` says which.
    """
    table = pd.DataFrame(store.rows(workload))
    if table.empty:
        return table
    dense_signature = Recipe().signature
    table["is_dense"] = table["recipe_signature"] == dense_signature
    table["n_times_smaller"] = table["dense_size_bytes"] / table["size_bytes"]
    table["family"] = [family(kinds.split(",") if kinds else []) for kinds in table["stage_kinds"]]
    table["dense_quality"] = table["quality"] - table["quality_change"]
    return table.merge(_latencies(store, workload), how="left", on="signature")


def with_siblings(store: Store, workload: str, table: pd.DataFrame) -> pd.DataFrame:
    """Comparable measurements of a workload, and those of its narrower siblings under the same conditions.

    "Train small" beside "compress big": siblings have families of their own, and their sizes are told against the
    wide dense model. Their own `change` columns are left out, being against another dense model.
    """
    if table.empty:
        return table
    wanted = {_without_weights(name) for name in table["conditions"]}
    dense_bytes = table["dense_size_bytes"].iloc[0]
    parts = [table]
    for card in (CATALOG[name] for name in CATALOG):
        own = figures(store, card.name) if card.sibling_of == workload else pd.DataFrame()
        if own.empty:
            continue
        own = own[own["conditions"].map(_without_weights).isin(wanted)]
        own = own.assign(
            family=own["is_dense"].map({True: "trained small", False: "trained small + compressed"}),
            title=f"{card.title.split(', ')[-1]}: " + own["title"],
            n_times_smaller=dense_bytes / own["size_bytes"],
            is_dense=False,
            quality_change=float("nan"),
            change_low=float("nan"),
            change_high=float("nan"),
        )
        parts.append(own)
    return pd.concat(parts, ignore_index=True)


def _without_weights(conditions: str) -> str:
    """Conditions without the dense weights that they belong to, which stand last."""
    return conditions.rpartition(", ")[0]


def conditions(table: pd.DataFrame) -> list[str]:
    """Sets of evaluation conditions, the one with most measurements first.

    Only measurements under the same conditions (samples, seed, sampler, weights) can be compared.
    """
    if table.empty:
        return []
    return [str(value) for value in table["conditions"].value_counts(sort=True).index]


def usual_samples(table: pd.DataFrame, workload: str) -> int:
    """Sample count that most measurements were made with, so that a new one can be compared."""
    if not table.empty:
        return int(table["n_samples"].mode().iloc[0])
    return min(1000, metric_of(workload).n_samples)


def metric_of(workload: str) -> MetricFacts:
    """Facts of the metric that a workload is judged by."""
    return METRICS[card_of(workload).metric]


def frontier(table: pd.DataFrame, workload: str, *, x: str) -> pd.DataFrame:
    """Measurements that can be placed at cost `x`, with frontier, line and knee marked."""
    return pareto.frontier_table(table, x=x, better=metric_of(workload).better)


def recommended(table: pd.DataFrame, workload: str, *, max_loss: float | None = None) -> str | None:
    """Signature of the smallest configuration that is surely within `max_loss` of dense quality."""
    if table.empty:
        return None
    facts = metric_of(workload)
    return pareto.recommended(table, max_loss=max_loss or facts.usual_loss, better=facts.better)


def baselines(store: Store, table: pd.DataFrame, workload: str) -> dict[str, float]:
    """What answers without any model get under the conditions of a table, by name; empty for images.

    Raises:
        StoreError: the dense measurement can't be read.
    """
    if card_of(workload).modality != "text":
        return {}
    dense = table[table["is_dense"]] if not table.empty else table
    measurement = store.measurement(str(dense["signature"].iloc[0])) if len(dense) else None
    return dict(measurement.quality.baselines) if measurement and measurement.quality else {}


def stored_for(store: Store, workload: str, recipe: Recipe, *, most_samples: bool = False) -> Measurement | None:
    """The measurement of a recipe, or None.

    Where there are several, the one under the conditions that most measurements share, so that what
    is shown side by side can be compared.

    Args:
        most_samples: prefer the one over the most samples instead.
    """
    rows = store.rows(workload)
    own = [row for row in rows if row["recipe_signature"] == recipe.signature]
    if not own:
        return None
    usual = Counter(row["conditions"] for row in rows).most_common(1)[0][0]
    best = max(own, key=lambda row: (not most_samples and row["conditions"] == usual, row["n_samples"]))
    return store.measurement(best["signature"])


def recipe_of(measurement: Measurement) -> Recipe:
    """The recipe that was measured."""
    return Recipe.from_dict(measurement.recipe)


def dense_signature(measurement: Measurement) -> str:
    """Signature of the dense measurement under the same conditions."""
    return measurement.request.dense().signature


def has_samples(store: Store, measurement: Measurement) -> bool:
    """Whether samples of it and of dense under the same conditions are kept."""
    kind = TEXTS if card_of(measurement.workload).modality == "text" else SAMPLES
    signatures = (measurement.signature, dense_signature(measurement))
    return all(store.picture(signature, kind) is not None for signature in signatures)


def workload_table(store: Store) -> list[dict[str, Any]]:
    """Bundled workloads with the dense figures that are on record."""
    listing = []
    for card in (CATALOG[name] for name in CATALOG):
        dense = stored_for(store, card.name, Recipe(), most_samples=True)
        listing.append(
            {
                "workload": card.name,
                "title": card.title,
                "summary": card.summary,
                "modality": card.modality,
                "metric": card.metric,
                "n_params": dense.n_params if dense else None,
                "size_bytes": dense.size_bytes if dense else None,
                "macs": dense.macs if dense else None,
                "quality": dense.quality.model_dump() if dense and dense.quality else None,
            }
        )
    return listing


def training_curve(workload: str) -> pd.DataFrame:
    """Recorded training curve of a bundled network: step, seconds, loss and held-out figures."""
    path = ASSETS / "checkpoints" / workload / "curve.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return pd.json_normalize(records).drop_duplicates("step", keep="last")


def _latencies(store: Store, workload: str) -> pd.DataFrame:
    """One eager latency a measurement, batch 1: this machine's before a recorded one."""
    table = pd.DataFrame(store.latency_rows(workload))
    columns = ["signature", "latency_ms", "latency_machine"]
    if table.empty:
        return pd.DataFrame(columns=columns)
    table = table[(table["batch"] == 1) & (table["runtime"] == "eager")]
    table = table.assign(here=table["machine"] == machine()["processor"]).sort_values("here", ascending=False)
    table = table.drop_duplicates("signature")
    return table.rename(columns={"median_ms": "latency_ms", "machine": "latency_machine"})[columns]
