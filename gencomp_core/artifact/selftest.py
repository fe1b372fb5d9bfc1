"""The self-test: an artifact, loaded from its files, reproduces the samples it was made with."""

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gencomp_core.artifact.manifest import SelfTestFacts
from gencomp_core.errors import ArtifactError
from gencomp_core.runtime_env import threads
from gencomp_core.workloads.base import Outputs, Settings, Workload

N_SAMPLES = 8
SEED = 0
TOLERANCES = {"image": 2, "text": 1}
"""What another processor's rounding may change: brightness levels (of 255) of a pixel, or one whole text."""


@dataclass(frozen=True)
class SelfTestResult:
    """Outcome of one self-test.

    Attributes:
        sha256: of the samples made now.
        identical: bit for bit the recorded samples.
        max_difference: largest pixel difference to the recorded images, in levels of 255, or number of texts
            that differ.
        passed: identical, or within the tolerance.
    """

    sha256: str
    identical: bool
    max_difference: int
    passed: bool


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


def run_selftest(workload: Workload, model: nn.Module, facts: SelfTestFacts, recorded: Tensor) -> SelfTestResult:
    """Make the samples again and compare them with the recorded ones.

    Raises:
        ArtifactError: the recorded samples are of another number or size.
    """
    samples = selftest_samples(workload, model, facts.settings)
    difference = _difference(samples, recorded)
    sha256 = samples_hash(samples)
    identical = sha256 == facts.sha256
    passed = identical or difference <= TOLERANCES[workload.modality]
    return SelfTestResult(sha256, identical, difference, passed)


def _difference(samples: Outputs, recorded: Tensor) -> int:
    if isinstance(samples, list):
        return _texts_that_differ(samples, recorded)
    if recorded.shape != samples.shape:
        raise _other_samples(f"samples of shape {tuple(samples.shape)}", f"{tuple(recorded.shape)}")
    return int((samples.to(torch.int16) - recorded.to(torch.int16)).abs().max())


def _texts_that_differ(texts: list[str], recorded: Tensor) -> int:
    try:
        before = json.loads(bytes(recorded.tolist()).decode())
    except ValueError:
        raise _other_samples(f"{len(texts)} texts", "something else") from None
    if not isinstance(before, list) or len(before) != len(texts):
        raise _other_samples(f"{len(texts)} texts", f"{len(before) if isinstance(before, list) else 'none'}")
    return sum(own != other for own, other in zip(texts, before, strict=True))


def _other_samples(wanted: str, found: str) -> ArtifactError:
    return ArtifactError(f"selftest.safetensors must hold {wanted}, got {found}. Export the artifact again.")
