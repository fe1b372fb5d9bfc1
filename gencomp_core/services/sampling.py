"""Write samples of a target to a file."""

import os
from pathlib import Path
from typing import Any

import torch

from gencomp_core.charts.tiles import tile, to_png
from gencomp_core.errors import EvaluationError
from gencomp_core.records import Progress
from gencomp_core.services.measuring import Report
from gencomp_core.services.targets import Target
from gencomp_core.workloads.base import Settings, complete_settings


def write_samples(
    target: Target, path: Path, *, n: int, seed: int, settings: Settings, report: Report
) -> dict[str, Any]:
    """Samples number 0 to n - 1 as one PNG tile.

    Raises:
        EvaluationError: the file can't be written.
    """
    if path.is_dir() or not os.access(path.parent if path.parent.exists() else Path.cwd(), os.W_OK):
        raise EvaluationError(f"--out {path} can't be written. Choose another file.")
    workload, model = target.workload, target.model
    chosen = complete_settings(workload, settings)
    parts = []
    for first in range(0, n, 100):
        report(Progress("sampling", first, n))
        parts.append(workload.generate(model, first, min(n, first + 100), seed=seed, settings=chosen))
    content = to_png(tile(torch.cat(parts).numpy()), scale=2)
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
        "settings": chosen,
        "out": str(path),
    }
