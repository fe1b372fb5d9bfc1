"""The training loop against plain torch and closed forms, on a network whose gradient is known."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gencomp_core.errors import TrainingError
from gencomp_core.training import loop
from gencomp_core.training.config import TextTraining, TrainingConfig
from gencomp_core.training.loop import (
    CONFIG_FILE,
    CURVE_FILE,
    STATE_FILE,
    WEIGHTS_FILE,
    _ema_update,
    _Run,
    make_optimizer,
    read_curve,
    train,
)
from gencomp_core.training.task import Player
from gencomp_core.workloads.checkpoints import checkpoint_path

BUNDLED = "verses-transformer"


def inputs(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    return torch.randn(4, 3, generator=generator), torch.randn(4, 2, generator=generator)


class Line(nn.Module):
    """y = x W; its loss Σ y · slope has the gradient xᵀ slope, whatever W is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 2))
        self.register_buffer("n_calls", torch.zeros((), dtype=torch.int64))
        self.outputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.n_calls += 1
        y = x @ self.weight
        self.outputs.append(y.detach())
        return y


class LineTask:
    """One player; validation says nothing."""

    def __init__(self, config: TrainingConfig) -> None:
        torch.manual_seed(config.seed)
        self.network = Line()
        self.players = (Player("network", self.network, self.loss),)

    def loss(self, networks: Mapping[str, nn.Module], step: int, generator: torch.Generator, share: slice) -> Tensor:
        x, slope = inputs(step)
        return (networks["network"](x).float() * slope).sum()

    def validate(self, network: nn.Module) -> dict[str, float]:
        return {"loss": 0.0}

    def badness(self, figures: Mapping[str, float]) -> float:
        return figures["loss"]

    def finish(self, network: nn.Module) -> None:
        pass


@pytest.fixture(autouse=True)
def _accelerate_anew() -> Iterator[None]:
    """Accelerate fixes the precision once a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "make_task", LineTask)


def config(**fields: object) -> TextTraining:
    plain = {"steps": 20, "batch_size": 4, "precision": "fp32", "warmup": 0, "schedule": "constant"}
    return TextTraining.model_validate(plain | fields)


def gradient(step: int) -> Tensor:
    x, slope = inputs(step)
    return x.T @ slope


def weights_after(config: TextTraining, out: Path, n_steps: int) -> tuple[_Run, list[Tensor]]:
    run = _Run(config, out)
    weights = []
    for step in range(n_steps):
        run.step(step)
        weights.append(run.task.network.state_dict()["weight"].clone())
    return run, weights


# --- optimizers, against the formulas of their papers


def adam(weight: Tensor, rate: float, betas: tuple[float, float], decoupled: float, coupled: float) -> Tensor:
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for t in range(1, 6):
        slope = gradient(t - 1).double() + coupled * weight
        weight = weight - rate * decoupled * weight
        mean = betas[0] * mean + (1 - betas[0]) * slope
        square = betas[1] * square + (1 - betas[1]) * slope**2
        weight = weight - rate * (mean / (1 - betas[0] ** t)) / ((square / (1 - betas[1] ** t)).sqrt() + 1e-8)
    return weight


def rmsprop(weight: Tensor, rate: float, beta: float, coupled: float) -> Tensor:
    square = torch.zeros_like(weight)
    for t in range(5):
        slope = gradient(t).double() + coupled * weight
        square = beta * square + (1 - beta) * slope**2
        weight = weight - rate * slope / (square.sqrt() + 1e-8)
    return weight


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "rmsprop"])
@pytest.mark.usefixtures("line")
def test_optimizers_follow_their_papers_and_weight_decay_is_decoupled_for_adamw_alone(
    tmp_path: Path, optimizer: str, decay: float
) -> None:
    chosen = config(optimizer=optimizer, learning_rate=0.1, betas=(0.8, 0.95), weight_decay=decay, clip_norm=0)
    start = LineTask(chosen).network.weight.detach().double()
    expected = {
        "adamw": adam(start, 0.1, (0.8, 0.95), decoupled=decay, coupled=0),
        "adam": adam(start, 0.1, (0.8, 0.95), decoupled=0, coupled=decay),
        "rmsprop": rmsprop(start, 0.1, 0.95, coupled=decay),
    }
    _, weights = weights_after(chosen, tmp_path, 5)
    torch.testing.assert_close(weights[-1].double(), expected.pop(optimizer), rtol=0, atol=1e-5)
    assert all((weights[-1] - other).abs().max() > 1e-3 for other in expected.values() if decay)


def test_the_default_optimizer_is_adamw() -> None:
    assert type(make_optimizer(config(), [nn.Parameter(torch.zeros(1))])) is torch.optim.AdamW


# --- the rate, clipping, precision, average


@pytest.mark.parametrize(
    ("schedule", "step", "factor"),
    [
        ("cosine", 0, 1 / 10),
        ("cosine", 4, 5 / 10),
        ("cosine", 10, 1.0),
        ("cosine", 55, 0.5),
        ("cosine", 85, 0.5 * (1 + math.cos(math.pi * 75 / 90))),
        ("inverse-sqrt", 39, 0.5),
        ("constant", 99, 1.0),
    ],
)
@pytest.mark.usefixtures("line")
def test_the_optimizer_gets_the_rate_of_the_schedule_after_a_warm_up_of_a_tenth(
    tmp_path: Path, schedule: str, step: int, factor: float
) -> None:
    run = _Run(config(steps=100, warmup=0.1, schedule=schedule, learning_rate=0.02), tmp_path)
    run.step(step)
    assert run.optimizers["network"].param_groups[0]["lr"] == pytest.approx(0.02 * factor)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1e6])
@pytest.mark.usefixtures("line")
def test_a_gradient_longer_than_the_clip_norm_is_scaled_to_it_and_others_are_left_alone(
    tmp_path: Path, clip_norm: float
) -> None:
    run, _ = weights_after(config(clip_norm=clip_norm), tmp_path, 1)
    found, known = run.task.network.weight.grad, gradient(0)
    torchs = nn.Parameter(torch.zeros(3, 2))
    torchs.grad = known.clone()
    if clip_norm:
        nn.utils.clip_grad_norm_([torchs], clip_norm)
    norm = known.norm().item()
    assert norm > 0.5
    torch.testing.assert_close(found, torchs.grad)
    torch.testing.assert_close(found, known * (clip_norm / norm if clip_norm == 0.5 else 1.0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
@pytest.mark.usefixtures("line")
def test_autocast_multiplies_in_the_stated_precision_and_keeps_weights_and_gradients_in_float32(
    tmp_path: Path, precision: str, dtype: torch.dtype
) -> None:
    chosen = config(precision=precision)
    start = LineTask(chosen).network.weight.detach()
    run, weights = weights_after(chosen, tmp_path, 1)
    network = run.task.network
    assert isinstance(network, Line)
    assert torch.equal(network.outputs[0], inputs(0)[0].to(dtype) @ start.to(dtype))
    assert network.outputs[0].dtype == dtype
    assert network.weight.grad.dtype == weights[0].dtype == torch.float32


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
@pytest.mark.usefixtures("line")
def test_the_average_starts_at_the_first_weights_and_forgets_with_a_rising_decay(tmp_path: Path, decay: float) -> None:
    run, weights = weights_after(config(ema=decay, learning_rate=0.3), tmp_path, 12)
    expected = weights[0].double()
    for n, weight in enumerate(weights[1:], start=1):
        kept = min(decay, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * weight.double()
    averaged = run.average.module.state_dict()
    torch.testing.assert_close(averaged["weight"].double(), expected, rtol=0, atol=1e-5)
    assert averaged["n_calls"] == 12
    if not decay:
        assert torch.equal(averaged["weight"], weights[-1])


def test_late_in_a_run_the_average_is_the_geometric_sum_of_the_weights() -> None:
    values = [torch.randn(5, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(8)]
    average = [torch.ones(5, dtype=torch.float64)]
    for n, value in enumerate(values, start=10_000):
        _ema_update(0.9)(average, [value], n)
    expected = 0.9**8 + sum(0.1 * 0.9 ** (7 - i) * value for i, value in enumerate(values))
    torch.testing.assert_close(average[0], expected)


@pytest.mark.usefixtures("line")
def test_with_all_switches_off_a_run_is_plain_torch_to_the_last_bit(tmp_path: Path) -> None:
    chosen = config(precision="bf16", warmup=0.25, schedule="cosine", clip_norm=1.0, seed=5)
    torch.manual_seed(5)
    plain = Line()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    for step in range(8):
        factor = (step + 1) / 5 if step < 5 else 0.5 * (1 + math.cos(math.pi * (step - 5) / 15))
        optimizer.param_groups[0]["lr"] = 1e-3 * factor
        x, slope = inputs(step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = (plain(x).float() * slope).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
    _, weights = weights_after(chosen, tmp_path, 8)
    assert torch.equal(weights[-1], plain.weight)


# --- starting from trained weights


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "start" / WEIGHTS_FILE
    path.parent.mkdir()
    tensors = {"weight": torch.arange(6.0).view(3, 2).half() / 7, "n_calls": torch.tensor(40)}
    save_file(tensors, path)
    return path


@pytest.mark.usefixtures("line")
def test_a_run_starts_from_given_weights_widened(tmp_path: Path, checkpoint: Path) -> None:
    run = _Run(config(start_from=str(checkpoint)), tmp_path)
    expected = load_file(checkpoint)["weight"].float()
    for network in (run.task.network, run.average.module):
        assert network.weight.dtype == torch.float32
        assert torch.equal(network.weight, expected)
        assert network.n_calls == 40
    run.step(0)
    assert not torch.equal(run.task.network.weight, expected)  # it learns
    assert not torch.equal(_Run(config(), tmp_path).task.network.weight, expected)


@pytest.mark.usefixtures("line")
def test_the_average_counts_the_given_weights_as_its_first_value(tmp_path: Path, checkpoint: Path) -> None:
    run, weights = weights_after(config(start_from=str(checkpoint), learning_rate=0.3, ema=0.5), tmp_path, 12)
    expected = load_file(checkpoint)["weight"].double()
    for n, weight in enumerate(weights, start=1):
        kept = min(0.5, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * weight.double()
    torch.testing.assert_close(run.average.module.weight.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("line")
def test_a_run_that_goes_on_no_longer_needs_the_weights_it_started_from(tmp_path: Path, checkpoint: Path) -> None:
    chosen = config(start_from=str(checkpoint), steps=4, save_every=1, validate_every=1)
    straight = list(train(chosen, tmp_path / "straight"))
    for _ in zip(range(2), train(chosen, tmp_path / "cut"), strict=False):
        pass
    assert torch.load(tmp_path / "cut" / STATE_FILE, weights_only=True)["step"] == 2
    checkpoint.unlink()
    assert [record.step for record in train(chosen, tmp_path / "cut")] == [3, 4]
    assert len(straight) == 4
    assert (tmp_path / "cut" / WEIGHTS_FILE).read_bytes() == (tmp_path / "straight" / WEIGHTS_FILE).read_bytes()


def test_a_bundled_checkpoint_is_found_by_its_name(tmp_path: Path) -> None:
    run = _Run(config(start_from=BUNDLED), tmp_path)
    bundled = load_file(checkpoint_path(BUNDLED))
    assert {value.dtype for value in bundled.values()} == {torch.float16}
    for name, value in run.average.module.state_dict().items():
        assert torch.equal(value, bundled[name].float())
    assert all(parameter.requires_grad for parameter in run.task.network.parameters())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("verses-transfomer", r"start_from must name a bundled checkpoint or a model\.safetensors, got 'verses-tran"),
        ("fashion-vae", "start_from 'fashion-vae' can't be used: .* holds another network: Missing key"),
    ],
)
@pytest.mark.usefixtures("line")
def test_weights_that_do_not_exist_or_fit_are_one_line_and_claim_no_folder(
    tmp_path: Path, name: str, message: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match=message) as raised:
        list(train(config(start_from=name), out))
    assert "\n" not in str(raised.value)
    assert not out.exists()


# --- the curve and the folder


@pytest.mark.usefixtures("line")
def test_the_curve_says_the_peak_of_the_memory(tmp_path: Path) -> None:
    (record,) = train(config(steps=1), tmp_path)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak_kb = int(status["VmHWM"].removesuffix("kB"))
    assert record.peak_memory_mb == pytest.approx(peak_kb * 1024 / 1e6, rel=0.01)
    assert read_curve(tmp_path)[0].peak_memory_mb == record.peak_memory_mb


@pytest.mark.usefixtures("line")
def test_a_curve_from_before_memory_was_recorded_can_be_read(tmp_path: Path) -> None:
    list(train(config(steps=1), tmp_path))
    old = json.loads((tmp_path / CURVE_FILE).read_text())
    del old["peak_memory_mb"]
    (tmp_path / CURVE_FILE).write_text(json.dumps(old) + "\n")
    assert read_curve(tmp_path)[0].peak_memory_mb is None


def forget(out: Path, *names: str) -> None:
    path = out / CONFIG_FILE
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in fields.items() if name not in names}))


@pytest.mark.usefixtures("line")
def test_a_run_from_before_a_switch_goes_on_while_the_switch_has_its_default(tmp_path: Path) -> None:
    list(train(config(steps=1), tmp_path))
    forget(tmp_path, "optimizer", "start_from", "curriculum", "betas")
    assert list(train(config(steps=1), tmp_path)) == []
    with pytest.raises(TrainingError, match=r"holds a run with optimizer 'adamw', the configuration says 'rmsprop'"):
        list(train(config(steps=1, optimizer="rmsprop"), tmp_path))


@pytest.mark.usefixtures("line")
def test_a_field_that_an_old_run_did_write_is_still_compared(tmp_path: Path) -> None:
    list(train(config(steps=1, ema=0.5), tmp_path))
    forget(tmp_path, "optimizer")
    with pytest.raises(TrainingError, match=r"holds a run with ema 0\.5, the configuration says 0\.999"):
        list(train(config(steps=1), tmp_path))
