"""torch eager: the network's own forward pass, layer by layer."""

from pathlib import Path

from gencomp_core.compression.activations import quantizer_of
from gencomp_core.runtimes.subject import Opened, Subject


def open_eager(subject: Subject, *, stored: Path | None = None) -> Opened:
    """The model as it is: integers are widened to floats before anything is computed."""
    del stored  # it needs no files
    rounded = any(quantizer_of(layer) for layer in subject.model.modules())
    ran = "float32, weights widened on loading" if subject.quantized else "float32"
    return Opened(subject.model, f"{ran}, inputs rounded in float32" if rounded else ran)
