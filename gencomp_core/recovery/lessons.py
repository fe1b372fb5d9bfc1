"""Which lesson a workload is tuned with."""

from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recovery import TuningStage
from gencomp_core.recipes.special_tuning import SelfCriticalTuning, StepDistillation
from gencomp_core.recovery.image_lessons import DiffusionLesson, GANLesson, StepLesson, VAELesson
from gencomp_core.recovery.lesson import Lesson, Teaching
from gencomp_core.recovery.loss_lesson import LossLesson
from gencomp_core.recovery.text_lesson import SelfCriticalLesson, TextLesson
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import is_calibrated
from gencomp_core.workloads.fashion import FashionDiffusion, FashionGAN, FashionVAEWorkload
from gencomp_core.workloads.verses import VersesTransformer


def lesson_for(workload: Workload, stage: TuningStage, *, seed: int) -> Lesson:
    """The bundled models learn from their training data, others from their `loss_batches`.

    Raises:
        RecipeError: a workload without losses, or texts asked of a workload without them.
    """
    teaching = Teaching(workload.model, stage.distillation, stage.match)
    if isinstance(stage, StepDistillation):
        if isinstance(workload, FashionDiffusion):
            return StepLesson(teaching, stage.batch_size, sampler_steps=stage.sampler_steps)
        raise _unsuited(stage, "bundled diffusion models", workload)
    if isinstance(stage, SelfCriticalTuning):
        if isinstance(workload, VersesTransformer):
            return SelfCriticalLesson(teaching, stage.batch_size, seed=seed, reward=stage.reward)
        raise _unsuited(stage, "bundled verse models", workload)
    if isinstance(workload, VersesTransformer):
        return TextLesson(teaching, stage.batch_size, seed=seed)
    if stage.match == "sequences":
        raise RecipeError(
            f"{stage.kind}: match can be 'sequences' for verse models only, got {workload.name}. "
            "Use outputs or features."
        )
    if isinstance(workload, FashionDiffusion):
        return DiffusionLesson(teaching, stage.batch_size)
    if isinstance(workload, FashionVAEWorkload):
        return VAELesson(teaching, stage.batch_size)
    if isinstance(workload, FashionGAN):
        return GANLesson(teaching, stage.batch_size)
    if not is_calibrated(workload):
        raise RecipeError(
            f"{workload.name} has no training loss, which {stage.kind} needs. Give it the methods 'loss_batches' and "
            "'forward_batches' (gencomp_core/workloads/calibration.py), or leave the stage out."
        )
    return LossLesson(teaching, workload, stage.batch_size, seed=seed)


def _unsuited(stage: TuningStage, suited: str, workload: Workload) -> RecipeError:
    return RecipeError(f"{stage.kind} is for the {suited} only, got {workload.name}. Use fine-tune.")
