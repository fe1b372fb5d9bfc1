"""On an accelerator the same code gives the same bytes, and samples that differ by rounding only."""

import pytest
import torch

from gencomp_core.artifact.packing import pack
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import compress
from gencomp_core.workloads.base import complete_settings
from gencomp_core.workloads.fashion import FashionVAEWorkload

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

RECIPE = Recipe.from_text(
    "stages: [{kind: magnitude-pruning, sparsity: 0.5}, {kind: weight-quantization, bits: 4, group_size: 64}]"
)


def test_a_recipe_gives_the_same_bytes_and_samples_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for device in ("cpu", "cuda"):
        monkeypatch.setenv("GENCOMP_DEVICE", device)
        workload = FashionVAEWorkload()
        variant = compress(workload, RECIPE)
        images = workload.generate(variant.model, 0, 20, seed=0, settings=complete_settings(workload))
        found.append((pack(variant.model, variant.quantized).content, images))
    (cpu_bytes, cpu_images), (gpu_bytes, gpu_images) = found
    assert gpu_bytes == cpu_bytes
    assert (gpu_images.int() - cpu_images.int()).abs().max() <= 2
