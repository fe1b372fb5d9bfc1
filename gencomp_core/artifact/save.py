"""Write an artifact: a folder that can be shipped and that tests itself."""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from safetensors.torch import save

from gencomp_core.artifact import manifest as files
from gencomp_core.artifact.card import model_card
from gencomp_core.artifact.manifest import Manifest, SelfTestFacts
from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.artifact.selftest import N_SAMPLES, SEED, samples_hash, samples_tensor, selftest_samples
from gencomp_core.errors import ArtifactError
from gencomp_core.records import Measurement
from gencomp_core.runtime_env import versions
from gencomp_core.variant import Variant
from gencomp_core.workloads.base import Settings, companions_of, complete_settings, licences_of


def save_artifact(
    variant: Variant, out: Path, *, settings: Settings | None = None, measurement: Measurement | None = None
) -> Manifest:
    """Write a variant to the new folder `out`, all files or none.

    Args:
        settings: sampling settings of the self-test; the workload's defaults without it.
        measurement: figures of this configuration, kept in the manifest.

    Raises:
        ArtifactError: `out` exists and is no empty folder, or can't be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(f"--out must be a new or empty folder, got {out}, which has content. Choose another.")
    workload = variant.workload
    packed = pack(variant.model, variant.quantized, variant.changes)
    shipped = workload.empty_network()
    unpack_into(packed.content, shipped)
    chosen = complete_settings(workload, settings)
    samples = selftest_samples(workload, shipped.eval(), chosen)
    manifest = Manifest(
        format=files.FORMAT,
        workload=workload.name,
        dense_weights_hash=workload.weights_hash,
        recipe_signature=variant.recipe.signature,
        seed=variant.seed,
        size_bytes=packed.size_bytes,
        dense_size_bytes=pack(workload.model, {}).size_bytes,
        licences=licences_of(workload),
        versions=versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        selftest=SelfTestFacts(n_samples=N_SAMPLES, seed=SEED, settings=chosen, sha256=samples_hash(samples)),
        measurement=measurement.summary() if measurement else None,
        calibration=variant.calibration,
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ArtifactError(f"--out {out} can't be written ({error.strerror}). Choose another folder.") from None
    try:
        (partial / files.WEIGHTS_FILE).write_bytes(packed.content)
        (partial / files.RECIPE_FILE).write_text(variant.recipe.to_yaml())
        (partial / files.SELFTEST_FILE).write_bytes(save({"samples": samples_tensor(samples)}))
        (partial / files.CARD_FILE).write_text(model_card(manifest, variant.recipe, modality=workload.modality))
        for name, content in companions_of(workload).items():
            (partial / name).write_bytes(content)
        files.write_manifest(manifest, partial)
        files.write_sums(partial)
        partial.chmod(0o755)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest
