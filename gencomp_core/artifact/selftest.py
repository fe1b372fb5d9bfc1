"""The self-test: an artifact, loaded from its files, reproduces the samples it was made with, in every runtime."""

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gencomp_core.artifact.manifest import SELFTEST_FILE, Tolerance
from gencomp_core.errors import ArtifactError
from gencomp_core.runtime_env import threads
from gencomp_core.runtimes.registry import SIMULATING
from gencomp_core.workloads.base import Outputs, Settings, Workload

N_SAMPLES = 8
SEED = 0


@dataclass(frozen=True)
class SelfTestResult:
    """Outcome of one self-test.

    Attributes:
        sha256: of the samples made now.
        identical: bit for bit the recorded samples.
        max_difference: largest pixel difference to the recorded images, in levels of 255, or number of texts
            that differ.
        mean_difference: of all pixels, in levels; the share of texts that differ.
        passed: identical, or within the tolerance.
    """

    sha256: str
    identical: bool
    max_difference: int
    mean_difference: float
    passed: bool


def tolerance_of(modality: str, runtime: str) -> Tolerance:
    """What another processor's rounding may change.

    Two brightness levels, or one whole text. Where integers run as integers, a sum that falls on the other side of
    a rounding step moves a value by a whole step: there the mean counts too, one level or two texts.
    """
    simulates = runtime == SIMULATING
    if modality == "text":
        return Tolerance(max_difference=1 if simulates else 2)
    return Tolerance(max_difference=2, mean_difference=None if simulates else 1.0)


def selftest_samples(workload: Workload, model: nn.Module, settings: Settings) -> Outputs:
    """The samples that the self-test compares, made on one thread so that sums keep their order."""
    with threads(1):
        outputs: Outputs = workload.generate(model, 0, N_SAMPLES, seed=SEED, settings=settings)
    return outputs


def samples_tensor(samples: Outputs) -> Tensor:
    """Samples as they are recorded: images as they are, texts as (n_bytes,) uint8 of JSON in UTF-8."""
    if isinstance(samples, Tensor):
        return samples.contiguous()
    return torch.tensor(list(json.dumps(samples, ensure_ascii=False).encode()), dtype=torch.uint8)


def samples_hash(samples: Outputs) -> str:
    """Hex SHA-256 of the samples' bytes."""
    return hashlib.sha256(samples_tensor(samples).numpy().tobytes()).hexdigest()


def compare(samples: Outputs, recorded: Tensor, *, sha256: str, tolerance: Tolerance) -> SelfTestResult:
    """Samples made now beside the recorded ones.

    Raises:
        ArtifactError: the recorded samples are of another number or size.
    """
    largest, mean = _texts(samples, recorded) if isinstance(samples, list) else _images(samples, recorded)
    found = samples_hash(samples)
    identical = found == sha256
    close = tolerance.mean_difference is not None and mean <= tolerance.mean_difference
    return SelfTestResult(found, identical, largest, mean, identical or close or largest <= tolerance.max_difference)


def _images(samples: Tensor, recorded: Tensor) -> tuple[int, float]:
    if recorded.shape != samples.shape:
        raise _other_samples(f"samples of shape {tuple(samples.shape)}", f"{tuple(recorded.shape)}")
    difference = (samples.to(torch.int16) - recorded.to(torch.int16)).abs()
    return int(difference.max()), float(difference.float().mean())


def _texts(texts: list[str], recorded: Tensor) -> tuple[int, float]:
    try:
        before = json.loads(bytes(recorded.tolist()).decode())
    except ValueError:
        raise _other_samples(f"{len(texts)} texts", "something else") from None
    if not isinstance(before, list) or len(before) != len(texts):
        raise _other_samples(f"{len(texts)} texts", f"{len(before) if isinstance(before, list) else 'none'}")
    n_other = sum(own != other for own, other in zip(texts, before, strict=True))
    return n_other, n_other / max(1, len(texts))


def _other_samples(wanted: str, found: str) -> ArtifactError:
    return ArtifactError(f"{SELFTEST_FILE} must hold {wanted}, got {found}. Export the artifact again.")
