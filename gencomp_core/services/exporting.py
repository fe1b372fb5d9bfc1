"""Make, check and hand over artifacts."""

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gencomp_core.analysis.measurement import Shipped, dense_size, measure_latency
from gencomp_core.artifact.load import LoadedArtifact, load_artifact
from gencomp_core.artifact.manifest import WEIGHTS_FILE, Manifest
from gencomp_core.artifact.save import save_artifact
from gencomp_core.artifact.selftest import run_selftest
from gencomp_core.errors import ArtifactError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Measurement
from gencomp_core.runtime_env import command_environment, threads
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
    report: Report = ignore,
) -> dict[str, Any]:
    """Write the artifact of a recipe to `out` and let a fresh process test it.

    Returns:
        What `verify` found, with the manifest.

    Raises:
        ArtifactError: `out` has content, or the fresh process could not reproduce the samples.
    """
    variant = carry_out(compression_steps(load_workload(workload), recipe, seed=seed), report)
    manifest = save_artifact(variant, out, measurement=measurement)
    found = verify_in_fresh_process(out)
    if not found["ok"]:
        raise ArtifactError(f"{out}: the self-test failed: {found['problem']}. Please report this with the recipe.")
    return {"artifact": str(out), **_facts(manifest), **found}


def verify(folder: Path, *, timed: bool = True) -> dict[str, Any]:
    """Re-check an artifact: files, bytes on disk, packing, same-seed samples, latency.

    Raises:
        ArtifactError: no artifact, or a file that does not match its checksum.
    """
    artifact = load_artifact(folder)
    manifest = artifact.manifest
    on_disk = (folder / WEIGHTS_FILE).stat().st_size
    result = run_selftest(artifact.workload, artifact.model, manifest.selftest, artifact.recorded_samples())
    checks = {
        "checksums": True,
        "size_bytes": on_disk == manifest.size_bytes,
        "recipe": artifact.recipe.signature == manifest.recipe_signature,
        "samples": result.passed,
    }
    failed = [name for name, passed in checks.items() if not passed]
    return {
        "ok": not failed,
        "problem": f"{', '.join(failed)} differ from the manifest" if failed else None,
        "workload": manifest.workload,
        "recipe_signature": manifest.recipe_signature,
        "size_bytes": on_disk,
        "dense_size_bytes": dense_size(artifact.workload),
        "artifact_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "checks": checks,
        "selftest": asdict(result),
        "latency": [_latency(artifact)] if timed else [],
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
            for path in sorted(folder.iterdir()):
                archive.write(path, f"{folder.name}/{path.name}")
        return stream.getvalue(), report


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {"dense_weights_hash": manifest.dense_weights_hash, "created_at": manifest.created_at}


def _latency(artifact: LoadedArtifact) -> dict[str, Any]:
    shipped = Shipped.of(artifact.workload, artifact.recipe, content=artifact.content)
    with threads(1):
        settings = artifact.manifest.selftest.settings
        latency = measure_latency(shipped.subject, runtime="eager", batch=1, settings=settings)
    return latency.model_dump(mode="json")
