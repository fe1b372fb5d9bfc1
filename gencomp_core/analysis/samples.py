"""Numbered samples and their features; those of the dense model are kept on disk."""

from collections.abc import Generator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gencomp_core.evaluate.features import FeatureSpace
from gencomp_core.records import METHOD_VERSION, Progress
from gencomp_core.runtime_env import home
from gencomp_core.workloads.base import Settings, Workload


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples number 0 to n - 1 of one model.

    Attributes:
        images: (n, c, h, w) uint8.
        features: (n, d) float32.
    """

    images: Tensor
    features: Tensor

    def first(self, n: int) -> "Samples":
        """Samples number 0 to n - 1."""
        return Samples(self.images[:n], self.features[:n])


@dataclass(frozen=True)
class Drawer:
    """Draws numbered samples of a workload under one seed and one set of settings.

    Attributes:
        space: where the features of the samples are taken.
        batch: samples generated together.
    """

    workload: Workload
    seed: int
    settings: Settings
    space: FeatureSpace
    batch: int = 125

    def draw(self, model: nn.Module, n: int, *, what: str, start: int = 0) -> Generator[Progress, None, Samples]:
        """Generate samples `start` to n - 1 in batches; yields progress, returns the samples."""
        images = []
        for first in range(start, n, self.batch):
            yield Progress(what, first, n)
            stop = min(first + self.batch, n)
            images.append(self.workload.generate(model, first, stop, seed=self.seed, settings=self.settings))
        joined = torch.cat(images)
        return Samples(joined, self.space.extract(joined))

    def dense(self, n: int) -> Generator[Progress, None, Samples]:
        """Samples of the dense model, as far as possible from the cache in `~/.gencomp/cache`."""
        path = self._cache_path()
        cached = _read(path)
        n_cached = len(cached.images) if cached else 0
        if cached and n_cached >= n:
            return cached.first(n)
        more = yield from self.draw(self.workload.model, n, what="sampling dense", start=n_cached)
        if cached:
            more = Samples(torch.cat([cached.images, more.images]), torch.cat([cached.features, more.features]))
        _write(path, more)
        return more

    def _cache_path(self) -> Path:
        workload = self.workload
        identity = (
            METHOD_VERSION,
            workload.name,
            workload.weights_hash,
            self.seed,
            sorted(self.settings.items()),
            self.space.title,
        )
        return home() / "cache" / "dense" / f"{sha256(repr(identity).encode()).hexdigest()[:16]}.safetensors"


def _read(path: Path) -> Samples | None:
    try:
        tensors = load_file(path)
        return Samples(tensors["images"], tensors["features"])
    except (OSError, SafetensorError, KeyError):
        return None  # a cache: what can't be read is made again


def _write(path: Path, samples: Samples) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{id(samples)}.partial")
    save_file({"images": samples.images.contiguous(), "features": samples.features.contiguous()}, partial)
    partial.replace(path)
