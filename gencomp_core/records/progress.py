"""How far long work has come."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a long computation has come.

    Attributes:
        what: what is being done, for people.
        done, total: in units of that.
        within: what is being done of the unit under way, for people.
    """

    what: str
    done: int
    total: int
    within: "Progress | None" = None

    @property
    def fraction(self) -> float:
        """Done of the whole, in [0, 1]; the unit under way counts once it is done."""
        return min(1.0, self.done / max(1, self.total))

    @property
    def text(self) -> str:
        """In one line: `configuration 3 of 40: 4-bit: sampling, 256 of 1000`."""
        if self.within:
            return f"{self.what}: {self.within.text}"
        return f"{self.what}, {self.done} of {self.total}" if self.total > 1 else self.what


@dataclass(frozen=True)
class TrainingRecord:
    """One point of a training curve.

    Attributes:
        step: optimizer steps done.
        steps: optimizer steps planned.
        seconds: training time so far, over all starts of the run.
        learning_rate: at this step.
        loss: mean training loss since the record before.
        figures: held-out figures by name; empty between validations.
        peak_memory_mb: most memory so far, in 10⁶ bytes: of the GPU where one trains, else resident memory
            of the whole process; None where the system does not tell, and in old curves.
    """

    step: int
    steps: int
    seconds: float
    learning_rate: float
    loss: float
    figures: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
