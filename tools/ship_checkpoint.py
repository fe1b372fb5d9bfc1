"""Copy a finished training run into `assets/checkpoints`: weights, curve and configuration.

Run as `python -m tools.ship_checkpoint RUN NAME [--half]`, then `python -m tools.make_checksums`. With
`--half` floats are stored as float16 and widened on loading: half the bytes, for a model whose outputs
do not change by it.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gencomp_core.workloads.checkpoints import CHECKPOINT_FOLDER

OTHERS = ("curve.jsonl", "config.json", "critic.safetensors")


def ship(run: Path, name: str, *, half: bool) -> None:
    """Write the files of one network."""
    folder = CHECKPOINT_FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    with safe_open(run / "model.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no iterator)
        metadata = file.metadata()
    if half:
        tensors = {key: value.half() if value.dtype == torch.float32 else value for key, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata=metadata)
    for other in OTHERS:
        if (run / other).exists():
            shutil.copy(run / other, folder / other)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--half", action="store_true")
    arguments = parser.parse_args()
    ship(arguments.run, arguments.name, half=arguments.half)
