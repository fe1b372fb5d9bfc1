"""Two measurements beside each other: stages, layers, figures and provenance. No torch."""

from difflib import SequenceMatcher
from typing import Any

import pandas as pd

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import FIDELITIES, METRICS, Measurement, TensorCost
from gencomp_core.workloads import card_of

SAME, ONLY_A, ONLY_B, CHANGED = "same", "only in A", "only in B", "changed"


def stage_differences(a: Recipe, b: Recipe) -> pd.DataFrame:
    """One row per field of a stage that differs, and per stage that only one recipe has.

    Stages are aligned in order by their kind (longest matching blocks, `difflib`).

    Returns:
        columns `stage`, `what`, `field`, `a`, `b`; equal stages are one row with `what` "same".
    """
    kinds = [[stage.kind for stage in recipe.stages] for recipe in (a, b)]
    rows: list[dict[str, str]] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, kinds[0], kinds[1], autojunk=False).get_opcodes():
        if tag == "equal":
            for one, other in zip(a.stages[i:i_end], b.stages[j:j_end], strict=True):
                rows += _field_rows(one.kind, one.model_dump(), other.model_dump())
            continue
        rows += [_whole_row(stage.kind, ONLY_A, stage.model_dump(exclude_defaults=True)) for stage in a.stages[i:i_end]]
        rows += [_whole_row(stage.kind, ONLY_B, stage.model_dump(exclude_defaults=True)) for stage in b.stages[j:j_end]]
    return pd.DataFrame(rows, columns=["stage", "what", "field", "a", "b"])


def _field_rows(kind: str, a: dict[str, Any], b: dict[str, Any]) -> list[dict[str, str]]:
    layers = a.pop("layers", {}), b.pop("layers", {})
    flat = [own | {f"layers.{name}": override for name, override in mine.items()} for own, mine in
            zip((a, b), layers, strict=True)]  # fmt: skip
    names = dict.fromkeys([*flat[0], *flat[1]])
    differing = [name for name in names if flat[0].get(name) != flat[1].get(name)]
    rows = [
        {"stage": kind, "what": CHANGED, "field": name, "a": _plain(flat[0].get(name)), "b": _plain(flat[1].get(name))}
        for name in differing
    ]
    return rows or [{"stage": kind, "what": SAME, "field": "", "a": "", "b": ""}]


def _whole_row(kind: str, what: str, fields: dict[str, Any]) -> dict[str, str]:
    fields.pop("kind", None)
    text = ", ".join(f"{name} {_plain(value)}" for name, value in fields.items())
    return {"stage": kind, "what": what, "field": "", "a": text if what == ONLY_A else "",
            "b": text if what == ONLY_B else ""}  # fmt: skip


def _plain(value: object) -> str:
    return "not set" if value is None else str(value)


def layer_differences(a: Measurement, b: Measurement) -> pd.DataFrame:
    """How each layer was written by both, the largest difference in bytes first.

    A layer is what its tensors' names have before the last dot.

    Returns:
        columns `layer`, `bytes_a`, `bytes_b`, `difference`, `zeros_a`, `zeros_b`, `bits_a`, `bits_b`; gaps where
        one of them does not have the layer.
    """
    sides = [_by_layer(own.tensors).add_suffix(suffix) for own, suffix in ((a, "_a"), (b, "_b"))]
    table = sides[0].join(sides[1], how="outer").rename_axis("layer").reset_index()
    table.insert(3, "difference", table["bytes_b"].fillna(0) - table["bytes_a"].fillna(0))
    order = table["difference"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _by_layer(tensors: tuple[TensorCost, ...]) -> pd.DataFrame:
    columns = ["layer", "bytes", "zeros", "bits", "n_values"]
    rows = [(own.name.rpartition(".")[0] or own.name, own.n_bytes, own.n_zeros, own.bits, own.n_values)
            for own in tensors]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    table["weighted"] = table["bits"] * table["n_values"]
    found = table.groupby("layer", sort=False)[["bytes", "zeros", "n_values", "weighted"]].sum()
    found["zeros"] = found["zeros"] / found["n_values"]
    found["bits"] = found["weighted"] / found["n_values"]
    return found[["bytes", "zeros", "bits"]]


def figure_rows(a: Measurement, b: Measurement) -> pd.DataFrame:
    """Costs and qualities of both with their difference, one a row: `figure`, `a`, `b`, `change`, `better`."""
    facts = METRICS[card_of(a.workload).metric]
    rows = [
        ("weights file, bytes", a.size_bytes, b.size_bytes, "lower"),
        ("multiplications for one sample", a.macs, b.macs, "lower"),
        ("zeros among the weights", a.sparsity, b.sparsity, "higher"),
        ("bits a parameter", a.effective_bits, b.effective_bits, "lower"),
    ]
    if a.quality and b.quality:
        rows.append((f"{facts.title}, n={a.quality.n_samples:,}", a.quality.value, b.quality.value, facts.better))
    for name in sorted(a.fidelity.keys() & b.fidelity.keys() & FIDELITIES.keys()):
        own = FIDELITIES[name]
        rows.append(
            (f"{own.title}, {own.unit}".rstrip(", "), a.fidelity[name].value, b.fidelity[name].value, own.better)
        )
    timed = {(x.runtime, x.batch): (x.median_ms, y.median_ms) for x in a.latency for y in b.latency
             if (x.runtime, x.batch, x.machine) == (y.runtime, y.batch, y.machine)}  # fmt: skip
    rows += [(f"milliseconds, {runtime}, batch {batch}", *pair, "lower") for (runtime, batch), pair in timed.items()]
    return pd.DataFrame(
        [{"figure": n, "a": float(x), "b": float(y), "change": float(y) - float(x), "better": d} for n, x, y, d in rows]
    )


def provenance_rows(a: Measurement, b: Measurement) -> pd.DataFrame:
    """Where both come from, one fact a row, `equal` where they agree."""
    facts = []
    for own in (a, b):
        request = own.request
        facts.append(
            {
                "signature": own.signature,
                "recipe signature": Recipe.from_dict(own.recipe).signature,
                "status": own.status,
                "measured at": own.measured_at,
                "seconds it took": f"{own.seconds:.1f}",
                "samples": f"{request.n_samples:,}",
                "seed": str(request.seed),
                "dense weights": request.weights_hash,
                "feature space": request.extractor,
            }
            | {name: str(value) for name, value in request.settings.items()}
            | {f"machine: {name}": str(value) for name, value in own.machine.items()}
            | {f"version: {name}": value for name, value in own.versions.items()}
        )
    names = dict.fromkeys([*facts[0], *facts[1]])
    rows = [{"fact": name, "a": facts[0].get(name, "not kept"), "b": facts[1].get(name, "not kept")} for name in names]
    table = pd.DataFrame(rows)
    table["equal"] = table["a"] == table["b"]
    return table


def comparable(a: Measurement, b: Measurement) -> list[str]:
    """Why the qualities of two measurements must not be compared; empty where they may."""
    reasons = []
    for name, own, other in (
        ("samples", a.request.n_samples, b.request.n_samples),
        ("seeds", a.request.seed, b.request.seed),
        ("sampling settings", a.request.settings, b.request.settings),
        ("dense weights", a.request.weights_hash, b.request.weights_hash),
        ("feature spaces", a.request.extractor, b.request.extractor),
    ):
        if own != other:
            reasons.append(f"their {name} differ ({own} and {other})")
    return reasons


def replay_command(measurement: Measurement) -> str:
    """Command line that makes a measurement anew; its recipe file is named after the recipe's signature."""
    request = measurement.request
    options = "".join(f" --set {name}={value}" for name, value in request.settings.items())
    recipe = Recipe.from_dict(measurement.recipe)
    file = "" if recipe.is_dense else f" --recipe {recipe.signature}.yaml"
    return (
        f"python -m gencomp_core evaluate {measurement.workload}{file} --samples {request.n_samples} "
        f"--seed {request.seed}{options}"
    )
