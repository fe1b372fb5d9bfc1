"""The tuning loop: seeded, resumable, and never worse on held-out data than where it began."""

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gencomp_core.compression.draft import Draft
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recovery import TuningStage
from gencomp_core.records import Progress, TrainingRecord
from gencomp_core.recovery.kept import Folder, key_of
from gencomp_core.recovery.lesson import Lesson
from gencomp_core.recovery.lessons import lesson_for
from gencomp_core.recovery.watching import looks_of, samples_of
from gencomp_core.recovery.weights import Trainee, start_training_, stop_training_
from gencomp_core.runtime_env import threads, tuning_threads
from gencomp_core.training.schedules import cosine
from gencomp_core.workloads.base import device_of

WARMUP = 0.05
CLIP_NORM = 1.0
BETAS = (0.9, 0.99)
SAVE_EVERY_S = 30.0
REPORTS = 100

Steps = Generator[Progress, None, None]
Prepare = Callable[[Draft], Trainee]


class Program:
    """What happens to a trainee while it is trained, beyond the steps of the optimizer. This one does nothing."""

    def penalty(self, trainee: Trainee, step: int) -> Tensor | float:
        """Added to the loss."""
        return 0.0

    def before_step_(self, trainee: Trainee, step: int) -> None:
        """Change masks or ranges."""

    def after_backward_(self, trainee: Trainee, step: int) -> None:
        """Look at gradients."""

    def rate(self, step: int, steps: int) -> float:
        """Factor on the learning rate."""
        return cosine(step, steps=steps, warmup=math.ceil(WARMUP * steps))

    def counts(self, step: int) -> bool:
        """Whether the state after so many steps may be kept as the best."""
        return True

    def figures(self, trainee: Trainee) -> dict[str, float]:
        """What the curve shows beside the held-out figure."""
        return {}

    def is_over(self, curve: list[TrainingRecord]) -> bool:
        """Whether there is no use in going on."""
        return False

    def state(self) -> dict[str, Any]:
        """What it remembers, for a checkpoint."""
        return {}

    def load_(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""


def tune_(draft: Draft, stage: TuningStage, prepare: Prepare, program: Program | None = None) -> Steps:
    """Train a draft as the stage says, or take the result from where it was tuned before.

    Args:
        prepare: says what of the draft is trained.
        program: what happens on the way.

    Yields:
        Progress, in steps.

    Raises:
        RecipeError: a workload without losses, or a loss that is not finite.
    """
    n_threads = tuning_threads()
    folder = Folder.of(key_of(draft, stage, threads=n_threads))
    with folder.claimed():
        curve = folder.load_result_(draft)
        if curve is None:
            with threads(n_threads), torch.random.fork_rng(devices=[]):
                run = _Run(draft, stage, prepare(draft), program or Program(), folder)
                try:
                    yield from run.steps()
                finally:
                    run.close_()
                curve = run.curve
            folder.save_result(draft, curve)
        draft.curves.append(tuple(curve))
        draft.tunings.append(folder.path.name)


@dataclass(eq=False)
class _Run:
    """One tuning under way.

    Attributes:
        seconds: CPU time so far, over all starts.
        looks: steps after which samples are kept.
        best: held-out figure of the best state that counts; not a number before the first.
        best_state: that state; None while it is the draft as it came.
    """

    draft: Draft
    stage: TuningStage
    trainee: Trainee
    program: Program
    folder: Folder
    curve: list[TrainingRecord] = field(default_factory=list)
    best: float = math.nan
    best_step: int = 0
    best_state: dict[str, Tensor] | None = None
    seconds: float = 0.0
    began: float = 0.0
    losses: list[float] = field(default_factory=list)
    looks: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.lesson: Lesson = lesson_for(self.draft.workload, self.stage, seed=self.draft.seed)
        start_training_(self.trainee)
        self.start_buffers = {name: value.clone() for name, value in self.draft.model.named_buffers()}
        tensors = list(self.trainee.tensors().values())
        self.optimizer = torch.optim.Adam(tensors, lr=self.stage.learning_rate, betas=BETAS) if tensors else None

    def steps(self) -> Steps:
        """Train, check, save; the draft has the best state in the end."""
        if self.optimizer is None:
            return
        total, first = self.stage.steps, self._resume_()
        checks = {round(total * (i + 1) / self.stage.checks) for i in range(self.stage.checks)}
        self.looks = looks_of(checks, total)
        report_every, saved = max(1, total // REPORTS), time.monotonic()
        self.began = time.process_time() - self.seconds
        if not self.curve:
            self._check_(0)
        for step in range(first, total):
            self._step_(step)
            done = step + 1
            if done in checks:
                self._check_(done)
                if self.program.is_over(self.curve):
                    break
            if done in checks or time.monotonic() - saved > SAVE_EVERY_S:
                self.folder.save_state(self._state(done))
                saved = time.monotonic()
            if done % report_every == 0 or done == total:
                yield Progress(self._title(), done, total)
        self._settle_()

    def close_(self) -> None:
        """Leave the network as others expect it."""
        for span in self.trainee.ranges.values():
            span.release_()
        stop_training_(self.draft.model, self.trainee.tensors().values())

    def _step_(self, step: int) -> None:
        assert self.optimizer is not None
        stage, trainee, model = self.stage, self.trainee, self.draft.model
        seed = self.draft.seed * 1_000_003 + step
        torch.manual_seed(seed)  # dropout draws from the global stream
        generator = torch.Generator().manual_seed(seed)
        model.train()
        self.program.before_step_(trainee, step)
        trainee.clear_gradients_()
        with torch.enable_grad():
            trainee.write_()
            with torch.autocast(device_of(model).type, torch.bfloat16, enabled=stage.precision == "bf16"):
                loss = self.lesson.loss(model, step, generator)
            loss = loss + self.program.penalty(trainee, step)
            loss.backward()  # type: ignore[no-untyped-call]
            trainee.backward_()
        self.losses.append(float(loss.detach()))
        if not math.isfinite(self.losses[-1]):
            raise RecipeError(
                f"{stage.kind}: the loss must be finite, got {self.losses[-1]} at step {step + 1}. "
                "Lower learning_rate, or compress less before this stage."
            )
        self.program.after_backward_(trainee, step)
        tensors = list(trainee.tensors().values())
        torch.nn.utils.clip_grad_norm_(tensors, CLIP_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = stage.learning_rate * self.program.rate(step, stage.steps)
        self.optimizer.step()

    @torch.no_grad()
    def _check_(self, done: int) -> None:
        """Look at the held-out data, and keep the state where it is the best so far."""
        self.draft.model.eval()
        self.trainee.write_()
        found = self.lesson.held_out(self.draft.model)
        self.seconds = time.process_time() - self.began
        mean_loss = sum(self.losses) / len(self.losses) if self.losses else found
        self.losses.clear()
        rate = self.optimizer.param_groups[0]["lr"] if self.optimizer and done else 0.0
        figures = {"held_out": found, **self.program.figures(self.trainee)}
        self.curve.append(TrainingRecord(done, self.stage.steps, self.seconds, rate, mean_loss, figures))
        if self.program.counts(done) and math.isfinite(found) and not found >= self.best:
            self.best, self.best_step = found, done
            self.best_state = self.trainee.state() if done else None
        self._look_(done)

    def _look_(self, done: int) -> None:
        """Keep samples of the model as it is now; their time is none of the tuning's."""
        if done not in self.looks:
            return
        began = time.process_time()
        samples = samples_of(self.draft.workload, self.draft.model)
        if samples is not None:
            self.folder.save_samples(done, samples)
        self.began += time.process_time() - began

    def _settle_(self) -> None:
        """Give the draft the best state: bit for bit what it was, where nothing was better."""
        if self.best_state is None:
            with torch.no_grad():
                for name, value in self.draft.model.named_buffers():
                    value.copy_(self.start_buffers[name])
            self.trainee.load_start_()
            return
        self.trainee.load_(self.best_state)
        self.trainee.settle_(self.draft)
        self.draft.model.eval()
        self.lesson.finish_(self.draft.model)

    def _title(self) -> str:
        found, start = self.curve[-1].figures["held_out"], self.curve[0].figures["held_out"]
        return f"{self.stage.kind} (held-out {found:.4g}, {start:.4g} at first)"

    def _state(self, done: int) -> dict[str, Any]:
        assert self.optimizer is not None
        return {
            "step": done,
            "seconds": time.process_time() - self.began,
            "trainee": self.trainee.state(),
            "optimizer": self.optimizer.state_dict(),
            "lesson": self.lesson.state(),
            "program": self.program.state(),
            "best": self.best,
            "best_step": self.best_step,
            "best_state": self.best_state,
            "losses": list(self.losses),
            "curve": [record.to_dict() for record in self.curve],
        }

    def _resume_(self) -> int:
        """Go on from the state on disk; the number of steps that are done."""
        state = self.folder.load_state()
        if state is None or self.optimizer is None:
            return 0
        self.trainee.load_(state["trainee"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.lesson.load_(state["lesson"])
        self.program.load_(state["program"])
        self.best, self.best_step, self.best_state = state["best"], state["best_step"], state["best_state"]
        self.losses, self.seconds = list(state["losses"]), state["seconds"]
        self.curve = [TrainingRecord(**fields) for fields in state["curve"]]
        return int(state["step"])
