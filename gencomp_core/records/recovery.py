"""What a recovery study found: how quality came back over the steps and seconds of training. No torch."""

from typing import Any, Literal

from gencomp_core.records.base import Estimate, Record
from gencomp_core.records.jobs import job_signature

Damage = Literal["pruned", "quantized", "pruned and quantized", "restructured", "none"]


class RecoveryPoint(Record):
    """The held-out data, looked at once on the way.

    Attributes:
        step, seconds: of all training of the recipe so far; seconds of processor time.
        held_out: what the stage keeps its best state by; lower is better.
        sparsity, bits: of the weights then, where the stage changes them.
        counts: whether the model is compressed as it will be in the end.
    """

    step: int
    seconds: float
    held_out: float
    sparsity: float | None = None
    bits: float | None = None
    counts: bool = True


class RecoveryRun(Record):
    """One recipe with training, beside what it recovers from.

    Attributes:
        workload, weights_hash: what was compressed.
        title, recipe, seed: how.
        damage_title, damage: the recipe that loses as much without training.
        damaged_by: the kind of it.
        rung: what is trained, as `analysis.recovery_curves.rung_of` names it.
        points: looks at the held-out data, in order.
        dense_held_out, damaged_held_out: the same figure of the dense and of the damaged model.
        metric, dense_value, n_samples: what quality was judged by.
        damaged, recovered: differences to dense at the same seeds; None where there was no damage to judge.
        quality: of the recovered model.
        size_bytes, dense_size_bytes: of the weights file.
        signature: of the measurement of the recovered model.
        machine: processor that trained it.
    """

    workload: str
    weights_hash: str
    title: str
    recipe: dict[str, Any]
    seed: int
    damage_title: str
    damage: dict[str, Any]
    damaged_by: Damage
    rung: str
    points: tuple[RecoveryPoint, ...]
    dense_held_out: float
    damaged_held_out: float
    metric: str
    dense_value: float
    n_samples: int
    damaged: Estimate | None
    recovered: Estimate
    quality: Estimate
    size_bytes: int
    dense_size_bytes: int
    signature: str
    machine: str

    @property
    def id(self) -> str:
        """16 hex digits: equal for the same recipe, seed and number of samples on the same weights."""
        told = {"weights": self.weights_hash, "recipe": self.recipe, "seed": self.seed, "samples": self.n_samples}
        return job_signature("recover", {"workload": self.workload, **told})

    @property
    def seconds(self) -> float:
        """Processor time of all its training."""
        return self.points[-1].seconds
