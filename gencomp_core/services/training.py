"""Train a bundled network."""

from collections.abc import Iterator
from pathlib import Path

from gencomp_core.errors import UnknownNameError
from gencomp_core.records import TrainingRecord
from gencomp_core.registry import suggestion
from gencomp_core.training.config import TRAINABLE, load_config
from gencomp_core.training.loop import train


def train_network(
    network: str, out: Path, *, config: Path | None = None, seed: int | None = None
) -> Iterator[TrainingRecord]:
    """Train into `out`, going on where an earlier run stopped; yields the points of the curve.

    Raises:
        UnknownNameError: no such network.
        TrainingError: a configuration that can't be used, or a folder of another run.
    """
    if network not in TRAINABLE:
        raise UnknownNameError(
            f"No trainable network named {network!r}.{suggestion(network, list(TRAINABLE))} "
            f"Available: {', '.join(TRAINABLE)}."
        )
    chosen = load_config(network, config)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    yield from train(chosen, out)
