"""The one place for seeds, device, threads, paths and the description of this machine.

torch is imported inside the functions that need it: pages that only browse never load it.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ASSETS = Path(__file__).resolve().parent.parent / "assets"
DESCRIBED_PACKAGES = ("torch", "torchvision", "torchmetrics", "numpy", "safetensors", "openvino", "onnxruntime")


def home() -> Path:
    """Folder for what GenComp keeps between runs: `GENCOMP_HOME`, or `~/.gencomp`."""
    return Path(os.environ.get("GENCOMP_HOME", Path.home() / ".gencomp"))


def default_store_url() -> str:
    """SQLAlchemy URL of the store: `GENCOMP_STORE` (a URL or a file path), or SQLite at home."""
    configured = os.environ.get("GENCOMP_STORE")
    return store_url(configured) if configured else f"sqlite:///{home() / 'store.db'}"


def store_url(name: str) -> str:
    """SQLAlchemy URL of what a user calls a store: a URL, or the path of an SQLite file."""
    return name if "://" in name else f"sqlite:///{Path(name).expanduser()}"


def device() -> "torch.device":
    """Where tensors live: `GENCOMP_DEVICE` when set, else the CPU, which is what is measured."""
    import torch

    return torch.device(os.environ.get("GENCOMP_DEVICE", "cpu"))


def generator(seed: int) -> "torch.Generator":
    """Random stream of its own for `seed`, on the CPU so that every device draws the same noise."""
    import torch

    return torch.Generator().manual_seed(seed)


def set_threads(n_threads: int) -> None:
    """Use `n_threads` CPU threads for tensor work in this process."""
    import torch

    torch.set_num_threads(n_threads)


@contextmanager
def threads(n_threads: int) -> Iterator[None]:
    """Use `n_threads` CPU threads inside the block, and what was set before after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tuning_threads() -> int:
    """CPU threads that recovery trains with: `GENCOMP_TUNING_THREADS`, or one, so that results don't depend on it."""
    return int(os.environ.get("GENCOMP_TUNING_THREADS", "1"))


@cache
def machine() -> dict[str, str | int]:
    """Processor, cores and system that a latency belongs to."""
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count() or 1,
        "system": platform.system(),
        "python": platform.python_version(),
    }


@cache
def versions() -> dict[str, str]:
    """Installed versions of the packages that numbers depend on."""
    found = {}
    for package in DESCRIBED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def command_environment() -> dict[str, str]:
    """Environment in which `python -m gencomp_core` finds this package and the plugins of the current folder."""
    folders = [str(Path(__file__).resolve().parent.parent), str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in folders if folder)}


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    name = facts.get("model name") or platform.machine()
    features = set(facts.get("flags", "").split())
    wide = [label for label in ("amx_int8", "avx512_vnni", "avx512_bf16", "avx2") if label in features]
    return f"{name} ({', '.join(wide)})" if wide else name
