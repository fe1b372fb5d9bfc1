"""Every test: a home of its own, one thread, and hypothesis examples that are the same in every run."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

from gencomp_core.services import library

hypothesis.settings.register_profile("gencomp", deadline=None, max_examples=50, database=None, derandomize=True)
hypothesis.settings.load_profile("gencomp")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def converted_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that all tests convert models into, so that each is converted once: its name tells its weights."""
    base = tmp_path_factory.getbasetemp()  # of one worker, where several share a session
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "runtimes"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def home(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, converted_models: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Folder that GenComp keeps its things in during this test."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "runtimes").symlink_to(converted_models)
    monkeypatch.setenv("GENCOMP_HOME", str(folder))
    monkeypatch.setenv("GENCOMP_STORE", f"sqlite:///{tmp_path / 'store.db'}")
    return folder


@pytest.fixture(autouse=True)
def _open_stores_anew() -> None:
    """Stores are opened once a process; each test has its own."""
    library.open_store.cache_clear()


@pytest.fixture
def no_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New stores start empty instead of with the recorded demo study."""
    monkeypatch.setattr(library, "DEMO_FOLDER", tmp_path / "no-demo")


@pytest.fixture(scope="session")
def real_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store file with real measurements of the VAE and of the text model. Copy it before writing."""
    from gencomp_core.services.measuring import measure
    from gencomp_core.store import Store
    from gencomp_core.workloads import load_workload
    from tests.tiny import pruning, quantization, recipe

    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENCOMP_HOME", str(folder))
        store = Store(f"sqlite:///{folder / 'store.db'}")
        four_bits = quantization(4, group_size=16)
        for stages in ([], [pruning(0.5)], [four_bits], [pruning(0.3), four_bits]):
            measure(load_workload("fashion-vae"), recipe(*stages), store=store, n_samples=60)
        for stages in ([], [quantization(3)]):
            measure(load_workload("verses-transformer"), recipe(*stages), store=store, n_samples=20)
    store.engine.dispose()
    return folder / "store.db"
