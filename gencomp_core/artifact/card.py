"""The model card that ships with an artifact, in Markdown."""

from gencomp_core.artifact.manifest import Manifest
from gencomp_core.recipes.recipe import Recipe

SAMPLE_LINES = {
    "image": "images = artifact.sample(16, seed=0)  # (16, 1, 28, 28) uint8",
    "text": "texts = artifact.sample(16)  # a list of 16 strings",
}


def model_card(manifest: Manifest, recipe: Recipe, *, modality: str = "image") -> str:
    """What it is, what it costs, how good it is, how to run and check it."""
    times = manifest.dense_size_bytes / manifest.size_bytes
    lines = [
        f"# {manifest.workload}, compressed",
        "",
        f"Recipe: {recipe.title()} (signature `{manifest.recipe_signature}`, in `recipe.yaml`).",
        "",
        "| what | value |",
        "|---|---|",
        f"| weights file | {manifest.size_bytes:,} bytes ({times:.2f} × smaller than dense) |",
        *_quality_rows(manifest),
        f"| made | {manifest.created_at}, torch {manifest.versions.get('torch', '?')} |",
        "",
        "## Run it",
        "",
        "```python",
        "from gencomp_core import load_artifact",
        "",
        'artifact = load_artifact("this-folder")',
        SAMPLE_LINES[modality],
        "```",
        "",
        "`gencomp verify this-folder` re-checks files, bytes, same-seed samples and latency; "
        "`sha256sum --check SHA256SUMS` checks the files alone.",
        "",
        "## Licences",
        "",
        *[f"- {what}: {licence}" for what, licence in manifest.licences.items()],
        "",
    ]
    return "\n".join(lines)


def _quality_rows(manifest: Manifest) -> list[str]:
    if not manifest.measurement or not manifest.measurement.get("quality"):
        return ["| quality | not measured; run `gencomp evaluate` on this folder |"]
    quality, dense = manifest.measurement["quality"], manifest.measurement["dense_quality"]
    direction = f"{quality['better']} is better"
    return [
        f"| {quality['name']}, {direction} | {quality['value']:.3f} [{quality['low']:.3f}, {quality['high']:.3f}] |",
        f"| dense at the same seeds | {dense['value']:.3f} [{dense['low']:.3f}, {dense['high']:.3f}] |",
    ]
