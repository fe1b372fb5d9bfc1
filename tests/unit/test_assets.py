"""What ships is what was made: every file in assets/ is listed with its checksum, and a changed one is named."""

from pathlib import Path

import pytest

from gencomp_core.artifact.sums import file_sha256
from gencomp_core.data import assets
from gencomp_core.data.fashion_mnist import read_idx
from gencomp_core.errors import DataError
from gencomp_core.runtime_env import ASSETS
from gencomp_core.workloads.checkpoints import checkpoint_path
from gencomp_core.workloads.fashion import FashionVAEWorkload


def test_every_shipped_file_is_listed_with_its_checksum() -> None:
    listed = dict(reversed(line.split("  ", 1)) for line in assets.SUMS_FILE.read_text().splitlines())
    shipped = {str(p.relative_to(ASSETS)): p for p in ASSETS.rglob("*") if p.is_file() and p != assets.SUMS_FILE}
    assert sorted(listed) == sorted(shipped)
    assert {name: file_sha256(path) for name, path in shipped.items()} == listed


def test_a_changed_file_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "model.safetensors"
    content = bytearray(checkpoint_path("fashion-vae").read_bytes())
    monkeypatch.setattr(assets, "_listed", lambda: {weights.resolve(): file_sha256(checkpoint_path("fashion-vae"))})
    weights.write_bytes(content)
    assert FashionVAEWorkload(weights).model is not None
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match="model.safetensors is damaged or was replaced") as raised:
        _ = FashionVAEWorkload(weights).model
    assert "\n" not in str(raised.value)


def test_the_subset_is_read_from_its_own_files() -> None:
    assert read_idx(ASSETS / "data" / "fashion-mnist" / "subset-labels-idx1-ubyte.gz").shape == (10_000,)
