"""Write samples of a target to a file."""

import os
from pathlib import Path
from typing import Any

import torch

from gencomp_core.charts.tiles import tile, to_png
from gencomp_core.errors import EvaluationError
from gencomp_core.records import Progress
from gencomp_core.runtimes.registry import SIMULATING
from gencomp_core.services.measuring import Report
from gencomp_core.services.targets import Target
from gencomp_core.workloads.base import Settings, complete_settings, makes_texts


def write_samples(
    target: Target,
    path: Path,
    *,
    n: int,
    seed: int,
    settings: Settings,
    report: Report,
    runtime: str = SIMULATING,
) -> dict[str, Any]:
    """Samples number 0 to n - 1: one PNG tile of images, or one text a line.

    Raises:
        EvaluationError: the file can't be written, there are fewer prompts than that, or the runtime can't take
            the model.
    """
    if path.is_dir() or not os.access(path.parent if path.parent.exists() else Path.cwd(), os.W_OK):
        raise EvaluationError(f"--out {path} can't be written. Choose another file.")
    workload, model = target.workload, target.network(runtime)
    chosen = complete_settings(workload, settings)
    if makes_texts(workload) and n > workload.n_prompts:
        raise EvaluationError(f"--n must be at most {workload.n_prompts}, the prompts of {workload.name}, got {n}.")
    parts = []
    for first in range(0, n, 100):
        report(Progress("sampling", first, n))
        parts.append(workload.generate(model, first, min(n, first + 100), seed=seed, settings=chosen))
    content = _lines(parts) if makes_texts(workload) else to_png(tile(torch.cat(parts).numpy()), scale=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise EvaluationError(f"--out {path} can't be written ({error.strerror}). Choose another file.") from None
    return {
        "workload": workload.name,
        "title": target.recipe.title(),
        "n": n,
        "seed": seed,
        "runtime": runtime,
        "settings": chosen,
        "out": str(path),
    }


def _lines(parts: list[list[str]]) -> bytes:
    return "".join(f"{' '.join(text.split())}\n" for part in parts for text in part).encode()
