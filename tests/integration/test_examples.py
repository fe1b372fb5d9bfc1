"""The example in an artifact runs where neither torch nor GenComp can be imported, and samples what the model does."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gencomp_core.artifact.save import save_artifact
from gencomp_core.artifact.sums import changed_files
from gencomp_core.models.diffusion import trajectory
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads.base import Workload, cycling_labels, to_pixels
from tests.tiny import TinyDiffusion, TinyGAN, TinyVAE, TinyVerses, activations, quantization, recipe

INT8 = recipe(quantization(8), activations())
FOUR_BITS = recipe(quantization(4, granularity="group", group_size=16, symmetric=False))
N = 16
ALONE = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "gencomp_core", "tests", "safetensors", "onnx", "pydantic"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script in isolation from the packages that the artifact must do without."""


class PlainGAN(TinyGAN):
    """A workload that does not say how it is sampled in numpy."""

    example = None


SLOW = pytest.mark.slow
IMAGES = [
    ("openvino", TinyDiffusion),
    ("openvino", TinyGAN),
    pytest.param("openvino", TinyVAE, marks=SLOW),
    ("openvino-bf16", TinyGAN),
    ("onnxruntime", TinyDiffusion),
    ("onnxruntime", TinyGAN),
    pytest.param("onnxruntime", TinyVAE, marks=SLOW),
]
TEXTS = [
    pytest.param("openvino", Recipe(), id="openvino, dense", marks=SLOW),
    pytest.param("openvino", FOUR_BITS, id="openvino, 4-bit weights"),
    pytest.param("onnxruntime", Recipe(), id="onnxruntime, dense", marks=SLOW),
    pytest.param("onnxruntime", INT8, id="onnxruntime, int8"),
]
"""Those come with every change whose models other tests convert too, or that fail in their own way."""
FILES = ("openvino", "onnxruntime")
"""Runtimes whose files need other code to be loaded."""


def saved(workload: Workload, folder: Path, runtime: str, chosen: Recipe = INT8) -> Variant:
    variant = compress(workload, chosen)
    save_artifact(variant, folder, runtimes=[runtime])
    return variant


def run_alone(script: Path, out: Path) -> str:
    command = [sys.executable, "-I", "-c", ALONE, str(script), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=script.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def noise(workload: Workload) -> torch.Tensor:
    """What numpy's generator draws first in the example."""
    shape = (N, 1, 28, 28) if isinstance(workload, TinyDiffusion) else (N, 8)
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def expected(workload: Workload, model: torch.nn.Module) -> np.ndarray:
    """The images of that noise, by the workload's own code: (16, 28, 28) uint8."""
    labels, start = cycling_labels(0, N, 10), noise(workload)
    with torch.inference_mode():
        if isinstance(workload, TinyDiffusion):
            *_, last = trajectory(model, start, labels, steps=16)
            images = to_pixels((last + 1) / 2)
        else:
            images = to_pixels(workload.brightness(model, start, labels))  # type: ignore[attr-defined]
    pixels: np.ndarray = images[:, 0].numpy()
    return pixels


@pytest.mark.parametrize(("runtime", "kind"), IMAGES)
def test_the_example_samples_what_the_model_samples(tmp_path: Path, kind: type[Workload], runtime: str) -> None:
    folder, out = tmp_path / "artifact", tmp_path / "samples.png"
    variant = saved(kind(), folder, runtime)
    assert str(out) in run_alone(folder / "example.py", out)
    with Image.open(out) as picture:
        sheet = np.asarray(picture)
    images = sheet.reshape(4, 28, 4, 28).swapaxes(1, 2).reshape(N, 28, 28)
    difference = np.abs(images.astype(int) - expected(variant.workload, variant.model).astype(int))
    assert difference.mean() < min(2.5, images.std() / 3), (difference.mean(), images.std())
    assert changed_files(folder) == []


@pytest.mark.parametrize(("runtime", "chosen"), TEXTS)
def test_the_example_retells_what_the_runtime_retells(tmp_path: Path, chosen: Recipe, runtime: str) -> None:
    folder, out = tmp_path / "artifact", tmp_path / "texts.txt"
    saved(TinyVerses(), folder, runtime, chosen)
    run_alone(folder / "example.py", out)
    told = out.read_text().splitlines()
    recorded = json.loads(bytes(load_file(folder / "selftest.safetensors")[runtime].tolist()))[: len(told)]
    assert len(told) == 4
    same = [own.split() == other.split() for own, other in zip(told, recorded, strict=True)]
    assert sum(same) >= 3, (told, recorded)


@pytest.mark.parametrize("runtime", FILES)
def test_a_workload_without_an_example_gets_one_call_on_noise(tmp_path: Path, runtime: str) -> None:
    folder, out = tmp_path / "artifact", tmp_path / "output.npy"
    saved(PlainGAN(), folder, runtime)
    run_alone(folder / "example.py", out)
    assert np.load(out).shape == (N, 1, 28, 28)
    assert np.isfinite(np.load(out)).all()


@pytest.mark.parametrize("runtime", FILES)
def test_without_a_name_samples_are_written_beside_the_folder(tmp_path: Path, runtime: str) -> None:
    folder = tmp_path / "artifact"
    saved(TinyGAN(), folder, runtime)
    done = subprocess.run([sys.executable, "example.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("artifact")) == [
        "artifact",
        "artifact-samples.png",
    ]
    assert changed_files(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("runtime", FILES)
def test_the_example_runs_where_only_the_runtime_is_installed(tmp_path: Path, runtime: str) -> None:
    folder, out = tmp_path / "artifact", tmp_path / "samples.png"
    saved(TinyDiffusion(), folder, runtime)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", runtime, "numpy"], check=True)
    done = subprocess.run([python, "-I", "example.py", out], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(b"\x89PNG")
