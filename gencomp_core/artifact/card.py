"""The model card that ships with an artifact, in Markdown."""

from collections.abc import Sequence

from gencomp_core.artifact.manifest import Manifest, RuntimeFacts
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import METRICS

SAMPLE_LINES = {
    "image": "images = artifact.sample(16, seed=0)  # (16, 1, 28, 28) uint8",
    "text": "texts = artifact.sample(16)  # a list of 16 strings",
}


def model_card(
    manifest: Manifest, recipe: Recipe, *, modality: str = "image", examples: Sequence[str] = ("example.py",)
) -> str:
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
        *_transport_rows(manifest),
        *_quality_rows(manifest),
        f"| made | {manifest.created_at} on {manifest.machine.get('processor', '?')}, "
        f"torch {manifest.versions.get('torch', '?')} |",
        "",
        "## What it runs in",
        "",
        "| runtime | what runs | bytes of its files | one sample | dense there | quality of its own samples |",
        "|---|---|---|---|---|---|",
        *[_runtime_row(name, facts, manifest) for name, facts in manifest.runtimes.items()],
        "",
        *[f"Not in {name}: {reason}\n" for name, reason in manifest.not_shipped.items()],
        "Times are medians of one thread on the machine above, interleaved with dense in the same runtime.",
        "",
        "## Run it",
        "",
        f"`python {examples[0]} samples.png` needs the packages that its first lines name, and not GenComp."
        if len(manifest.runtimes) > 1
        else f"`python {examples[0]}` samples it in torch; it needs GenComp.",
        "",
        "```python",
        "from gencomp_core import load_artifact",
        "",
        'artifact = load_artifact("this-folder")',
        SAMPLE_LINES[modality],
        "```",
        "",
        "`gencomp verify this-folder` re-checks files, bytes, same-seed samples, metric and latency in every runtime; "
        "`sha256sum --check SHA256SUMS` checks the files alone.",
        "",
        "## Licences",
        "",
        *[f"- {what}: {licence}" for what, licence in manifest.licences.items()],
        "",
    ]
    return "\n".join(lines)


def _transport_rows(manifest: Manifest) -> list[str]:
    transport = manifest.transport
    rows = [f"| time to load it | {transport.load_ms:.1f} ms, of which unpacking {transport.unpack_ms:.1f} |"]
    if transport.coding != "none":
        rows.insert(0, f"| after {transport.coding} is undone | {transport.unpacked_bytes:,} bytes |")
    return rows


def _quality_rows(manifest: Manifest) -> list[str]:
    if not manifest.measurement or not manifest.measurement.get("quality"):
        return ["| quality | not measured; run `gencomp evaluate` on this folder |"]
    quality, dense = manifest.measurement["quality"], manifest.measurement["dense_quality"]
    direction = f"{quality['better']} is better"
    return [
        f"| {quality['name']}, {direction} | {quality['value']:.3f} [{quality['low']:.3f}, {quality['high']:.3f}] |",
        f"| dense at the same seeds | {dense['value']:.3f} [{dense['low']:.3f}, {dense['high']:.3f}] |",
    ]


def _runtime_row(name: str, facts: RuntimeFacts, manifest: Manifest) -> str:
    latency = facts.evidence.latency
    cells = [name, facts.ran, f"{facts.size_bytes:,}"]
    cells += [f"{latency.median_ms:.2f} ms", f"{latency.dense_median_ms:.2f} ms"] if latency else ["not timed", ""]
    return f"| {' | '.join([*cells, _quality_there(name, facts, manifest)])} |"


def _quality_there(name: str, facts: RuntimeFacts, manifest: Manifest) -> str:
    """Of a measurement over many samples where there is one, else over the few of the self-test."""
    for found in (manifest.measurement or {}).get("runtime_quality", []):
        if found["runtime"] == name:
            own = found["quality"]
            return f"{own['value']:.3f} [{own['low']:.3f}, {own['high']:.3f}] over {own['n_samples']:,} samples"
    small = facts.evidence.metric
    if small is None:
        return f"not measured ({facts.evidence.reason})" if facts.evidence.reason else "not measured"
    return f"{METRICS[small.metric].title} {small.value:.2f} over {small.n_samples} samples, for the self-test alone"
