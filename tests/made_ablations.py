"""Recorded ablations made by hand, for pages and verdicts that need them at no cost."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gencomp_core.charts.tiles import tile, to_webp
from gencomp_core.services import ablations as reading
from gencomp_core.training.ablations import ABLATIONS, ARMS

RECORDED = {
    "depth": (20.0, 10.0), "min-snr": (14.0, 13.99), "free-bits": (12.0, 12.01), "dropout": (30.0, 20.0),
    "beta": (10.0, 20.0),
}  # fmt: skip
"""Metric without and with each strategy; best first."""


def results(
    without: list[float], with_: list[float], *, name: str = "depth", noise: float = 0.01, seconds: float = 10.0
) -> pd.DataFrame:
    """Runs of one ablation whose replicates vary by `noise` of the value."""
    network = ABLATIONS[name].network
    metric = "bleu" if network.startswith("verses") else "fid"
    spread = 1 + noise * np.random.default_rng(0).standard_normal(200)
    rows = [
        {
            "name": name, "arm": arm, "seed": seed, "network": network, "metric": metric, "steps": 600,
            "status": "finished", "reason": "", "quality": metric, "value": value, "low": value - 1,
            "high": value + 1, "n_samples": 100, "seconds": seconds, "peak_bytes": 1e8, "machine": "m",
            "figures": json.dumps({"recall": [0.4, 0.3, 0.5]}), "versions": "{}",
            "samples": json.dumps([["thou art", "you are", f"you {arm}"]] if metric == "bleu" else []),
            "replicates": list(value * (spread if arm == "with" else spread[::-1])),
        }
        for arm, values in zip(ARMS, (without, with_), strict=True) for seed, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def recorded_ablations(folder: Path, values: Mapping[str, tuple[float, float]] = RECORDED) -> None:
    """Write tables and pictures of ablations with two seeds, whose curves end at their values."""
    tables = [results([a, 1.01 * a], [b, 1.01 * b], name=name) for name, (a, b) in values.items()]
    table = pd.concat(tables, ignore_index=True)
    points = [
        {"name": row.name, "arm": row.arm, "seed": row.seed, "step": step, "seconds": step / 60,
         "quantity": quantity, "value": row.value * 600 / step}
        for row in table.itertuples(index=False) for step in (300, 600) for quantity in ("loss", row.metric)
    ]  # fmt: skip
    curves = pd.DataFrame(points, columns=reading.CURVE_COLUMNS)
    (folder / reading.PICTURES).mkdir(parents=True)
    for name, frame in (("results", table), ("curves", curves), ("verdicts", reading.verdicts(table, curves))):
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    strip = to_webp(tile(np.zeros((20, 1, 28, 28), np.uint8), columns=10))
    for name in values:
        for arm in ARMS:
            if ABLATIONS[name].network.startswith("fashion"):
                reading.picture_path(name, arm, folder).write_bytes(strip)
