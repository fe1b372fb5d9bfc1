"""Fashion-MNIST: 60,000 training and 10,000 test images of clothing, 28 × 28 grey, ten classes.

Source: Xiao, Rasul, Vollgraf 2017 (arXiv:1708.07747), MIT licence. The whole set is looked for in
`GENCOMP_DATA`, in Debian's package `dataset-fashion-mnist`, and in torchvision's download, in that
order. A class-balanced subset of 10,000 training images ships in `assets/`, so that calibration,
tuning and display need nothing else.
"""

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gencomp_core.errors import DataError
from gencomp_core.runtime_env import ASSETS, home

CLASS_NAMES = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SUBSET_FOLDER = ASSETS / "data" / "fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MARK = "train-images-idx3-ubyte.gz"
FILE_STEM = {"train": "train", "test": "t10k", "subset": "subset"}
N_IMAGES = {"train": 60_000, "test": 10_000, "subset": 10_000}

Split = Literal["train", "test", "subset"]


@dataclass(frozen=True)
class LabelledImages:
    """Images with their classes.

    Attributes:
        images: (n, 1, 28, 28) uint8.
        labels: (n,) int64, index into `CLASS_NAMES`.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load_split(split: Split) -> LabelledImages:
    """Read one split; `subset` is the part of `train` that ships with the product.

    Raises:
        DataError: the split is nowhere to be found, or one of its files is damaged.
    """
    folder = SUBSET_FOLDER if split == "subset" else find_folder()
    stem = FILE_STEM[split]
    images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{stem}-labels-idx1-ubyte.gz")
    expected = N_IMAGES[split]
    if images.shape != (expected, 28, 28) or labels.shape != (expected,):
        raise DataError(
            f"Fashion-MNIST {split} must hold {expected} images of 28 × 28, got images "
            f"{images.shape} and labels {labels.shape} in {folder}. Replace the files."
        )
    return LabelledImages(torch.from_numpy(images)[:, None], torch.from_numpy(labels).long())


def find_folder() -> Path:
    """Folder with the four original files; downloads them through torchvision as the last resort."""
    configured = os.environ.get("GENCOMP_DATA")
    if configured:
        if (Path(configured) / MARK).exists():
            return Path(configured)
        raise DataError(f"GENCOMP_DATA must be a folder with {MARK} and its three companions, got {configured!r}.")
    for folder in (DEBIAN_FOLDER, home() / "data" / "FashionMNIST" / "raw"):
        if (folder / MARK).exists():
            return folder
    return _download()


def read_idx(path: Path) -> np.ndarray:
    """Read one gzip-compressed IDX file of unsigned bytes.

    Returns:
        uint8 array of the shape that the file's header gives.

    Raises:
        DataError: the file is missing, cut short or changed; the message names it.

    Source: the IDX format of the MNIST database (LeCun, Cortes, Burges 1998).
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read()
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Restore it from the package or repository.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}). Replace it with a fresh copy.") from None
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(f"{path} is no IDX file of bytes (starts with {content[:4].hex()}). Replace it.")
    n_dims = content[3]
    if len(content) < 4 + 4 * n_dims:
        raise DataError(f"{path} is damaged: it ends within its header. Replace it with a fresh copy.")
    body = content[4 + 4 * n_dims :]
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(n_dims))
    if len(body) != math.prod(shape):
        raise DataError(
            f"{path} is damaged: its header promises {math.prod(shape)} bytes, it holds {len(body)}. "
            "Replace it with a fresh copy."
        )
    return np.frombuffer(body, np.uint8).reshape(shape).copy()


def balanced_indices(labels: Tensor, per_class: int) -> Tensor:
    """First `per_class` positions of every class, interleaved so that any prefix is balanced.

    Args:
        labels: (n,) int64.

    Returns:
        (n_classes * per_class,) int64 positions; labels there run 0, 1, ..., 9, 0, 1, ...
    """
    columns = [torch.nonzero(labels == label)[:per_class, 0] for label in torch.unique(labels)]
    return torch.stack(columns, dim=1).flatten()


def _download() -> Path:
    from torchvision.datasets import FashionMNIST

    root = home() / "data"
    try:
        FashionMNIST(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Fashion-MNIST was not found and could not be downloaded ({error}). Install Debian's package "
            "dataset-fashion-mnist, or point GENCOMP_DATA at a folder with its four .gz files."
        ) from None
    return root / "FashionMNIST" / "raw"
