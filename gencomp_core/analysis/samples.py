"""Numbered samples; those of the dense model are kept on disk."""

from collections.abc import Generator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Generic

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from gencomp_core.analysis.judging import Judge, Kept
from gencomp_core.records import METHOD_VERSION, Progress
from gencomp_core.runtime_env import home
from gencomp_core.workloads.base import Settings, Workload


@dataclass(frozen=True)
class Drawer(Generic[Kept]):
    """Draws numbered samples of a workload under one seed and one set of settings.

    Attributes:
        judge: says what is kept of the samples.
        batch: samples generated together; the judge's own number without it.
    """

    workload: Workload
    seed: int
    settings: Settings
    judge: Judge[Kept]
    batch: int | None = None

    def draw(self, model: nn.Module, n: int, *, what: str, start: int = 0) -> Generator[Progress, None, Kept]:
        """Generate samples `start` to n - 1 in batches; yields progress, returns the samples."""
        outputs = []
        size = self.batch or self.judge.batch
        for first in range(start, n, size):
            yield Progress(what, first, n)
            stop = min(first + size, n)
            outputs.append(self.workload.generate(model, first, stop, seed=self.seed, settings=self.settings))
        return self.judge.observe(outputs, start)

    def dense(self, n: int) -> Generator[Progress, None, Kept]:
        """Samples of the dense model, as far as possible from the cache in `~/.gencomp/cache`."""
        path = self._cache_path()
        cached = self._read(path)
        n_cached = len(cached) if cached else 0
        if cached and n_cached >= n:
            return cached.first(n)
        more = yield from self.draw(self.workload.model, n, what="sampling dense", start=n_cached)
        if cached:
            more = cached.then(more)
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
            self.judge.title,
        )
        return home() / "cache" / "dense" / f"{sha256(repr(identity).encode()).hexdigest()[:16]}.safetensors"

    def _read(self, path: Path) -> Kept | None:
        try:
            return self.judge.restore(load_file(path))
        except (OSError, SafetensorError, KeyError):
            return None  # a cache: what can't be read is made again


def _write(path: Path, samples: Kept) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{id(samples)}.partial")
    save_file(samples.tensors(), partial)
    partial.replace(path)
