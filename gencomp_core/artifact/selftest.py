"""The self-test: an artifact, loaded from its files, reproduces the samples it was made with."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gencomp_core.artifact.manifest import SelfTestFacts
from gencomp_core.errors import ArtifactError
from gencomp_core.runtime_env import threads
from gencomp_core.workloads.base import Settings, Workload

N_SAMPLES = 8
SEED = 0
TOLERANCE = 2
"""Brightness levels (of 255) that another processor's rounding may add to a pixel."""


@dataclass(frozen=True)
class SelfTestResult:
    """Outcome of one self-test.

    Attributes:
        sha256: of the samples made now.
        identical: bit for bit the recorded samples.
        max_difference: largest pixel difference to the recorded samples, in levels of 255.
        passed: identical, or within the tolerance.
    """

    sha256: str
    identical: bool
    max_difference: int
    passed: bool


def selftest_samples(workload: Workload, model: nn.Module, settings: Settings) -> Tensor:
    """The samples that the self-test compares, made on one thread so that sums keep their order."""
    with threads(1):
        return workload.generate(model, 0, N_SAMPLES, seed=SEED, settings=settings)


def samples_hash(samples: Tensor) -> str:
    """Hex SHA-256 of the samples' bytes."""
    return hashlib.sha256(samples.contiguous().numpy().tobytes()).hexdigest()


def run_selftest(workload: Workload, model: nn.Module, facts: SelfTestFacts, recorded: Tensor) -> SelfTestResult:
    """Make the samples again and compare them with the recorded ones.

    Raises:
        ArtifactError: the recorded samples are of another number or size.
    """
    samples = selftest_samples(workload, model, facts.settings)
    if recorded.shape != samples.shape:
        raise ArtifactError(
            f"selftest.safetensors must hold samples of shape {tuple(samples.shape)}, got {tuple(recorded.shape)}. "
            "Export the artifact again."
        )
    difference = int((samples.to(torch.int16) - recorded.to(torch.int16)).abs().max())
    sha256 = samples_hash(samples)
    identical = sha256 == facts.sha256
    return SelfTestResult(sha256, identical, difference, identical or difference <= TOLERANCE)
