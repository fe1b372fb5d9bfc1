"""A small network with training losses, and stages that train it in a moment."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gencomp_core.artifact.packing import pack, unpack_into
from gencomp_core.variant import Variant
from gencomp_core.workloads.calibration import CalibrationBatch
from tests.tiny import Bare, noise, randomise_, same_bits


class Net(nn.Module):
    """Convolutions with a norm, a feed-forward part, and an embedding that is the output layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.wide = nn.Linear(6, 16)
        self.narrow = nn.Linear(16, 6)
        self.words = nn.Embedding(10, 6)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 10)."""
        h = torch.relu(self.up(torch.relu(self.norm(self.conv(x))))).mean((2, 3))
        h = h + self.narrow(torch.relu(self.wide(self.dropout(h))))
        return nn.functional.linear(h, self.words.weight)


class Drawn(Bare):
    """A workload that draws its inputs by the seed, and wants the outputs of another network."""

    def __init__(self, name: str = "drawn") -> None:
        super().__init__(randomise_(Net(), 0), name)
        self.wanted = randomise_(Net(), 7)

    def empty_network(self) -> nn.Module:
        return Net().eval()

    def inputs(self, n: int, seed: int, place: int) -> Tensor:
        return noise(n, 3, 5, 5, seed=seed + place)

    def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        for place in range(2):
            x = self.inputs(n, seed, place)
            yield CalibrationBatch(f"t={place}", {"all": n}, lambda model, x=x: model(x))

    def loss_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
        for place in range(3):
            x = self.inputs(n, seed, place)
            yield CalibrationBatch(
                f"t={place}", {"all": n}, lambda model, x=x: (model(x) - self.wanted(x)).square().mean()
            )


def tuned(steps: int = 12, **fields: object) -> dict[str, object]:
    """Plain form of a fine-tuning stage."""
    return {"kind": "fine-tune", "steps": steps, "batch_size": 8, "checks": 3, "learning_rate": 5e-3, **fields}


def held_out(variant: Variant, number: int = -1) -> list[float]:
    """Held-out figures of a tuning."""
    return [record.figures["held_out"] for record in variant.curves[number]]


def reloaded(variant: Variant) -> nn.Module:
    """The network that its weights file gives."""
    network = variant.workload.empty_network()
    unpack_into(pack(variant.model, variant.quantized, variant.changes).content, network)
    return network


def all_same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks hold the same bits."""
    theirs = other.state_dict()
    return all(same_bits(value, theirs[name]) for name, value in one.state_dict().items())
