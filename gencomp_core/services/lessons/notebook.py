"""A lesson as a Jupyter notebook that runs where GenComp is installed."""

import json

from nbformat import NotebookNode, v4, writes

from gencomp_core.services.lessons.lesson import Lesson, NumberGuess


def notebook(lesson: Lesson) -> str:
    """JSON of the notebook: question, guess, what was measured, why, and the same by one's own hand."""
    made = v4.new_notebook(cells=_cells(lesson), metadata={"language_info": {"name": "python"}})  # type: ignore[no-untyped-call]
    for number, cell in enumerate(made.cells):
        cell["id"] = f"{lesson.key}-{number}"  # drawn at random otherwise, so that no two files would be equal
    return str(writes(made))  # type: ignore[no-untyped-call]


def _cells(lesson: Lesson) -> list[NotebookNode]:
    guess = lesson.guess
    start = guess.start if isinstance(guess, NumberGuess) else guess.options[0]
    options = "" if isinstance(guess, NumberGuess) else f"  # one of {', '.join(guess.options)}"
    cells = [
        _text(f"# {lesson.title}\n\n{lesson.question}"),
        _code(f"guess = {start!r}{options}"),
        _text("Guess first, then run this."),
        _code(
            "from gencomp_core.services import library\n"
            "from gencomp_core.services.lessons import LESSONS, verdict\n\n"
            f"lesson = LESSONS[{lesson.key!r}]\n"
            "reveal = lesson.reveal(library.open_store())\n"
            "print(verdict(lesson.guess, guess, reveal.truth)[1])\n"
            "print(reveal.sentence)\n"
            "reveal.table"
        ),
        _code("reveal.figure"),
        _text(f"**Why.** {lesson.why}"),
    ]
    return cells + (_own_hand(lesson) if lesson.recipe else [])


def _own_hand(lesson: Lesson) -> list[NotebookNode]:
    stages = json.dumps([dict(stage) for stage in lesson.recipe], indent=4)
    stages = stages.replace(": true", ": True").replace(": false", ": False")
    code = (
        "from gencomp_core import Recipe, compress, load_workload\n"
        "from gencomp_core.workloads.base import complete_settings\n\n"
        f"stages = {stages}\n"
        f"workload = load_workload({lesson.workload!r})\n"
        'variant = compress(workload, Recipe.from_dict({"stages": stages}))\n'
        "settings = complete_settings(workload)\n"
        "samples = workload.generate(variant.model, 0, 8, seed=0, settings=settings)\n"
        "samples if isinstance(samples, list) else samples.shape"
    )
    return [
        _text("Now change the stages and look at samples of the same seeds."),
        _code(code),
    ]


def _text(source: str) -> NotebookNode:
    made: NotebookNode = v4.new_markdown_cell(source)  # type: ignore[no-untyped-call]
    return made


def _code(source: str) -> NotebookNode:
    made: NotebookNode = v4.new_code_cell(source)  # type: ignore[no-untyped-call]
    return made
