"""Record the demo study: measured configurations of every bundled workload, with their samples.

Run as `make demo`. It goes on where it stopped (the store keeps what was measured) and then writes
`assets/demo/`. Figures over more samples for a few configurations are part of it. With `--untimed` nothing is
timed, for a machine that is busy; a second run on an idle one adds the latencies.
"""

import os
import sys
from pathlib import Path

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.library import DEMO_FOLDER, SAMPLES
from gencomp_core.services.measuring import measure
from gencomp_core.services.texts import TEXTS
from gencomp_core.store import Store
from gencomp_core.workloads import CATALOG, load_workload

N_SAMPLES = {"fashion-vae": 5000, "fashion-gan": 5000, "fashion-diffusion": 1000, "verses-transformer": 500}
SIBLINGS = {name: CATALOG[name].sibling_of for name in CATALOG if CATALOG[name].sibling_of}
N_FINAL = {"fid": 10_000, "bleu": 1057}


def prune(sparsity: float, scope: str = "layer") -> dict[str, object]:
    """A pruning stage."""
    return {"kind": "magnitude-pruning", "sparsity": sparsity, "scope": scope}


def quantize(bits: int, **fields: object) -> dict[str, object]:
    """A quantization stage."""
    return {"kind": "weight-quantization", "bits": bits, **fields}


def configurations() -> list[Recipe]:
    """Dense, pruning alone, quantization alone, and both in either order."""
    grid: list[list[dict[str, object]]] = [[]]
    grid += [[prune(s, scope)] for scope in ("layer", "global") for s in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)]
    grid += [[quantize(bits)] for bits in range(8, 1, -1)]
    grid += [[quantize(bits, granularity="tensor")] for bits in (8, 6, 5, 4)]
    grid += [[quantize(bits, group_size=64)] for bits in (6, 5, 4, 3, 2)]
    grid += [[quantize(bits, group_size=16)] for bits in (4, 3, 2)]
    grid += [[quantize(bits, clipping="mse")] for bits in (4, 3, 2)]
    grid += [[quantize(bits, symmetric=False)] for bits in (8, 4, 3, 2)]
    grid += [[quantize(bits, group_size=32, symmetric=False, clipping="mse")] for bits in (4, 3, 2)]
    grid += [[prune(s), quantize(bits)] for s in (0.3, 0.5, 0.7) for bits in (8, 6, 4)]
    grid += [[prune(s), quantize(4, group_size=64)] for s in (0.2, 0.3, 0.5)]
    grid += [[prune(s, "global"), quantize(bits, group_size=64)] for s in (0.3, 0.5) for bits in (6, 5)]
    grid += [[quantize(bits), prune(s)] for s, bits in ((0.3, 8), (0.5, 8), (0.5, 4))]
    return [Recipe.from_dict({"stages": stages}) for stages in grid + toolbox()]


def toolbox() -> list[list[dict[str, object]]]:
    """What looks at data, and what changes the network itself."""
    channels = [{"kind": "channel-pruning", "pruning_ratio": s, "importance": "taylor"} for s in (0.1, 0.2, 0.3, 0.5)]
    grid: list[list[dict[str, object]]] = [[stage] for stage in channels]
    grid += [[stage, quantize(8)] for stage in channels[1:3]]
    grid += [[quantize(bits, rounding="gptq", clipping="mse")] for bits in (4, 3)]
    grid += [[{"kind": "sparsegpt-pruning", "sparsity": s}] for s in (0.5, 0.6, 0.7)]
    grid += [[{"kind": "sparsegpt-pruning", "sparsity": 0.5}, quantize(4, rounding="gptq", clipping="mse")]]
    grid += [[{"kind": "float-format", "format": name}] for name in ("float8_e4m3fn", "nf4")]
    grid += [[quantize(8), {"kind": "activation-quantization"}]]
    grid += [[{"kind": "low-rank-factorization"}]]
    return grid


def few_configurations() -> list[Recipe]:
    """What is measured of a narrower sibling: dense, and quantized."""
    grid: list[list[dict[str, object]]] = [[], [quantize(8)], [quantize(6)], [quantize(4, group_size=64)]]
    return [Recipe.from_dict({"stages": stages}) for stages in grid]


def main() -> None:
    """Measure what is missing, then write the study."""
    set_threads(int(os.environ.get("GENCOMP_THREADS", "2")))
    scratch = Path(os.environ.get("GENCOMP_DEMO_STORE", "runs/demo.db")).resolve()
    store = Store(f"sqlite:///{scratch}")
    timed = "--untimed" not in sys.argv
    names = [name for name in sys.argv[1:] if not name.startswith("--")] or [*N_SAMPLES, *SIBLINGS]
    signatures = []
    for name in names:
        workload = load_workload(name)
        family = SIBLINGS.get(name) or name
        recipes = few_configurations() if name in SIBLINGS else configurations()
        for number, recipe in enumerate(recipes):
            runtimes = ("eager",) if timed else ()
            found = measure(workload, recipe, store=store, n_samples=N_SAMPLES[family], runtimes=runtimes)
            signatures.append(found.signature)
            quality = found.quality.value if found.quality else float("nan")
            print(
                f"{name} {number + 1}/{len(recipes)} {found.title}: {found.size_bytes:,} bytes, quality {quality:.2f}",
                flush=True,
            )
        final = measure(workload, Recipe(), store=store, n_samples=N_FINAL[workload.metric], runtimes=())
        signatures.append(final.signature)
        print(name, "dense over more samples", final.quality, flush=True)
    write(store, signatures)


def write(store: Store, signatures: list[str]) -> None:
    """Write measurements and pictures of the study; workloads that were not asked for stay as they are."""
    pictures, texts = DEMO_FOLDER / "pictures", DEMO_FOLDER / "texts"
    for folder in (pictures, texts):
        folder.mkdir(parents=True, exist_ok=True)
    path = DEMO_FOLDER / "measurements.jsonl"
    fresh = [store.measurement(signature) for signature in signatures]
    redone = {found.workload for found in fresh if found}
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if not any(f'"workload":"{name}"' in line for name in redone)]
    path.write_text("\n".join(kept + [found.model_dump_json() for found in fresh if found]) + "\n")
    for signature in signatures:
        if content := store.picture(signature, SAMPLES):
            (pictures / f"{signature}.webp").write_bytes(content)
        if content := store.picture(signature, TEXTS):
            (texts / f"{signature}.json.gz").write_bytes(content)


if __name__ == "__main__":
    main()
