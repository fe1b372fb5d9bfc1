"""What a report says of a configuration, or of all measurements of a workload. No torch."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gencomp_core.artifact.manifest import Manifest, read_manifest
from gencomp_core.artifact.sums import changed_files
from gencomp_core.charts.pareto import pareto_chart
from gencomp_core.charts.texts import aligned_texts, n_changed_words
from gencomp_core.charts.theme import bytes_text, count_text
from gencomp_core.charts.tiles import from_webp, tile, to_webp, untile
from gencomp_core.errors import ArtifactError, EvaluationError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import FIDELITIES, FIGURES, METRICS, Measurement
from gencomp_core.reports.page import Report, Section, Tile, render
from gencomp_core.services import library
from gencomp_core.services.frontiers import COSTS, frontier_of
from gencomp_core.services.honesty import Honesty, honesty_of
from gencomp_core.services.texts import stored_texts
from gencomp_core.store import Store
from gencomp_core.workloads import card_of

ARROWS = {"lower": "↓", "higher": "↑"}
N_IMAGES, COLUMNS, N_TEXTS = 24, 12, 6
LISTED = {
    "title": "configuration",
    "size_bytes": "bytes",
    "quality": "quality",
    "quality_low": "low",
    "quality_high": "high",
    "quality_change": "against dense",
    "latency_ms": "eager ms",
    "macs": "MACs",
    "on_frontier": "frontier",
}


def write_report(report: Report, path: Path) -> None:
    """Write a report as one HTML file.

    Raises:
        EvaluationError: the file can't be written.
    """
    try:
        path.write_text(render(report), encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"--out {path} can't be written ({error.strerror}). Choose another file.") from None


def report_of(store: Store, target: str, *, recipe: Recipe | None = None) -> Report:
    """Report of a measurement's signature, of a workload, of a workload with a recipe, or of an artifact.

    Raises:
        ArtifactError: a damaged artifact.
        EvaluationError: nothing of it was measured.
        UnknownNameError: no such workload.
    """
    folder = Path(target)
    if folder.is_dir():
        manifest = read_manifest(folder)
        if wrong := changed_files(folder):
            raise ArtifactError(f"{folder}: {', '.join(wrong)} changed since it was made. Export the artifact again.")
        return configuration_report(store, _shipped(store, manifest), manifest=manifest)
    measurement = store.measurement(target) if recipe is None else None
    if measurement is not None:
        return configuration_report(store, measurement)
    name = card_of(target).name
    if recipe is None:
        return workload_report(store, name)
    measurement = library.stored_for(store, name, recipe)
    if measurement is None:
        raise EvaluationError(
            f"This recipe of {name} was not measured. Run 'gencomp evaluate {name} --recipe FILE' first."
        )
    return configuration_report(store, measurement)


@dataclass(frozen=True, eq=False)
class Tried:
    """How a configuration was found.

    Attributes:
        found: configurations that were measured, in order, the chosen one among them.
        missed: goals that the chosen one misses.
        notes: what could not be done, and why.
    """

    found: Sequence[Measurement]
    missed: Sequence[str] = ()
    notes: Sequence[str] = ()


def configuration_report(
    store: Store, measurement: Measurement, *, manifest: Manifest | None = None, tried: Tried | None = None
) -> Report:
    """Everything that is known of one configuration.

    Args:
        manifest: of the artifact that holds it.
        tried: how it was found.
    """
    card = card_of(measurement.workload)
    account = honesty_of(store, measurement)
    sections = [
        _how(tried, measurement) if tried else None,
        _samples(store, measurement),
        Section(
            "What it really bought", text=[account.verdict, *account.remedies], table=_account(measurement, account)
        ),
        _frontier(store, measurement.workload, picked=measurement),
        Section("Latency", table=_latencies(measurement)) if measurement.latency else None,
        Section("Other figures, same seeds", table=_fidelity(measurement)) if measurement.fidelity else None,
        Section("Recipe", code={"recipe.yaml": library.recipe_of(measurement).to_yaml(), **_commands(measurement)}),
        _artifact(manifest) if manifest else None,
    ]
    return Report(
        title=f"{card.title}: {measurement.title}",
        answer=_answer(measurement),
        tiles=_tiles(measurement),
        sections=[section for section in sections if section is not None],
        provenance=_provenance(measurement),
    )


def workload_report(store: Store, workload: str) -> Report:
    """All measurements of a workload under the conditions that most of them share.

    Raises:
        EvaluationError: nothing of it was measured.
    """
    table = library.figures(store, workload)
    if table.empty:
        raise EvaluationError(f"Nothing of {workload} has been measured. Run 'gencomp evaluate {workload}' first.")
    conditions = library.conditions(table)[0]
    comparable = table[table["conditions"] == conditions]
    signature = library.recommended(comparable, workload)
    best = store.measurement(signature) if signature else None
    card, loss = card_of(workload), library.metric_of(workload).usual_loss
    answer = f"None of {len(comparable)} measured configurations is surely within {loss:.0%} of dense quality."
    if best is not None:
        answer = (
            f"{best.title} makes it {best.n_times_smaller:.1f} × smaller with a quality surely within {loss:.0%} of "
            f"dense: the smallest of {len(comparable)} measured configurations that is."
        )
    sections = [_frontier(store, workload, picked=best)]
    if best is not None:
        recipe = library.recipe_of(best).to_yaml()
        sections += [_samples(store, best), Section("Recommended recipe", code={"recipe.yaml": recipe})]
    return Report(
        title=f"How small can {card.title} become?",
        answer=answer,
        tiles=_tiles(best) if best else [],
        sections=[section for section in sections if section is not None],
        provenance={"conditions": conditions} | (_provenance(best) if best else {}),
    )


def _shipped(store: Store, manifest: Manifest) -> Measurement:
    """The measurement of an artifact: of the store with its pictures, or the one that the manifest carries."""
    known = store.measurement(str((manifest.measurement or {}).get("signature")))
    if known is not None:
        return known
    if manifest.measurement is None:
        raise EvaluationError(
            f"This artifact of {manifest.workload} was made without a measurement. Run 'gencomp evaluate' on it, or "
            "measure the recipe before 'gencomp compress'."
        )
    return Measurement.model_validate(manifest.measurement)


def _answer(measurement: Measurement) -> str:
    quality, change = measurement.quality, measurement.quality_change
    size = f"{measurement.n_times_smaller:.1f} × smaller than dense" if measurement.size_bytes else "of no size"
    if quality is None or change is None:
        return f"It is {size}; its quality was not measured ({measurement.reason or 'no reason given'})."
    title = METRICS[quality.metric].title
    if change.low <= 0 <= change.high:
        return f"It is {size}, at a {title} that can't be told from dense over {quality.n_samples:,} samples."
    worse = (change.value > 0) == (quality.better == "lower")
    return (
        f"It is {size}, at a {title} {abs(change.value):.2f} {'worse' if worse else 'better'} than dense "
        f"[{change.low:+.2f}, {change.high:+.2f}], same seeds."
    )


def _tiles(measurement: Measurement) -> list[Tile]:
    status = measurement.status
    tiles = [
        Tile(
            "Weights file ↓",
            bytes_text(measurement.size_bytes),
            f"dense {bytes_text(measurement.dense_size_bytes)}",
            status,
        )
    ]
    quality, dense = measurement.quality, measurement.dense_quality
    if quality and dense:
        tiles.append(
            Tile(
                f"{METRICS[quality.metric].title} {ARROWS[quality.better]}",
                f"{quality.value:.2f}",
                f"[{quality.low:.2f}, {quality.high:.2f}], dense {dense.value:.2f}, {quality.n_samples:,} samples",
                status,
            )
        )
    for own in sorted(measurement.latency, key=lambda one: one.median_ms)[:1]:
        detail = f"{own.runtime}, batch {own.batch}; dense eager {own.dense_eager_median_ms:.1f} ms"
        tiles.append(Tile("Latency ↓", f"{own.median_ms:.1f} ms", detail, status))
    name = METRICS[card_of(measurement.workload).metric].drift
    if name in measurement.fidelity:
        facts, drift = FIDELITIES[name], measurement.fidelity[name]
        value = f"{drift.value:.{facts.digits}f} {facts.unit}"
        interval = f"[{drift.low:.{facts.digits}f}, {drift.high:.{facts.digits}f}]"
        tiles.append(Tile(f"{facts.title} {ARROWS[facts.better]}", value, interval, status))
    return tiles


def _samples(store: Store, measurement: Measurement) -> Section | None:
    """The same numbered samples of dense and of the configuration, or None where they were not kept."""
    if not library.has_samples(store, measurement):
        return None
    title, dense = "The same seeds, before and after", library.dense_signature(measurement)
    if card_of(measurement.workload).modality == "text":
        return _texts(store, measurement, title)
    pictures = {}
    for name, signature in (("dense", dense), (measurement.title, measurement.signature)):
        images = untile(from_webp(store.picture(signature, library.SAMPLES) or b""))
        caption = f"Samples 1 to {N_IMAGES} at seed {measurement.request.seed}: {name}"
        pictures[caption] = to_webp(tile(images[:N_IMAGES], columns=COLUMNS))
    return Section(title, pictures=pictures)


def _texts(store: Store, measurement: Measurement, title: str) -> Section | None:
    before = stored_texts(store, library.dense_signature(measurement))
    after = stored_texts(store, measurement.signature)
    if before is None or after is None:
        return None
    changes = [n_changed_words(own, other) for own, other in zip(after.texts, before.texts, strict=True)]
    numbers = sorted(range(len(changes)), key=lambda number: -changes[number])[:N_TEXTS]
    columns = {"source": before.sources, "dense": before.texts, "compressed": after.texts}
    markup = aligned_texts(columns, changed="compressed", original="dense", numbers=numbers)
    text = f"The {len(numbers)} texts that changed most of {len(changes)}; marked words differ from dense."
    return Section(title, text=[text], markup=markup)


def _frontier(store: Store, workload: str, *, picked: Measurement | None) -> Section | None:
    try:
        table = frontier_of(store, workload, x="size_bytes")
    except EvaluationError:
        return None
    facts = library.metric_of(workload)
    signature = picked.signature if picked else None
    figure = pareto_chart(
        table,
        x="size_bytes",
        x_title=COSTS["size_bytes"].title,
        y_title=facts.title,
        better=facts.better,
        selected=signature,
    )
    best = int(table["on_frontier"].sum())
    text = f"{len(table)} configurations under the same conditions; {best} are on the frontier, ties kept."
    shown = table[[name for name in LISTED if name in table]].rename(columns=LISTED)
    alt = f"Bytes against {facts.title} of {len(table)} configurations; the table below holds the same numbers."
    return Section("Where it stands", text=[text], figure=figure, alt=alt, table=shown.sort_values("bytes"))


def _account(measurement: Measurement, account: Honesty) -> pd.DataFrame:
    """On paper beside what was written."""
    after_zstd = f"{account.transport_bytes:,}" if account.transport_bytes else "not measured"
    rows = [
        ("zeros among the weights", f"{measurement.sparsity:.1%}"),
        ("parameters that are not zero", f"{measurement.n_nonzero:,} of {measurement.n_params:,}"),
        ("bits per parameter in the file", f"{measurement.effective_bits:.2f}"),
        ("bytes written", f"{measurement.size_bytes:,} (dense {measurement.dense_size_bytes:,})"),
        ("bytes after zstd", after_zstd),
        ("multiply–accumulates a sample", count_text(measurement.macs)),
    ]
    return pd.DataFrame(rows, columns=["figure", "value"])


def _latencies(measurement: Measurement) -> pd.DataFrame:
    rows = [
        {
            "runtime": own.runtime,
            "batch": own.batch,
            "ms": round(own.median_ms, 2),
            "dense ms, same runtime": round(own.dense_median_ms, 2),
            "dense ms, eager": round(own.dense_eager_median_ms, 2),
            "verdict": own.verdict,
            "ran": own.ran,
            "machine": own.machine,
        }
        for own in measurement.latency
    ]
    return pd.DataFrame(rows)


def _fidelity(measurement: Measurement) -> pd.DataFrame:
    rows = [
        {"figure": FIGURES.get(name, name), "value": own.value, "low": own.low, "high": own.high}
        for name, own in measurement.fidelity.items()
    ]
    return pd.DataFrame(rows)


def _commands(measurement: Measurement) -> dict[str, str]:
    name, n = shlex.quote(measurement.workload), measurement.request.n_samples
    return {
        "The same from the command line": (
            f"gencomp evaluate {name} --recipe recipe.yaml --samples {n} --seed {measurement.request.seed}\n"
            f"gencomp compress {name} --recipe recipe.yaml --out artifact\n"
            "gencomp verify artifact"
        )
    }


def _how(tried: Tried, chosen: Measurement) -> Section:
    rows = []
    for one in tried.found:
        quality, change = one.quality, one.quality_change
        fast = min(one.latency, key=lambda own: own.median_ms, default=None)
        rows.append(
            {
                "configuration": one.title,
                "bytes": one.size_bytes,
                "quality": quality.value if quality else None,
                "against dense": f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]" if change else "",
                "ms": fast.median_ms if fast else None,
                "runtime": fast.runtime if fast else "",
                "chosen": one.signature == chosen.signature,
            }
        )
    missed = [f"It misses a goal: {line}." for line in tried.missed] or ["It keeps every goal."]
    return Section("How it was found", text=[*missed, *dict.fromkeys(tried.notes)], table=pd.DataFrame(rows))


def _artifact(manifest: Manifest) -> Section:
    rows = [
        ("weights file, bytes", f"{manifest.size_bytes:,}"),
        ("made at", manifest.created_at),
        ("dense weights", manifest.dense_weights_hash),
        ("self-test", f"{manifest.selftest.n_samples} samples at seed {manifest.selftest.seed}"),
        *((f"licence of {name}", text) for name, text in manifest.licences.items()),
    ]
    return Section("Artifact", table=pd.DataFrame(rows, columns=["fact", "value"]))


def _provenance(measurement: Measurement) -> dict[str, str]:
    request = measurement.request
    settings = ", ".join(f"{name} {value}" for name, value in request.settings.items())
    return {
        "workload": f"{measurement.workload}, dense weights {request.weights_hash}",
        "signature": measurement.signature,
        "samples": f"{request.n_samples:,} at seed {request.seed}, {settings}",
        "metric": measurement.quality.name if measurement.quality else "not measured",
        "measured": f"{measurement.measured_at}, {measurement.seconds:.0f} s",
        "machine": ", ".join(f"{name} {value}" for name, value in measurement.machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in measurement.versions.items()),
    }
