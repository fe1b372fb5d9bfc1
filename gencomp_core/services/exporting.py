"""Make, check and hand over artifacts."""

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gencomp_core.analysis.measurement import dense_size
from gencomp_core.analysis.trial import trial
from gencomp_core.artifact.load import LoadedArtifact, load_artifact
from gencomp_core.artifact.manifest import Evidence, Manifest, RuntimeFacts
from gencomp_core.artifact.prepare import prepare
from gencomp_core.artifact.save import check_out, write_artifact
from gencomp_core.artifact.selftest import compare, selftest_samples
from gencomp_core.artifact.sums import folder_bytes
from gencomp_core.artifact.transport import time_loading
from gencomp_core.errors import ArtifactError, EvaluationError, MissingDependencyError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Latency, Measurement, Progress
from gencomp_core.runtime_env import command_environment
from gencomp_core.services.measuring import Report, carry_out, ignore
from gencomp_core.variant import compression_steps
from gencomp_core.workloads import load_workload


def export(
    workload: str,
    recipe: Recipe,
    out: Path,
    *,
    seed: int = 0,
    measurement: Measurement | None = None,
    runtimes: Sequence[str] | None = None,
    zstd: bool = False,
    timed: bool = True,
    report: Report = ignore,
) -> dict[str, Any]:
    """Write the artifact of a recipe to `out` and let a fresh process test it.

    Args:
        measurement: figures of this configuration, kept in the manifest.
        runtimes: whose files ship; without it those of `SHIPPED` that can take the model.
        zstd: compress the weights file for transport.
        timed: measure the latency in every runtime too.
        report: called with the progress.

    Returns:
        What `verify` found, with the manifest.

    Raises:
        ArtifactError: `out` has content, or the fresh process could not reproduce the samples.
        EvaluationError, MissingDependencyError: a runtime that was named can't take the model.
    """
    check_out(out)
    variant = carry_out(compression_steps(load_workload(workload), recipe, seed=seed), report)
    report(Progress("opening runtimes", 0, 1))
    prepared = prepare(variant, names=runtimes)
    evidence = {}
    for number, (name, opened) in enumerate(prepared.opened.items()):
        report(Progress(f"trying {name}", number, len(prepared.opened)))
        evidence[name] = trial(prepared.subject, opened.network, runtime=name, settings=prepared.settings, timed=timed)
    manifest = write_artifact(prepared, out, measurement=measurement, evidence=evidence, zstd=zstd)
    report(Progress("testing it in a fresh process", 0, 1))
    found = verify_in_fresh_process(out)
    if not found["ok"]:
        raise ArtifactError(f"{out}: the self-test failed: {found['problem']}. Please report this with the recipe.")
    return {"artifact": str(out), **_facts(manifest), **found}


def verify(folder: Path, *, runtimes: Sequence[str] | None = None, timed: bool = True) -> dict[str, Any]:
    """Re-check an artifact: files and bytes, and in every runtime same-seed samples, metric and latency.

    Args:
        runtimes: that are checked; without it all that ship, of which one that is not installed is skipped.

    Raises:
        ArtifactError: no artifact, a file that does not match its checksum, or a runtime that does not ship.
        MissingDependencyError: a runtime that was named is not installed.
    """
    artifact = load_artifact(folder)
    manifest = artifact.manifest
    weights = folder / manifest.weights_file
    found, skipped = {}, {}
    for name in runtimes or manifest.runtimes:
        try:
            found[name] = _check_runtime(artifact, name, timed=timed)
        except MissingDependencyError as error:
            if runtimes:
                raise
            skipped[name] = str(error)
        except EvaluationError as error:  # its files can't be run any more
            found[name] = _not_run(str(error))
    checks = {
        "checksums": True,
        "size_bytes": weights.stat().st_size == manifest.size_bytes,
        "recipe": artifact.recipe.signature == manifest.recipe_signature,
    }
    failed = [name for name, passed in checks.items() if not passed]
    for name, own in found.items():
        told = f" ({own['problem']})" if own["problem"] else ""
        failed += [f"{name} {check}{told}" for check, passed in own["checks"].items() if not passed]
    empty = artifact.workload.empty_network
    transport = time_loading(weights, empty, unpacked_bytes=manifest.transport.unpacked_bytes)
    return {
        "ok": not failed,
        "problem": f"{', '.join(failed)} differ from the manifest" if failed else None,
        "workload": manifest.workload,
        "recipe_signature": manifest.recipe_signature,
        "size_bytes": weights.stat().st_size,
        "dense_size_bytes": dense_size(artifact.workload),
        "artifact_bytes": folder_bytes(folder),
        "transport": transport.model_dump(mode="json") | {"load_ms": round(transport.load_ms, 3)},
        "checks": checks | {"samples": all(own["checks"]["samples"] for own in found.values())},
        "selftest": next((own["selftest"] for own in found.values() if own["selftest"]), None),
        "runtimes": found,
        "skipped": skipped,
        "not_shipped": manifest.not_shipped,
        "latency": [own["latency"] for own in found.values() if own["latency"]],
    }


def verify_in_fresh_process(folder: Path) -> dict[str, Any]:
    """`verify` without timing, in a process that has seen nothing of how the artifact was made."""
    command = [sys.executable, "-m", "gencomp_core", "verify", str(folder), "--no-latency", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=command_environment())
    if done.returncode not in (0, 1) or not done.stdout:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        raise ArtifactError(f"{folder}: the self-test could not be run in a fresh process ({reason}).")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def export_zip(
    workload: str, recipe: Recipe, *, measurement: Measurement | None = None
) -> tuple[bytes, dict[str, Any]]:
    """The tested artifact as one ZIP file, and what its self-test found."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / f"{workload}-{recipe.signature}"
        report = export(workload, recipe, folder, measurement=measurement)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
        return stream.getvalue(), report


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {"dense_weights_hash": manifest.dense_weights_hash, "created_at": manifest.created_at}


def _check_runtime(artifact: LoadedArtifact, name: str, *, timed: bool) -> dict[str, Any]:
    """Everything that the manifest says of one runtime, found again."""
    opened = artifact.open(name)
    facts = artifact.manifest.runtimes[name]
    settings = artifact.manifest.selftest.settings
    samples = selftest_samples(artifact.workload, opened.network, settings)
    result = compare(samples, artifact.recorded_samples(name), sha256=facts.sha256, tolerance=facts.tolerance)
    now = trial(
        artifact.subject,
        opened.network,
        runtime=name,
        settings=settings,
        timed=timed,
        stored=artifact.stored.get(name),
    )
    return {
        "ran": opened.ran,
        "problem": None,
        "checks": _checks(artifact.folder, facts, now) | {"samples": result.passed},
        "selftest": asdict(result),
        "size_bytes": sum((artifact.folder / path).stat().st_size for path in facts.files),
        "metric": now.metric.model_dump(mode="json") if now.metric else None,
        "recorded_metric": facts.evidence.metric.value if facts.evidence.metric else None,
        "latency": now.latency.model_dump(mode="json") if now.latency else None,
        "recorded_latency": facts.evidence.latency.model_dump(mode="json") if facts.evidence.latency else None,
    }


def _not_run(problem: str) -> dict[str, Any]:
    """What is known of a runtime whose files could not be run."""
    nothing = ("ran", "selftest", "size_bytes", "metric", "recorded_metric", "latency", "recorded_latency")
    return {"problem": problem, "checks": {"samples": False}} | dict.fromkeys(nothing)


def _checks(folder: Path, facts: RuntimeFacts, now: Evidence) -> dict[str, bool]:
    """Bytes always; the metric and the latency where there is something to compare with."""
    checks = {"size_bytes": all((folder / path).stat().st_size == size for path, size in facts.files.items())}
    before = facts.evidence
    if before.metric:
        same = now.metric is not None and abs(now.metric.value - before.metric.value) <= before.metric.tolerance
        checks["metric"] = same
    if before.latency and now.latency and before.latency.machine == now.latency.machine:
        checks["latency"] = not _reversed(before.latency, now.latency)
    return checks


def _reversed(before: Latency, now: Latency) -> bool:
    """Whether what was surely faster than dense is now surely slower, or the other way round.

    Ratios on a busy machine, and ties, prove nothing.
    """
    return {before.verdict, now.verdict} == {"faster", "slower"}
