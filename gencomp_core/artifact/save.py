"""Write an artifact: a folder that can be shipped and that tests itself."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import save

from gencomp_core.artifact import manifest as files
from gencomp_core.artifact import sums
from gencomp_core.artifact.card import model_card
from gencomp_core.artifact.examples import examples
from gencomp_core.artifact.manifest import Evidence, Manifest, RuntimeFacts, SelfTestFacts, Transport
from gencomp_core.artifact.packing import pack
from gencomp_core.artifact.prepare import Prepared, prepare
from gencomp_core.artifact.selftest import N_SAMPLES, SEED, samples_hash, samples_tensor, tolerance_of
from gencomp_core.artifact.transport import compressed, time_loading
from gencomp_core.errors import ArtifactError
from gencomp_core.records import Measurement
from gencomp_core.runtime_env import machine, versions
from gencomp_core.runtimes.registry import SIMULATING
from gencomp_core.variant import Variant
from gencomp_core.workloads.base import Settings, companions_of, licences_of
from gencomp_core.workloads.programs import InputSpec

NO_EVIDENCE = Evidence(reason="not measured when it was made")


def save_artifact(
    variant: Variant,
    out: Path,
    *,
    settings: Settings | None = None,
    measurement: Measurement | None = None,
    runtimes: Sequence[str] | None = None,
    zstd: bool = False,
) -> Manifest:
    """Write a variant to the new folder `out`, all files or none.

    Args:
        settings: sampling settings of the self-test; the workload's defaults without it.
        measurement: figures of this configuration, kept in the manifest.
        runtimes: whose files ship too; without it those that can take the model, of `SHIPPED`.
        zstd: compress the weights file for transport.

    Raises:
        ArtifactError: `out` exists and is no empty folder, or can't be written.
        EvaluationError, MissingDependencyError: a runtime that was named can't take the model.
    """
    check_out(out)
    prepared = prepare(variant, settings=settings, names=runtimes)
    return write_artifact(prepared, out, measurement=measurement, zstd=zstd)


def check_out(out: Path) -> None:
    """Refuse a folder that has content, or that can't be made, before anything is computed for it.

    Raises:
        ArtifactError: `out` exists and is no empty folder, or its parent can't be made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(f"--out must be a new or empty folder, got {out}, which has content. Choose another.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"--out {out} can't be written ({error.strerror}). Choose another folder.") from None


def write_artifact(
    prepared: Prepared,
    out: Path,
    *,
    measurement: Measurement | None = None,
    evidence: Mapping[str, Evidence] | None = None,
    zstd: bool = False,
) -> Manifest:
    """Write what was prepared to the new folder `out`, all files or none.

    Args:
        evidence: what was measured of the runtimes, by name.

    Raises:
        ArtifactError: `out` exists and is no empty folder, or can't be written.
    """
    check_out(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ArtifactError(f"--out {out} can't be written ({error.strerror}). Choose another folder.") from None
    try:
        weights = partial / (files.ZSTD_FILE if zstd else files.WEIGHTS_FILE)
        weights.write_bytes(compressed(prepared.packed.content) if zstd else prepared.packed.content)
        empty = prepared.variant.workload.empty_network
        transport = time_loading(weights, empty, unpacked_bytes=prepared.packed.size_bytes)
        _write_runtimes(prepared, partial)
        manifest = _manifest(prepared, weights, transport, measurement=measurement, evidence=evidence or {})
        _write_texts(prepared, manifest, partial)
        files.write_manifest(manifest, partial)
        sums.write_sums(partial)
        partial.chmod(0o755)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def _write_runtimes(prepared: Prepared, folder: Path) -> None:
    for name, opened in prepared.opened.items():
        for file, path in opened.files.items():
            target = folder / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    recorded = {name: samples_tensor(samples) for name, samples in prepared.samples.items()}
    (folder / files.SELFTEST_FILE).write_bytes(save(recorded))


def _write_texts(prepared: Prepared, manifest: Manifest, folder: Path) -> None:
    workload, recipe = prepared.variant.workload, prepared.variant.recipe
    (folder / files.RECIPE_FILE).write_text(recipe.to_yaml(), encoding="utf-8")
    sampling = {
        "modality": workload.modality,
        "settings": prepared.settings,
        "classes": list(workload.class_names),
        "programs": {name: [_described(own) for own in inputs] for name, inputs in prepared.programs.items()},
    }
    (folder / files.SAMPLING_FILE).write_text(json.dumps(sampling, indent=2, ensure_ascii=False) + "\n", "utf-8")
    code = examples(workload, manifest)
    for name, text in code.items():
        (folder / name).write_text(text, encoding="utf-8")
    card = model_card(manifest, recipe, modality=workload.modality, examples=list(code))
    (folder / files.CARD_FILE).write_text(card, encoding="utf-8")
    for name, content in companions_of(workload).items():
        (folder / name).write_bytes(content)


def _described(own: InputSpec) -> dict[str, Any]:
    return {"name": own.name, "dtype": str(own.dtype).removeprefix("torch."), "shape": list(own.shape)}


def _manifest(
    prepared: Prepared,
    weights: Path,
    transport: Transport,
    *,
    measurement: Measurement | None,
    evidence: Mapping[str, Evidence],
) -> Manifest:
    variant, workload = prepared.variant, prepared.variant.workload
    own_files = {name: _sizes(name, prepared, weights) for name in prepared.opened}
    return Manifest(
        format=files.FORMAT,
        workload=workload.name,
        dense_weights_hash=workload.weights_hash,
        recipe_signature=variant.recipe.signature,
        seed=variant.seed,
        weights_file=files.ZSTD_FILE if transport.coding == "zstd" else files.WEIGHTS_FILE,
        size_bytes=weights.stat().st_size,
        dense_size_bytes=pack(workload.model, {}).size_bytes,
        transport=transport,
        licences=licences_of(workload),
        versions=versions(),
        machine=machine(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        selftest=SelfTestFacts(
            n_samples=N_SAMPLES,
            seed=SEED,
            settings=prepared.settings,
            sha256=samples_hash(prepared.samples[SIMULATING]),
        ),
        runtimes={
            name: RuntimeFacts(
                ran=opened.ran,
                files=own_files[name],
                sha256=samples_hash(prepared.samples[name]),
                tolerance=tolerance_of(workload.modality, name),
                evidence=evidence.get(name, NO_EVIDENCE),
            )
            for name, opened in prepared.opened.items()
        },
        not_shipped=dict(prepared.not_shipped),
        measurement=measurement.summary() if measurement else None,
        calibration=variant.calibration,
    )


def _sizes(name: str, prepared: Prepared, weights: Path) -> dict[str, int]:
    """Bytes of what a runtime needs, by path from the folder."""
    own = {f"{name}/{file}": path.stat().st_size for file, path in prepared.opened[name].files.items()}
    return own or {weights.name: weights.stat().st_size}
