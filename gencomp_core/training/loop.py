"""The training loop: resumable, seeded, the same on one process and on several.

Accelerate (Hugging Face) places the model, shares gradients between processes and autocasts.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gencomp_core.errors import TrainingError
from gencomp_core.records import TrainingRecord
from gencomp_core.runtime_env import device
from gencomp_core.training.config import AnyTraining
from gencomp_core.training.schedules import schedules
from gencomp_core.training.tasks import Task, make_task

STATE_FILE = "state.pt"
CURVE_FILE = "curve.jsonl"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
LOG_EVERY = 50

Tensors = tuple[Tensor, ...] | list[Tensor]


def train(config: AnyTraining, out: Path) -> Iterator[TrainingRecord]:
    """Train the network of `config` into the folder `out`, going on where an earlier run stopped.

    Yields:
        One record per validation and one per 50 steps, as they are made; they are also appended
        to `curve.jsonl`. When the iterator ends, `model.safetensors` holds the averaged weights.

    Raises:
        TrainingError: `out` holds the run of another configuration, or the loss is no longer finite.
    """
    accelerator = Accelerator(
        mixed_precision="bf16" if config.precision == "bf16" else "no", cpu=device().type == "cpu"
    )
    _claim_folder(config, out)
    task = make_task(config)
    optimizer = torch.optim.AdamW(
        task.network.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    average = AveragedModel(task.network, multi_avg_fn=_ema_update(config.ema), use_buffers=True)
    first, seconds = _restore(out, task.network, average, optimizer)
    network, optimizer = accelerator.prepare(task.network, optimizer)
    average.to(accelerator.device)
    per_process = config.batch_size // accelerator.num_processes
    share = slice(accelerator.process_index * per_process, (accelerator.process_index + 1) * per_process)
    rate = schedules[config.schedule]
    started, losses = time.perf_counter() - seconds, []
    for step in range(first, config.steps):
        factor = rate(step, steps=config.steps, warmup=round(config.warmup * config.steps))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        network.train()
        torch.manual_seed(_step_seed(config.seed, step))  # dropout draws from the global stream
        generator = torch.Generator().manual_seed(_step_seed(config.seed, step))
        with accelerator.autocast():
            loss = task.loss(network, step, generator, share)
        optimizer.zero_grad()
        accelerator.backward(loss)
        if config.clip_norm:
            accelerator.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimizer.step()
        average.update_parameters(accelerator.unwrap_model(network))
        losses.append(loss.item())
        done = step + 1
        last = done == config.steps
        figures = {}
        if done % config.validate_every == 0 or last:
            average.eval()
            with torch.no_grad():
                figures = task.validate(average.module)
        if figures or done % LOG_EVERY == 0:
            mean_loss = sum(losses) / len(losses)
            if not torch.isfinite(torch.tensor(mean_loss)):
                raise TrainingError(f"The loss is {mean_loss} at step {done}. Lower learning_rate and resume.")
            losses.clear()
            record = TrainingRecord(
                step=done,
                steps=config.steps,
                seconds=time.perf_counter() - started,
                learning_rate=config.learning_rate * factor,
                loss=mean_loss,
                figures=figures,
            )
            if accelerator.is_main_process:
                _append_record(record, out)
            yield record
        if accelerator.is_main_process and (done % config.save_every == 0 or last):
            elapsed = time.perf_counter() - started
            _save_state(out, done, elapsed, accelerator.unwrap_model(network), average, optimizer)
    if accelerator.is_main_process:
        _save_weights(task, average.module, out)


def read_curve(out: Path) -> list[TrainingRecord]:
    """Records of the run in `out`, oldest first; a repeated step counts once, the last time."""
    by_step = {}
    for line in (out / CURVE_FILE).read_text().splitlines():
        record = TrainingRecord(**json.loads(line))
        by_step[record.step] = record
    return [by_step[step] for step in sorted(by_step)]


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


def _claim_folder(config: AnyTraining, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / CONFIG_FILE
    mine = config.model_dump(mode="json")
    if not path.exists():
        path.write_text(json.dumps(mine, indent=2) + "\n")
        return
    theirs = json.loads(path.read_text())
    differing = [name for name in mine if theirs.get(name) != mine[name]]
    if differing:
        name = differing[0]
        raise TrainingError(
            f"{out} holds a run with {name} {theirs.get(name)!r}, the configuration says {mine[name]!r}. "
            "Choose another --out, or remove the folder."
        )


def _restore(
    out: Path, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    path = out / STATE_FILE
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["seconds"]


def _save_state(
    out: Path, step: int, seconds: float, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer
) -> None:
    state = {
        "step": step,
        "seconds": seconds,
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    partial = out / f"{STATE_FILE}.partial"
    torch.save(state, partial)
    partial.replace(out / STATE_FILE)


def _append_record(record: TrainingRecord, out: Path) -> None:
    with (out / CURVE_FILE).open("a") as stream:
        stream.write(json.dumps(record.to_dict()) + "\n")


def _save_weights(task: Task, network: nn.Module, out: Path) -> None:
    network.eval()
    task.finish(network)
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    shape = getattr(network, "config", None)
    metadata = {"network_config": json.dumps(shape.to_dict())} if shape is not None else {}
    partial = out / f"{WEIGHTS_FILE}.partial"
    partial.write_bytes(save(tensors, metadata=metadata))
    partial.replace(out / WEIGHTS_FILE)
