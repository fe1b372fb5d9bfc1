"""Lessons: predict, then look at what was measured. Seeded evidence from the store, no torch."""

from gencomp_core.services.lessons.first_steps import FIRST_STEPS
from gencomp_core.services.lessons.going_on import GOING_ON
from gencomp_core.services.lessons.lesson import ChoiceGuess, Lesson, NumberGuess, Reveal, verdict
from gencomp_core.services.lessons.recovering import RECOVERING

LESSONS: dict[str, Lesson] = {lesson.key: lesson for lesson in (*FIRST_STEPS, *GOING_ON, *RECOVERING)}
"""By key, in their order."""

__all__ = ["LESSONS", "ChoiceGuess", "Lesson", "NumberGuess", "Reveal", "verdict"]
