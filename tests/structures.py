"""Workloads with several channels a group, heads and blocks, and what tests of structural stages share."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.compression.declared import declared
from gencomp_core.compression.structure import Width
from gencomp_core.models.diffusion import FlowUNet, UNetConfig
from gencomp_core.models.gan import GANConfig, Generator
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.variant import Variant
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches
from tests.tiny import TinyDiffusion, TinyGAN, TinyVAE, TinyVerses


class WideDiffusion(TinyDiffusion):
    """Two heads in each attention, and 2 to 8 channels in each group of a norm."""

    name = "wide-diffusion"

    def empty_network(self) -> nn.Module:
        return FlowUNet(UNetConfig(channels=(16, 64))).eval()


class DeepVerses(TinyVerses):
    """Two layers on each side."""

    name = "deep-verses"

    def empty_network(self) -> nn.Module:
        shape = Seq2SeqConfig(dim=32, n_heads=4, encoder_layers=2, decoder_layers=2, feed_forward=2)
        return Seq2Seq(shape).eval()


class DeepGAN(TinyGAN):
    """Refining blocks after the first."""

    name = "deep-gan"

    def empty_network(self) -> nn.Module:
        return Generator(GANConfig(channels=(16, 16, 16), latent_dim=8, depth=2)).eval()


WORKLOADS = [WideDiffusion(), DeepGAN(), TinyVAE(), DeepVerses()]
of_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)


def channels(ratio: float, **fields: object) -> dict[str, object]:
    return {"kind": "channel-pruning", "pruning_ratio": ratio, "calibration_samples": 4, **fields}


def heads(ratio: float, **fields: object) -> dict[str, object]:
    return {"kind": "head-pruning", "pruning_ratio": ratio, "calibration_samples": 4, **fields}


def blocks(n: int | None = None, **fields: object) -> dict[str, object]:
    return {"kind": "block-removal", "calibration_samples": 2, **({"n_blocks": n} if n else {}), **fields}


@cache
def first_batch(workload: Any) -> CalibrationBatch:
    return next(forward_batches(workload, 2, seed=0))


def output(workload: Any, model: nn.Module) -> Tensor:
    with torch.no_grad():
        return first_batch(workload).run(model)


def reloaded(workload: Any, variant: Variant) -> nn.Module:
    network = workload.empty_network()
    unpack_into(pack(variant.model, variant.quantized, variant.changes).content, network)
    return network.eval()


def widths_of(workload: Any) -> list[Width]:
    found = declared(workload.model)
    assert found is not None
    return found.widths


def every_other(width: Width) -> Tensor:
    gone = torch.zeros(width.n_units, dtype=torch.bool)
    gone[::2] = True
    return gone
