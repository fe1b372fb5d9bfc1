"""The training loop: resumable, seeded, the same on one process and on several.

Accelerate (Hugging Face) places the model, shares gradients between processes and autocasts.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gencomp_core.errors import GenCompError, TrainingError
from gencomp_core.records import TrainingRecord
from gencomp_core.runtime_env import device
from gencomp_core.training.config import AnyTraining, TrainingConfig
from gencomp_core.training.schedules import schedules
from gencomp_core.training.tasks import make_task
from gencomp_core.workloads.checkpoints import checkpoint_path, fill, read_checkpoint

STATE_FILE = "state.pt"
BEST_FILE = "best.pt"
CURVE_FILE = "curve.jsonl"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
LOG_EVERY = 50

Tensors = tuple[Tensor, ...] | list[Tensor]


def train(config: AnyTraining, out: Path) -> Iterator[TrainingRecord]:
    """Train the networks of `config` in the folder `out`, going on where an earlier run stopped.

    Yields:
        One record per validation and one per 50 steps, as they are made; they are also appended
        to `curve.jsonl`. When the iterator ends, `model.safetensors` holds the averaged weights of
        what ships, and `NAME.safetensors` the last weights of every other network.

    Raises:
        TrainingError: `out` holds the run of another configuration, the weights to start from are missing
            or of another network, or the loss is no longer finite.
    """
    _check_folder(config, out)
    run = _Run(config, out)
    _claim_folder(config, out)
    losses = []
    for step in range(run.first_step, config.steps):
        if run.exhausted:
            break
        losses.append(run.step(step))
        done, last = step + 1, step + 1 == config.steps
        figures = run.validate() if done % config.validate_every == 0 or last else {}
        if figures:
            run.note_best(figures)
            last = last or run.exhausted
        if done % config.save_every == 0 or last:
            run.save_state(done)
        if figures or done % LOG_EVERY == 0:
            mean_loss = sum(losses) / len(losses)
            if not math.isfinite(mean_loss):
                raise TrainingError(f"The loss is {mean_loss} at step {done}. Lower learning_rate and resume.")
            losses.clear()
            record = TrainingRecord(
                step=done,
                steps=config.steps,
                seconds=run.seconds(),
                learning_rate=run.learning_rate(step),
                loss=mean_loss,
                figures=figures,
                peak_memory_mb=_peak_memory_mb(run.accelerator.device),
            )
            run.append(record)
            yield record
    run.save_weights()


class _Run:
    """Networks, optimizers and average of one run, and their state on disk."""

    def __init__(self, config: AnyTraining, out: Path) -> None:
        self.config, self.out = config, out
        precision = "bf16" if config.precision == "bf16" else "no"
        self.accelerator = Accelerator(mixed_precision=precision, cpu=device().type == "cpu")
        self.task = make_task(config)
        self.best, self.n_without_best = math.inf, 0
        starts_trained = bool(config.start_from) and not (out / STATE_FILE).exists()
        if starts_trained:
            _start_from_(self.task.network, config.start_from)
        self.average = AveragedModel(self.task.network, multi_avg_fn=_ema_update(config.ema), use_buffers=True)
        self.average.n_averaged += starts_trained  # else the average forgets them at its first update
        players = self.task.players
        optimizers = {player.name: make_optimizer(config, player.network.parameters()) for player in players}
        self.first_step, seconds = self._restore(optimizers)
        self.networks = {player.name: self.accelerator.prepare(player.network) for player in players}
        self.optimizers = {name: self.accelerator.prepare(optimizer) for name, optimizer in optimizers.items()}
        self.average.to(self.accelerator.device)
        n_processes, index = self.accelerator.num_processes, self.accelerator.process_index
        per_process = config.batch_size // n_processes
        self.share = slice(index * per_process, (index + 1) * per_process)
        self.started = time.perf_counter() - seconds

    def step(self, step: int) -> float:
        """One update of every player, in their order; the loss of the last."""
        config, accelerator = self.config, self.accelerator
        for network in self.networks.values():
            network.train()
        torch.manual_seed(_step_seed(config.seed, step))  # dropout draws from the global stream
        generator = torch.Generator().manual_seed(_step_seed(config.seed, step))
        for player in self.task.players:
            optimizer = self.optimizers[player.name]
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(step)
            for _ in range(player.repeats):
                with accelerator.autocast():
                    loss = player.loss(self.networks, step, generator, self.share)
                optimizer.zero_grad()
                accelerator.backward(loss)
                if config.clip_norm:
                    accelerator.clip_grad_norm_(self.networks[player.name].parameters(), config.clip_norm)
                optimizer.step()
        self.average.update_parameters(self.task.network)
        mean: Tensor = accelerator.reduce(loss.detach(), reduction="mean")  # over the processes' shares
        return mean.item()

    def learning_rate(self, step: int) -> float:
        """Rate at a step."""
        config = self.config
        warmup = round(config.warmup * config.steps)
        return config.learning_rate * schedules[config.schedule](step, steps=config.steps, warmup=warmup)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out figures of the averaged network."""
        self.average.eval()
        return self.task.validate(self.average.module)

    def note_best(self, figures: dict[str, float]) -> None:
        """Count validations since the best one, whose weights are kept when they are to ship."""
        badness = self.task.badness(figures)
        self.n_without_best += 1
        if badness < self.best:
            self.best, self.n_without_best = badness, 0
            if self.config.keep == "best" and self.accelerator.is_main_process:
                _save_in_one_go(self.average.state_dict(), self.out / BEST_FILE)

    @property
    def exhausted(self) -> bool:
        """Whether validation has not improved for as long as the configuration bears."""
        return 0 < self.config.patience <= self.n_without_best

    def seconds(self) -> float:
        """Training time so far, over all starts of the run."""
        return time.perf_counter() - self.started

    def append(self, record: TrainingRecord) -> None:
        """Add a point to the curve on disk."""
        if self.accelerator.is_main_process:
            with (self.out / CURVE_FILE).open("a") as stream:
                stream.write(json.dumps(record.to_dict()) + "\n")

    def save_state(self, done: int) -> None:
        """Write what is needed to go on after `done` steps; replaced in one go, so that a kill loses nothing."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "step": done,
            "seconds": self.seconds(),
            "best": self.best,
            "n_without_best": self.n_without_best,
            "average": self.average.state_dict(),
            "networks": {player.name: player.network.state_dict() for player in self.task.players},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }
        _save_in_one_go(state, self.out / STATE_FILE)

    def save_weights(self) -> None:
        """Write the averaged network, and the other players as they are."""
        if not self.accelerator.is_main_process:
            return
        if self.config.keep == "best":
            self.average.load_state_dict(torch.load(self.out / BEST_FILE, weights_only=True))
        network = self.average.module
        network.eval()
        self.task.finish(network)
        _write_weights(network, self.out / WEIGHTS_FILE)
        for player in self.task.players:
            if player.network is not self.task.network:
                _write_weights(player.network, self.out / f"{player.name}.safetensors")

    def _restore(self, optimizers: dict[str, torch.optim.Optimizer]) -> tuple[int, float]:
        path = self.out / STATE_FILE
        if not path.exists():
            return 0, 0.0
        state = torch.load(path, weights_only=True)
        self.average.load_state_dict(state["average"])
        self.best, self.n_without_best = state["best"], state["n_without_best"]
        for player in self.task.players:
            player.network.load_state_dict(state["networks"][player.name])
            optimizers[player.name].load_state_dict(state["optimizers"][player.name])
        return state["step"], state["seconds"]


def make_optimizer(config: TrainingConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Optimizer of a configuration; `TrainingConfig` says what its fields mean for each."""
    rate, betas, decay = config.learning_rate, config.betas, config.weight_decay
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=decay)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, betas=betas, weight_decay=decay)
    return torch.optim.RMSprop(parameters, lr=rate, alpha=betas[1], weight_decay=decay)


def read_curve(out: Path) -> list[TrainingRecord]:
    """Records of the run in `out`, oldest first; a repeated step counts once, the last time."""
    by_step = {}
    for line in (out / CURVE_FILE).read_text().splitlines():
        record = TrainingRecord(**json.loads(line))
        by_step[record.step] = record
    return [by_step[step] for step in sorted(by_step)]


def _save_in_one_go(state: object, path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    torch.save(state, partial)
    partial.replace(path)


def _step_seed(seed: int, step: int) -> int:
    return seed * 1_000_003 + step


def _ema_update(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Exponential moving average whose decay rises with the step count, so that it starts unbiased."""

    @torch.no_grad()
    def update(averages: Tensors, values: Tensors, n_averaged: Tensor | int) -> None:
        n = int(n_averaged)
        weight = 1 - min(decay, (1 + n) / (10 + n)) if decay else 1.0
        if averages[0].is_floating_point():  # torch groups the tensors by type before it calls this
            torch._foreach_lerp_(averages, values, weight)
        else:
            torch._foreach_copy_(averages, values)

    return update


def _start_from_(network: nn.Module, name: str) -> None:
    """Load a bundled checkpoint or a file into a network; half precision is widened."""
    bundled = checkpoint_path(name)
    path = bundled if bundled.is_file() else Path(name)
    if not path.is_file():
        raise TrainingError(
            f"start_from must name a bundled checkpoint or a model.safetensors, got {name!r}. "
            f"{bundled} and {path.absolute()} do not exist; correct the name."
        )
    try:
        fill(network, read_checkpoint(path)[0], path)
    except GenCompError as error:
        raise TrainingError(f"start_from {name!r} can't be used: {error}") from None
    network.train().requires_grad_(True)


def _peak_memory_mb(where: torch.device) -> float | None:
    """Most memory so far, in 10⁶ bytes."""
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where) / 1e6
    if sys.platform != "linux":  # other systems count in other units, or not at all
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _check_folder(config: AnyTraining, out: Path) -> None:
    """Refuse a folder that holds another run; fields that an older version did not write have their default."""
    path = out / CONFIG_FILE
    if not path.exists():
        return
    mine = config.model_dump(mode="json")
    defaults = type(config)(steps=config.steps).model_dump(mode="json")  # the one field without a default
    theirs = defaults | json.loads(path.read_text())
    differing = [name for name in mine if theirs.get(name) != mine[name]]
    if differing:
        name = differing[0]
        raise TrainingError(
            f"{out} holds a run with {name} {theirs.get(name)!r}, the configuration says {mine[name]!r}. "
            "Choose another --out, or remove the folder."
        )


def _claim_folder(config: AnyTraining, out: Path) -> None:
    path = out / CONFIG_FILE
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")


def _write_weights(network: nn.Module, path: Path) -> None:
    tensors = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    shape = getattr(network, "config", None)
    metadata = {"network_config": json.dumps(shape.to_dict())} if shape is not None else {}
    partial = path.with_suffix(".partial")
    partial.write_bytes(save(tensors, metadata=metadata))
    partial.replace(path)
