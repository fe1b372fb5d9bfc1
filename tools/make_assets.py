"""Make what `assets/` ships of Fashion-MNIST: the balanced subset and the reference statistics.

Needs the whole data set (see `gencomp_core/data/fashion_mnist.py`) and the trained classifier in
`assets/checkpoints/fashion-classifier/`. Run as `python -m tools.make_assets`, then
`python -m tools.make_checksums`.
"""

import gzip

import torch
from safetensors.torch import save

from gencomp_core.data.fashion_mnist import SUBSET_FOLDER, balanced_indices, load_split
from gencomp_core.evaluate.features import REFERENCE_PATH, feature_spaces


def write_idx(values: torch.Tensor, name: str) -> None:
    """Write a uint8 tensor as a gzip-compressed IDX file that is the same in every run."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    SUBSET_FOLDER.mkdir(parents=True, exist_ok=True)
    (SUBSET_FOLDER / name).write_bytes(gzip.compress(header + values.numpy().tobytes(), 9, mtime=0))


def main() -> None:
    """Write the subset, then the features of real images."""
    train, test = load_split("train"), load_split("test")
    chosen = balanced_indices(train.labels, per_class=1000)
    write_idx(train.images[chosen, 0], "subset-images-idx3-ubyte.gz")
    write_idx(train.labels[chosen].to(torch.uint8), "subset-labels-idx1-ubyte.gz")
    extract = feature_spaces["fashion"].extract
    features = extract(train.images)
    if (features.std(0) < 1e-3).any():
        raise SystemExit("a feature never varies: the covariance would be singular; train the classifier again")
    exact = features.double()
    REFERENCE_PATH.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "mean": exact.mean(0),
        "covariance": exact.T.cov(),
        "n": torch.tensor(len(exact)),
        "train_features": features[chosen].half(),
        "test_features": extract(test.images).half(),
    }
    REFERENCE_PATH.write_bytes(save(tensors))


if __name__ == "__main__":
    main()
