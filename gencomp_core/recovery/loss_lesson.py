"""Tuning any workload that says what its model is trained for (`loss_batches`), and how it is used."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor, nn

from gencomp_core.errors import RecipeError
from gencomp_core.recovery.lesson import FEATURE_WEIGHT, Stateless, Teaching, feature_difference, shared_names, watched
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches, loss_batches

N_HELD_OUT_ROUNDS = 4
HELD_OUT_SEED = 5_000_000
TUNING_SEED = 6_000_000
"""First seeds that a workload is asked for batches with; calibration starts at 1,000,000."""


Batches = Callable[..., Iterator[CalibrationBatch]]


class LossLesson(Stateless):
    """Batches of the workload's own losses, one a step; held-out ones are drawn with other seeds.

    A round is what `loss_batches` gives at one seed. Its batches are taken in random order, so that stages of a
    generation mix.
    """

    def __init__(self, teaching: Teaching, workload: Workload, batch_size: int, *, seed: int) -> None:
        self.teaching, self.workload, self.batch_size = teaching, workload, batch_size
        self.seed = TUNING_SEED + 10_007 * seed
        self._losses = lru_cache(maxsize=1)(lambda number: self._round(loss_batches, self.seed + number))
        self._outputs = lru_cache(maxsize=1)(lambda number: self._round(forward_batches, self.seed + number))
        self.n_a_round = len(self._losses(0))
        if not self.n_a_round:
            raise RecipeError(f"{workload.name}: loss_batches must give a batch at least, got none. Yield some.")
        rounds = range(HELD_OUT_SEED, HELD_OUT_SEED + N_HELD_OUT_ROUNDS)
        self.held_out_batches = [batch for seed in rounds for batch in self._round(loss_batches, seed)]

    def loss(self, model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        """The workload's loss on one batch, and the relative squared difference to the teacher's output on another."""
        teaching, of_data = self.teaching, torch.zeros(())
        number, place = divmod(step, self.n_a_round)
        if teaching.weight < 1:
            of_data = self._pick(self._losses(number), number, place).run(model)
        if not teaching.weight:
            return of_data
        batch = self._pick(self._outputs(number), number, place)
        names = shared_names(model, teaching.teacher) if teaching.with_features else []
        with watched(model, names) as own_features:
            own = batch.run(model)
        with torch.no_grad(), watched(teaching.teacher, names) as features:
            taught = batch.run(teaching.teacher)
        if not own.requires_grad:
            raise RecipeError(
                f"{self.workload.name} can't be distilled: outputs of forward_batches must carry gradients. "
                "Write distillation: 0."
            )
        own, taught = own.float(), taught.float()
        of_teacher = (own - taught).square().mean() / taught.var().clamp_min(1e-8)
        if names:
            of_teacher = of_teacher + FEATURE_WEIGHT * feature_difference(own_features, features)
        return teaching.mix(of_data, of_teacher)

    def held_out(self, model: nn.Module) -> float:
        """Mean loss of the held-out batches."""
        found = [float(batch.run(model)) for batch in self.held_out_batches]
        return sum(found) / len(found)

    def _round(self, batches: Batches, seed: int) -> list[CalibrationBatch]:
        return list(batches(self.workload, self.batch_size, seed=seed))

    @staticmethod
    def _pick(batches: list[CalibrationBatch], number: int, place: int) -> CalibrationBatch:
        """A batch of a round: all of them in random order, again and again."""
        generator = torch.Generator().manual_seed(number)
        order = torch.randperm(len(batches), generator=generator)
        return batches[int(order[place % len(batches)])]
