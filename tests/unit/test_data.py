import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from gencomp_core.data.fashion_mnist import (
    CLASS_NAMES,
    balanced_indices,
    find_folder,
    load_split,
    read_idx,
)
from gencomp_core.errors import DataError

PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx(values: np.ndarray = PIXELS, magic: bytes = b"\x00\x00\x08") -> bytes:
    """IDX form of an array."""
    return magic + bytes([values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def zipped(folder: Path, content: bytes) -> Path:
    path = folder / "some-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(content, mtime=0))
    return path


def data_line(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize("values", [PIXELS, PIXELS[:, :, 0], PIXELS[0, 0], PIXELS[:0]])
def test_an_idx_file_is_read_in_its_shape(tmp_path: Path, values: np.ndarray) -> None:
    found = read_idx(zipped(tmp_path, idx(values)))
    assert found.dtype == np.uint8
    assert found.shape == values.shape
    assert (found == values).all()
    assert found.flags.writeable


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "is missing. Restore it" in data_line(tmp_path / "gone.gz")


def test_a_truncated_file_is_damaged(tmp_path: Path) -> None:
    path = zipped(tmp_path, idx())
    whole = path.read_bytes()
    for kept in range(1, len(whole)):
        path.write_bytes(whole[:kept])
        assert "is damaged" in data_line(path)


def test_a_flipped_bit_never_gives_other_pixels(tmp_path: Path) -> None:
    path = zipped(tmp_path, idx())
    whole = path.read_bytes()
    n_refused = 0
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(flipped))
        try:
            assert (read_idx(path) == PIXELS).all()  # gzip's header has bits that say nothing
        except DataError as error:
            assert str(path) in str(error)
            n_refused += 1
    assert n_refused > 4 * len(whole)


@pytest.mark.parametrize("content", [b"", b"\x00\x00", idx(magic=b"\x00\x00\x0d"), b"\x89PNG and more"])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    line = data_line(zipped(tmp_path, content))
    assert f"is no IDX file of bytes (starts with {content[:4].hex()})" in line


def test_a_file_that_is_not_zipped_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(idx())
    assert "is damaged (Not a gzipped file" in data_line(path)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length_than_its_header_says_is_damaged(tmp_path: Path, change: int) -> None:
    content = idx()[:-1] if change < 0 else idx() + b"\x00"
    line = data_line(zipped(tmp_path, content))
    assert f"its header promises 24 bytes, it holds {24 + change}" in line


@pytest.mark.parametrize("content", [idx()[:4], idx()[:9], b"\x00\x00\x08\x04" + b"\x80\x00\x00\x00" * 4])
def test_a_file_that_ends_within_its_header_is_damaged(tmp_path: Path, content: bytes) -> None:
    data_line(zipped(tmp_path, content))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    data_line(tmp_path)


# --- splits


def test_the_shipped_subset_holds_1000_images_of_each_class() -> None:
    subset = load_split("subset")
    assert subset.images.shape == (10_000, 1, 28, 28)
    assert subset.images.dtype == torch.uint8
    assert subset.labels.dtype == torch.int64
    assert subset.labels.bincount().tolist() == [1000] * len(CLASS_NAMES)
    assert len(subset) == 10_000


def test_any_prefix_of_balanced_indices_is_balanced() -> None:
    labels = load_split("subset").labels
    index = balanced_indices(labels, per_class=20)
    assert labels[index].tolist() == list(range(10)) * 20
    assert len(set(index.tolist())) == 200
    for n in range(201):
        counts = labels[index[:n]].bincount(minlength=10)
        assert counts.max() - counts.min() <= 1


def test_balanced_indices_take_the_first_of_every_class() -> None:
    assert balanced_indices(torch.tensor([1, 1, 0, 1, 0, 0]), per_class=2).tolist() == [2, 0, 4, 1]


def test_gencomp_data_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_DATA", str(tmp_path))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx()))
    assert find_folder() == tmp_path


def test_the_home_folder_is_looked_in(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GENCOMP_DATA", raising=False)
    monkeypatch.setattr("gencomp_core.data.fashion_mnist.DEBIAN_FOLDER", tmp_path / "no-package")
    downloaded = home / "data" / "FashionMNIST" / "raw"
    downloaded.mkdir(parents=True)
    (downloaded / "train-images-idx3-ubyte.gz").write_bytes(b"")
    assert find_folder() == downloaded


def test_a_split_of_another_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_DATA", str(tmp_path))
    for name, values in {"images-idx3": np.zeros((5, 28, 28), np.uint8), "labels-idx1": np.zeros(5, np.uint8)}.items():
        (tmp_path / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(idx(values)))
    with pytest.raises(DataError, match=r"train must hold 60000 images of 28 × 28, got images \(5, 28, 28\)") as caught:
        load_split("train")
    assert str(tmp_path) in str(caught.value)
