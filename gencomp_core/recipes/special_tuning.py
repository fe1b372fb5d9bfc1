"""Stages that train for something else than the workload's loss: fewer sampler steps, a better BLEU."""

from typing import ClassVar, Literal

from pydantic import Field

from gencomp_core.recipes.recovery import TuningStage


class StepDistillation(TuningStage):
    """Teach a diffusion model to reach in one sampler step what the dense model reaches in two.

    The weights file stays as large. Sample the result with as many steps as it was taught: `--set steps=N`. It works
    for the bundled diffusion models. `distillation` weighs the two steps of the dense model against the plain loss.

    Attributes:
        sampler_steps: Euler steps of the student; the teacher takes twice as many.
    """

    source: ClassVar[str] = "Salimans & Ho 2022 (arXiv:2202.00512), progressive distillation, on velocities"
    whole_stage_fields: ClassVar[frozenset[str]] = TuningStage.whole_stage_fields | {"sampler_steps"}

    kind: Literal["step-distillation"] = "step-distillation"
    learning_rate: float = Field(default=3e-4, gt=0, le=1, description="peak rate of Adam")
    distillation: float = Field(default=1.0, gt=0, le=1, description="weight of the teacher's two steps in the loss")
    sampler_steps: int = Field(default=8, ge=1, le=100, description="Euler steps of the student")

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"taught {self.sampler_steps} sampler steps ({self._details()})"


class SelfCriticalTuning(TuningStage):
    """Train a text model for its BLEU: samples that beat its own greedy output become likelier.

    It works for the bundled verse models. The held-out figure is BLEU, negative.

    Attributes:
        reward: weight of the self-critical loss, against that of `fine-tune`.
    """

    source: ClassVar[str] = "Rennie 2017 (arXiv:1612.00563), equations 5 to 9"
    whole_stage_fields: ClassVar[frozenset[str]] = TuningStage.whole_stage_fields | {"reward"}

    kind: Literal["self-critical-tuning"] = "self-critical-tuning"
    learning_rate: float = Field(default=5e-5, gt=0, le=1, description="peak rate of Adam")
    reward: float = Field(default=0.5, gt=0, le=1, description="weight of the self-critical loss")

    def title(self) -> str:
        """A few words for legends and tables."""
        return f"self-critical ({self._details()})"
