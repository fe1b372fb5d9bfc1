"""Record the ablations of `gencomp_core/training/ablations.py`: curves, judged samples, verdicts.

Run as `python -m tools.record_ablations [NAMES] [--runs FOLDER] [--out FOLDER]`, then `python -m
tools.make_checksums`; `make ablations` does both. One run after the other on one thread. It goes on where it
stopped: finished runs are kept under `runs/ablations`, equal runs of several ablations are made once, and what
is recorded of ablations that were not asked for stays. `--list` prints what there is to run.

Seconds are processor time of training with its validations; memory is what a run's peak lies above its start.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import shutil
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate.state import AcceleratorState

from gencomp_core.charts.tiles import tile, to_webp
from gencomp_core.data.fashion_mnist import load_split
from gencomp_core.errors import TrainingError
from gencomp_core.evaluate.bleu import bleu_counts, bleu_of_counts, bleu_replicates, bleu_signature
from gencomp_core.evaluate.features import feature_spaces
from gencomp_core.evaluate.fid import fid, fid_replicates
from gencomp_core.evaluate.intervals import Interval, centred_interval
from gencomp_core.evaluate.latent import active_units
from gencomp_core.evaluate.likelihood import PieceScores
from gencomp_core.evaluate.precision_recall import precision_recall
from gencomp_core.models.vae import FashionVAE
from gencomp_core.runtime_env import machine, set_threads, versions
from gencomp_core.services import ablations as reading
from gencomp_core.training.ablations import ABLATIONS, ARMS, Ablation, run_name
from gencomp_core.training.config import AnyTraining
from gencomp_core.training.image_batches import to_unit_range
from gencomp_core.training.loop import WEIGHTS_FILE, train
from gencomp_core.workloads.base import complete_settings
from gencomp_core.workloads.catalog import CATALOG

RUNS_FOLDER = Path("runs/ablations")
RESULT_FILE, PICTURE_FILE = "result.json", "samples.webp"
N_IMAGES, N_TEXTS, N_REAL, N_RESAMPLES = 1000, 200, 2000, 200
N_SHOWN = {"image": 20, "text": 4}
SETTINGS = {"fashion-diffusion": {"steps": 8}}
IMAGES_TOGETHER, TEXTS_TOGETHER = 250, 20


def run(config: AnyTraining, folder: Path) -> dict[str, Any]:
    """What came out of one run: read where it is finished, otherwise trained from the start and judged."""
    path = folder / RESULT_FILE
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    shutil.rmtree(folder, ignore_errors=True)
    AcceleratorState._reset_state(reset_partial_state=True)  # the next run may want another precision
    at_start, started, curve, result = _memory_at_start(), time.process_time(), [], {"status": "finished"}
    try:
        for record in train(config, folder):
            curve.append(record.to_dict() | {"seconds": time.process_time() - started})
    except TrainingError as error:
        result |= {"status": "failed", "reason": str(error)}
    result |= {
        "curve": curve,
        "seconds": curve[-1]["seconds"] if curve else None,
        "peak_bytes": _peak_above(at_start),
        "machine": machine()["processor"],
        "versions": versions(),
    }
    if result["status"] == "finished":
        result |= judged(config, folder)
    for state in folder.glob("*.pt"):  # nobody goes on with these runs
        state.unlink()
    folder.mkdir(parents=True, exist_ok=True)  # a run may fail before it makes one
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result))
    partial.replace(path)
    return result


def judged(config: AnyTraining, folder: Path) -> dict[str, Any]:
    """Quality of the final weights with its interval, replicates, other figures and a few samples."""
    card = CATALOG[config.network]
    module, _, factory = card.factory.partition(":")
    workload = getattr(import_module(module), factory)(folder / WEIGHTS_FILE)
    settings = complete_settings(workload, SETTINGS.get(config.network))
    return (_judged_texts if card.modality == "text" else _judged_images)(workload, settings, folder)


def _judged_images(workload: Any, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    model = workload.model
    parts = [
        workload.generate(model, start, start + IMAGES_TOGETHER, seed=0, settings=settings)
        for start in range(0, N_IMAGES, IMAGES_TOGETHER)
    ]
    images = torch.cat(parts)
    (folder / PICTURE_FILE).write_bytes(to_webp(tile(images[: N_SHOWN["image"]].numpy(), columns=10)))
    space = feature_spaces["fashion"]
    features, real = space.extract(images), space.reference()
    covered = precision_recall(features, real.test_features[:N_REAL])
    figures = {"precision": _plain(covered.precision), "recall": _plain(covered.recall)}
    if isinstance(model, FashionVAE):
        figures["active units"] = [float(_active(model))] * 3
    replicates = fid_replicates(features, real, n_resamples=N_RESAMPLES)
    title = f"FID ({space.title}, n={N_IMAGES})"
    return _quality(title, fid(features, real), replicates, N_IMAGES) | {"figures": figures, "samples": []}


@torch.inference_mode()
def _active(model: FashionVAE) -> int:
    """Latent dimensions that depend on the image, of 1,000 test images."""
    test = load_split("test")
    mean, _ = model.encode(to_unit_range(test.images[:N_IMAGES]), test.labels[:N_IMAGES])
    return len(active_units(mean))


def _judged_texts(workload: Any, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    model, scores = workload.model, []
    texts = workload.generate(model, 0, N_TEXTS, seed=0, settings=settings)
    sources, references = workload.prompts(0, N_TEXTS), workload.references(0, N_TEXTS)
    for start in range(0, N_TEXTS, TEXTS_TOGETHER):
        own, targets, are_real = workload.log_probs(model, start, start + TEXTS_TOGETHER)
        scores.append(PieceScores.of(own, own, targets, are_real))
    counts = bleu_counts(texts, references)
    shown = list(zip(sources, references, texts, strict=True))[: N_SHOWN["text"]]
    title = f"BLEU (sacreBLEU {bleu_signature()}, n={N_TEXTS})"
    quality = _quality(title, bleu_of_counts(counts.sum(0)), bleu_replicates(counts, n_resamples=N_RESAMPLES), N_TEXTS)
    return quality | {"figures": {"perplexity": _plain(PieceScores.joined(scores).perplexity())}, "samples": shown}


def _quality(title: str, value: float, replicates: torch.Tensor, n_samples: int) -> dict[str, Any]:
    interval = centred_interval(value, replicates)
    return {
        "quality": title,
        "value": value,
        "low": interval.low,
        "high": interval.high,
        "n_samples": n_samples,
        "replicates": replicates.tolist(),
    }


def _plain(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]


def record(names: Sequence[str], *, runs: Path, out: Path) -> None:
    """Make what is missing of the named ablations, then write their tables and pictures."""
    jobs = {run_name(config): config for name in names for _, _, config in ABLATIONS[name].runs()}
    missing = [name for name in jobs if not (runs / name / RESULT_FILE).exists()]
    print(f"{len(jobs)} runs, {len(missing)} to be made", flush=True)
    started = time.monotonic()
    for number, name in enumerate(missing):
        result = run(jobs[name], runs / name)
        left = (time.monotonic() - started) / (number + 1) * (len(missing) - number - 1) / 60
        outcome = result.get("reason") or f"{result['value']:.2f} {result['quality']}"
        print(f"{number + 1}/{len(missing)} {name}: {outcome}, {left:.0f} min left", flush=True)
    write([ABLATIONS[name] for name in names], runs=runs, out=out)


def write(chosen: Sequence[Ablation], *, runs: Path, out: Path) -> None:
    """Write tables and pictures; other ablations that are defined and recorded stay as they are."""
    rows, points = [], []
    (out / reading.PICTURES).mkdir(parents=True, exist_ok=True)
    for ablation in chosen:
        for arm, seed, config in ablation.runs():
            folder = runs / run_name(config)
            result = run(config, folder)
            key = {"name": ablation.name, "arm": arm, "seed": seed}
            points += [key | point for record in result.pop("curve") for point in reading.curve_points(record)]
            rows.append(key | _row(ablation, config, result))
            picture = folder / PICTURE_FILE
            if picture.exists() and seed == ablation.seeds[0]:
                shutil.copy(picture, reading.picture_path(ablation.name, arm, out))
    names = [ablation.name for ablation in chosen]
    results, curves = pd.DataFrame(rows), pd.DataFrame(points, columns=reading.CURVE_COLUMNS)
    before = reading.recorded(out)
    if before is not None:
        results = pd.concat([_others(before.results, names), results], ignore_index=True)
        curves = pd.concat([_others(before.curves, names), curves], ignore_index=True)
    verdicts = reading.verdicts(results, curves)
    for name, table in (("results", results), ("curves", curves), ("verdicts", verdicts)):
        table.to_parquet(out / f"{name}.parquet", index=False)
    kept = {reading.picture_path(name, arm, out) for name in results["name"] for arm in ARMS}
    for picture in (out / reading.PICTURES).glob("*.webp"):
        if picture not in kept:
            picture.unlink()
    print(verdicts.drop(columns="reason").round(3).to_string(index=False), flush=True)


def _row(ablation: Ablation, config: AnyTraining, result: dict[str, Any]) -> dict[str, Any]:
    """One run as a row of plain values; nested ones as JSON."""
    plain: dict[str, Any] = {"status": "", "reason": "", "quality": "", "machine": "", "n_samples": 0, "replicates": []}
    plain |= dict.fromkeys(("value", "low", "high", "seconds", "peak_bytes"), float("nan"))  # a failed run has none
    told = {name: value for name, value in result.items() if name in plain and value is not None}
    nested = {name: json.dumps(result.get(name)) for name in ("figures", "samples", "versions")}
    about = {"network": ablation.network, "metric": CATALOG[ablation.network].metric, "steps": config.steps}
    return about | plain | told | nested


def _others(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    return table[~table["name"].isin(names) & table["name"].isin(list(ABLATIONS))]


def _memory_at_start() -> int | None:
    """Bytes that the process holds now, after it has given back what it can; its peak starts anew from there."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
        return _status("VmRSS")
    return None


def _peak_above(start: int | None) -> int | None:
    """Bytes of the peak since then above it, or None where the system does not tell."""
    return None if start is None else _status("VmHWM") - start


def _status(field: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


def main() -> None:
    """Read the arguments and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="ablations; all without any")
    parser.add_argument("--runs", type=Path, default=RUNS_FOLDER)
    parser.add_argument("--out", type=Path, default=reading.FOLDER)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    names = arguments.names or list(ABLATIONS)
    if arguments.list:
        for name in names:
            made = [(arguments.runs / run_name(config) / RESULT_FILE).exists() for *_, config in ABLATIONS[name].runs()]
            print(f"{name}: {ABLATIONS[name].network}, {sum(made)} of {len(made)} runs made")
        return
    set_threads(1)
    record(names, runs=arguments.runs, out=arguments.out)


if __name__ == "__main__":
    main()
