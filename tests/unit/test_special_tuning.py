"""Fewer sampler steps, and a better BLEU."""

import pytest
import torch
from torch import Tensor, nn

from gencomp_core.errors import RecipeError
from gencomp_core.recovery import image_lessons
from gencomp_core.recovery.image_lessons import StepLesson
from gencomp_core.recovery.lesson import Teaching
from gencomp_core.recovery.text_lesson import SelfCriticalLesson
from gencomp_core.variant import compress
from tests.made_training import Drawn, held_out, tuned
from tests.tiny import TinyDiffusion, TinyVerses, pruning, recipe


class Linear(nn.Module):
    """Velocity a · x + b · t, whose two half steps can be written down."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a)), b

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """(n, 1, 28, 28), (n,) -> (n, 1, 28, 28)."""
        return self.a * x + self.b * t[:, None, None, None]


def test_a_student_is_taught_the_mean_of_two_velocities_along_the_path() -> None:
    a, b, n = 0.5, 0.2, 4
    teacher, noise, number = Linear(a, b), torch.randn(3, 1, 28, 28), torch.tensor([0, 1, 3])
    lesson = StepLesson(Teaching(teacher, 1.0), 3, sampler_steps=n)
    images = torch.full((3, 1, 28, 28), 255, dtype=torch.uint8)  # 1 in [-1, 1]
    errors = lesson._error(Linear(0.0, 0.0), images, torch.zeros(3, dtype=torch.int64), noise, number)
    time, half = (1 - number / n)[:, None, None, None], 0.5 / n
    start = (1 - time) + time * noise
    first = a * start + b * time
    second = a * (start - half * first) + b * (time - half)
    wanted = ((first + second) / 2).square().flatten(1).mean(1)
    torch.testing.assert_close(errors.detach(), wanted.detach())


def test_steps_are_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_lessons, "N_HELD_OUT", 50)
    stage = {**tuned(12, learning_rate=3e-3), "kind": "step-distillation", "sampler_steps": 2}
    figures = held_out(compress(TinyDiffusion(), recipe(pruning(0.5), stage)))
    assert min(figures) < figures[0]


def test_both_are_for_their_own_models() -> None:
    with pytest.raises(RecipeError, match="step-distillation is for the bundled diffusion models only, got drawn"):
        compress(Drawn(), recipe({**tuned(), "kind": "step-distillation"}))
    with pytest.raises(RecipeError, match="self-critical-tuning is for the bundled verse models only, got drawn"):
        compress(Drawn(), recipe({**tuned(), "kind": "self-critical-tuning"}))
    with pytest.raises(RecipeError, match="match can be 'sequences' for verse models only, got drawn"):
        compress(Drawn(), recipe(tuned(match="sequences")))


def test_the_reward_is_bleu_of_validation_verses(monkeypatch: pytest.MonkeyPatch) -> None:
    lesson = SelfCriticalLesson(Teaching(TinyVerses().model, 0.0), 4, seed=0, reward=0.5)
    lesson.held_out_batches.source, lesson.held_out_batches.target = (
        part[:8] for part in (lesson.held_out_batches.source, lesson.held_out_batches.target)
    )
    answers = [lesson.tokenizer.encode(text).ids for text in lesson.references[:8]]
    lesson.references = lesson.references[:8]
    by_source = {tuple(ids): answer for ids, answer in zip(lesson.held_out_batches.source, answers, strict=True)}
    monkeypatch.setattr(
        "gencomp_core.recovery.text_lesson.decoding.greedy",
        lambda model, source, **_: [by_source[tuple(i for i in row if i)] for row in source.tolist()],
    )
    assert lesson.held_out(TinyVerses().model) == pytest.approx(-100, abs=0.02)  # the references themselves


def test_texts_of_the_teacher_can_be_learned() -> None:
    stage = tuned(2, batch_size=4, match="sequences", checks=1)
    figures = held_out(compress(TinyVerses(), recipe(pruning(0.5), stage)))
    assert figures[0] > 0
