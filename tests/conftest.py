"""Every test: a home of its own, one thread, and hypothesis examples that are the same in every run."""

from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("gencomp", deadline=None, max_examples=50, database=None, derandomize=True)
hypothesis.settings.load_profile("gencomp")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder that GenComp keeps its things in during this test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("GENCOMP_HOME", str(folder))
    monkeypatch.setenv("GENCOMP_STORE", f"sqlite:///{tmp_path / 'store.db'}")
    return folder
