"""What tuning keeps, what it changes, and what it does after a kill."""

import copy
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import to_rows, weight_layers, weight_of
from gencomp_core.compression.quantizers import quantize_weight
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.formats import FloatFormat, IntegerFormat, NumberFormat
from gencomp_core.recovery import tuning
from gencomp_core.recovery.grids import grid_of
from gencomp_core.variant import compress, compression_steps
from gencomp_core.workloads.calibration import CalibrationBatch
from tests.made_training import Drawn, all_same, held_out, reloaded, tuned
from tests.tiny import (
    Bare,
    Made,
    TinyGAN,
    TinyVAE,
    activations,
    noise,
    on_noise,
    pruning,
    quantization,
    randomise_,
    recipe,
    same_bits,
)


def qat(steps: int = 12, **fields: object) -> dict[str, object]:
    """Plain form of a stage of quantization-aware training."""
    return {**tuned(steps), "kind": "quantization-aware-training", **fields}


BEFORE: dict[str, list[dict[str, Any]]] = {
    "dense": [],
    "unstructured zeros": [pruning(0.6)],
    "two of four": [{"kind": "magnitude-pruning", "pattern": "2:4"}],
    "sparsegpt": [{"kind": "sparsegpt-pruning", "sparsity": 0.5, "calibration_samples": 8}],
    "channels gone": [{"kind": "channel-pruning", "pruning_ratio": 0.5, "refit": False}],
    "two thin layers": [{"kind": "low-rank-factorization", "rank": 2, "weighting": "none"}],
    "integers": [quantization(3)],
    "affine groups": [quantization(4, symmetric=False, group_size=8)],
    "gptq": [quantization(3, rounding="gptq", calibration_samples=8)],
    "signs": [quantization(1)],
    "ternary": [quantization(2, clipping="ternary")],
    "short floats": [{"kind": "float-format", "format": "float8_e4m3fn"}],
    "zeros, then integers": [pruning(0.5), quantization(4)],
    "integers, then zeros": [quantization(4), pruning(0.5)],
    "zeros, then signs": [pruning(0.5), quantization(1)],
    "integers everywhere": [quantization(4), activations(8, calibration_samples=8, keep_ends=False)],
    "smoothed": [{"kind": "smooth-quant", "calibration_samples": 8}, quantization(4)],
}
of_draft = pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)


@of_draft
def test_it_gets_better_and_the_file_holds_exactly_what_ran(before: list[dict[str, Any]]) -> None:
    variant = compress(Drawn(), recipe(*before, tuned(30, distillation=0)))
    figures = held_out(variant)
    assert min(figures) < figures[0]
    assert all_same(reloaded(variant), variant.model)
    start = compress(Drawn(), recipe(*before))
    assert variant.changes == start.changes
    assert variant.quantized.keys() == start.quantized.keys()
    for name, own in variant.quantized.items():
        assert same_bits(own.dequantize(), weight_of(weight_layers(variant.model)[name]))
        assert own.format == start.quantized[name].format
        assert same_bits(own.scale, start.quantized[name].scale)


@of_draft
def test_pruned_weights_stay_zero_and_no_others_do(before: list[dict[str, Any]]) -> None:
    start, variant = (compress(Drawn(), recipe(*before, *more)) for more in ([], [tuned()]))
    draft = Draft.of(Drawn())  # type: ignore[arg-type]
    pruned = any("pruning" in stage["kind"] and "channel" not in stage["kind"] for stage in before)
    for name, layer in weight_layers(variant.model).items():
        dead = weight_of(weight_layers(start.model)[name]) == 0
        if pruned and not (start.quantized and name in start.quantized):
            assert torch.equal(weight_of(layer) == 0, dead), name
            assert bool(dead.any())
        if not before:
            assert not bool((weight_of(layer) == 0).any())
    assert draft.pruned == set()


def test_integers_of_pruned_weights_are_zero_and_others_may_leave_it() -> None:
    for stages in ([pruning(0.5), quantization(3)], [quantization(3), pruning(0.5)]):
        only_pruned = compress(Drawn(), recipe(pruning(0.5)))
        variant = compress(Drawn(), recipe(*stages, tuned(30)))
        for name, layer in weight_layers(variant.model).items():
            n_zero = float((weight_of(layer) == 0).float().mean())
            assert n_zero >= 0.49, name
            assert n_zero < 0.9, name
            if stages[0]["kind"] == "magnitude-pruning":
                dead = weight_of(weight_layers(only_pruned.model)[name]) == 0
                assert bool((weight_of(layer)[dead] == 0).all()), name


@of_draft
def test_a_rate_that_ruins_it_leaves_it_bit_for_bit_as_it_was(before: list[dict[str, Any]]) -> None:
    start = compress(Drawn(), recipe(*before))
    variant = compress(Drawn(), recipe(*before, tuned(4, learning_rate=1.0, distillation=0)))
    assert min(held_out(variant)) == held_out(variant)[0]
    assert all_same(variant.model, start.model)
    assert all(torch.equal(own.codes, start.quantized[name].codes) for name, own in variant.quantized.items())


def test_the_best_check_is_kept_not_the_last() -> None:
    variant = compress(Drawn(), recipe(pruning(0.6), tuned(40, checks=8, learning_rate=0.05, batch_size=2)))
    figures, workload = held_out(variant), Drawn()
    batches = [b for seed in range(4) for b in workload.loss_batches(2, seed=6_000_000 + seed)]
    with torch.no_grad():
        again = sum(float(batch.run(variant.model)) for batch in batches) / len(batches)
    assert again == pytest.approx(min(figures), rel=1e-5)
    assert figures[-1] != min(figures)


def test_it_is_the_same_every_time_and_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    stages = recipe(pruning(0.5), quantization(4), activations(8, calibration_samples=8), qat())
    variants = []
    for n in (1, 2):
        monkeypatch.setenv("GENCOMP_HOME", str(home / str(n)))
        torch.set_num_threads(n)
        try:
            variants.append(compress(Drawn(), stages))
        finally:
            torch.set_num_threads(1)
    assert all_same(variants[0].model, variants[1].model)
    monkeypatch.setenv("GENCOMP_HOME", str(home / "other"))
    assert not all_same(compress(Drawn(), stages, seed=1).model, variants[0].model)


def test_nothing_else_is_touched() -> None:
    workload, random = Drawn(), torch.random.get_rng_state()
    before = copy.deepcopy(workload.model)
    variant = compress(workload, recipe(pruning(0.5), activations(8, calibration_samples=8), qat()))
    assert all_same(workload.model, before)
    assert torch.equal(torch.random.get_rng_state(), random)
    for network in (workload.model, variant.model):
        assert not any(own.requires_grad or own.grad is not None for own in network.parameters())
        assert not network.training
    hooks = [hook for m in variant.model.modules() for hook in m._forward_pre_hooks.values()]
    assert {type(hook).__name__ for hook in hooks} == {"InputQuantizer"}
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in workload.model.modules())


@pytest.mark.parametrize("kill_at", [2, 7])
@pytest.mark.parametrize("stage", [tuned(), qat()], ids=["fine-tune", "qat"])
def test_it_goes_on_where_it_was_stopped(
    stage: dict[str, object], kill_at: int, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    stages = recipe(pruning(0.5), quantization(4), activations(8, calibration_samples=8), stage)
    whole = compress(Drawn(), stages)
    monkeypatch.setenv("GENCOMP_HOME", str(home / "killed"))
    monkeypatch.setattr(tuning, "SAVE_EVERY_S", 0.0)
    steps = compression_steps(Drawn(), stages)
    for _ in itertools.islice(steps, kill_at):
        pass
    steps.close()
    done = []
    step = tuning._Run._step_
    monkeypatch.setattr(tuning._Run, "_step_", lambda self, n: (done.append(n), step(self, n)))
    again = compress(Drawn(), stages)
    assert done == list(range(kill_at, 12))
    assert all_same(again.model, whole.model)
    assert held_out(again) == held_out(whole)


def test_it_goes_on_after_sigkill(home: Path) -> None:
    script = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from gencomp_core.recovery import tuning; tuning.SAVE_EVERY_S = 0.0\n"
        "from gencomp_core.variant import compression_steps\n"
        "from tests.made_training import Drawn, tuned; from tests.tiny import pruning, recipe\n"
        "for progress in compression_steps(Drawn(), recipe(pruning(0.5), tuned(100_000))):\n"
        "    print(progress.done, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout is not None
    assert int(process.stdout.readline()) > 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    steps = compression_steps(Drawn(), recipe(pruning(0.5), tuned(100_000)))
    began = time.monotonic()
    assert next(steps).done > 1000
    assert time.monotonic() - began < 60
    steps.close()


def test_a_finished_tuning_is_read_back_and_a_damaged_one_is_made_again(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    stages = recipe(pruning(0.5), quantization(4), tuned(), activations(8, calibration_samples=8))
    first = compress(Drawn(), stages)
    (result,) = home.glob("recovery/*/result.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(tuning._Run, "steps", None)  # tuning again would fail
        second = compress(Drawn(), stages)
    assert all_same(first.model, second.model)
    assert held_out(first) == held_out(second)
    content = bytearray(result.read_bytes())
    content[-5] ^= 1
    result.write_bytes(content)
    assert all_same(compress(Drawn(), stages).model, first.model)
    assert bytes(content) != result.read_bytes()
    result.with_name("state.pt").write_bytes(b"PK damaged")
    result.unlink()
    assert all_same(compress(Drawn(), stages).model, first.model)


def test_everything_before_the_stage_counts_for_what_is_read_back(home: Path) -> None:
    for before in ([], [pruning(0.5)], [pruning(0.6)], [quantization(4)], [quantization(4), pruning(0.5)]):
        compress(Drawn(), recipe(*before, tuned(1)))
    compress(Drawn(), recipe(tuned(1)), seed=1)
    compress(Drawn("another"), recipe(tuned(1)))
    assert len(list(home.glob("recovery/*/result.safetensors"))) == 7


def test_progress_counts_the_steps_and_says_how_it_goes() -> None:
    seen = list(compression_steps(Drawn(), recipe(pruning(0.5), tuned(6))))
    assert [progress.done for progress in seen] == [1, 2, 3, 4, 5, 6]
    assert {progress.total for progress in seen} == {6}
    assert "held-out" in seen[-1].what


def test_low_rank_additions_are_merged() -> None:
    variant = compress(Drawn(), recipe(tuned(trainable="low-rank", rank=2)))
    dense = weight_layers(Drawn().model)
    for name, layer in weight_layers(variant.model).items():
        if not isinstance(layer, nn.Embedding):
            transposed = isinstance(layer, nn.ConvTranspose2d)
            change = to_rows(weight_of(layer) - weight_of(dense[name]), transposed=transposed)
            assert torch.linalg.matrix_rank(change, rtol=1e-3) == 2, name
    assert all_same(reloaded(variant), variant.model)


def test_norms_and_biases_leave_weights_alone() -> None:
    variant = compress(Drawn(), recipe(quantization(3), tuned(trainable="norms-and-biases")))
    start = compress(Drawn(), recipe(quantization(3)))
    layers = weight_layers(start.model)
    for name, layer in weight_layers(variant.model).items():
        assert same_bits(weight_of(layer), weight_of(layers[name]))
    assert not torch.equal(variant.model.norm.weight, start.model.norm.weight)  # type: ignore[union-attr,arg-type]
    assert held_out(variant)[-1] < held_out(variant)[0]


def test_skipped_layers_and_norms_stay() -> None:
    skip = {"conv": {"skip": True}, "norm": {"skip": True}, "w*": {"skip": True}}
    own = compress(Drawn(), recipe(tuned(layers=skip))).model.state_dict()
    dense = Drawn().model.state_dict()
    changed = {name for name, value in dense.items() if not same_bits(value, own[name])}
    assert {name for name in changed if "running" not in name and "tracked" not in name} == {
        "up.weight", "up.bias", "narrow.weight", "narrow.bias",
    }  # fmt: skip


def test_the_teacher_alone_pulls_outputs_back_to_dense() -> None:
    workload = Drawn()
    x = workload.inputs(64, 99, 0)

    def distance(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(x) - workload.model(x)).square().mean())

    damaged = compress(workload, recipe(pruning(0.6)))
    data, teacher = (
        compress(workload, recipe(pruning(0.6), tuned(60, distillation=weight, checks=1))) for weight in (0.0, 1.0)
    )
    assert distance(data.model) > distance(damaged.model)
    features = compress(workload, recipe(pruning(0.6), tuned(60, distillation=1.0, match="features", checks=1)))
    # Held-out data are the workload's own, which the teacher does not fit: what is kept may be the start.
    assert distance(teacher.model) <= distance(damaged.model)
    assert distance(features.model) <= distance(damaged.model)


def test_scales_and_ranges_are_learned_and_stored_as_they_ran() -> None:
    before = [quantization(3), activations(4, calibration_samples=8, keep_ends=False)]
    start = compress(Drawn(), recipe(*before))
    learned = compress(Drawn(), recipe(*before, qat(40)))
    kept = compress(Drawn(), recipe(*before, qat(40, scales="kept", ranges="kept")))
    observed = compress(Drawn(), recipe(*before, qat(40, ranges="observed")))
    buffers = {
        name: {key: own for key, own in variant.model.state_dict().items() if "input_quantization" in key}
        for name, variant in (("start", start), ("learned", learned), ("kept", kept), ("observed", observed))
    }
    for key, value in buffers["start"].items():
        assert same_bits(buffers["kept"][key], value)
        assert not same_bits(buffers["learned"][key], value)
        assert not same_bits(buffers["observed"][key], value)
        assert torch.equal(buffers["learned"][key][:, 1], value[:, 1])  # zero points stay
    for name, own in start.quantized.items():
        assert same_bits(kept.quantized[name].scale, own.scale)
        assert not same_bits(learned.quantized[name].scale, own.scale)
    for variant in (learned, kept, observed):
        assert held_out(variant)[-1] < held_out(variant)[0]
        assert all_same(reloaded(variant), variant.model)


FORMATS: list[NumberFormat] = [
    *(IntegerFormat(bits, symmetric) for bits in (1, 2, 3, 8) for symmetric in (True, False)),
    *(FloatFormat(name) for name in ("float16", "bfloat16", "float8_e4m3fn", "nf4")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("number", FORMATS, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_training_starts_from_the_very_codes(number: NumberFormat, transposed: bool) -> None:
    weight = 0.2 * noise(6, 5, 3, seed=3)
    quantized = quantize_weight(weight, number, transposed=transposed)
    grid = grid_of(quantized, learn_scale=True)
    for origin in (weight, 5 * noise(6, 5, 3, seed=4)):  # also from weights that would be rounded to other codes
        start = grid.start(origin)
        assert torch.equal(grid.value(start), quantized.dequantize())
        assert torch.equal(grid.quantized(start).codes, quantized.codes)
    moved = grid.start(weight) + 0.05 * noise(6, 5, 3, seed=5)
    assert torch.equal(grid.value(moved), grid.quantized(moved).dequantize())


def test_without_a_loss_it_says_what_is_missing() -> None:
    with pytest.raises(RecipeError, match="tiny-layers has no training loss, which fine-tune needs.*loss_batches"):
        compress(Bare(), recipe(tuned()))  # type: ignore[arg-type]


def test_outputs_without_gradients_can_not_be_distilled() -> None:
    class Closed(Drawn):
        def forward_batches(self, n: int, *, seed: int) -> Iterator[CalibrationBatch]:
            for batch in super().forward_batches(n, seed=seed):
                yield CalibrationBatch("all", {}, lambda model, run=batch.run: run(model).detach())

    with pytest.raises(RecipeError, match="closed can't be distilled.*distillation: 0"):
        compress(Closed("closed"), recipe(tuned()))
    assert compress(Closed("closed"), recipe(tuned(2, distillation=0))).curves


def test_quantization_aware_training_needs_something_quantized() -> None:
    with pytest.raises(RecipeError, match="must come after a stage that quantizes.*Put a weight-quantization"):
        compress(Drawn(), recipe(qat()))


def test_a_loss_that_is_no_number_ends_it_with_one_line() -> None:
    workload = Made(randomise_(nn.Sequential(nn.Linear(4, 4)), 0), torch.full((2, 4), 1e38))
    with pytest.raises(RecipeError, match="fine-tune: the loss must be finite, got inf at step 1. Lower learning_rate"):
        compress(workload, recipe(tuned(distillation=0)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 4}, "must have no rank when trainable is 'all', got 4"),
        ({"distillation": 0, "match": "features"}, "must have distillation above 0 when match is 'features'"),
        ({"layers": {"a": {"steps": 3}}}, "may not change 'steps'"),
        ({"steps": 0}, "steps"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe({**tuned(), **fields})


def test_the_prior_of_a_vae_follows_its_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    variant = compress(TinyVAE(), recipe(quantization(4), tuned(4, learning_rate=1e-3, checks=1)))
    assert len(held_out(variant)) == 2
    changed = not torch.equal(variant.model.prior_mean, TinyVAE().model.prior_mean)  # type: ignore[union-attr,arg-type]
    assert changed == (held_out(variant)[1] < held_out(variant)[0])


def test_the_critic_is_tuned_along_and_goes_on_after_a_stop(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    from gencomp_core.recovery import image_lessons
    from gencomp_core.workloads.fashion import fashion_critic

    monkeypatch.setattr(image_lessons, "N_HELD_OUT_SAMPLES", 100)
    monkeypatch.setattr(tuning, "SAVE_EVERY_S", 0.0)
    before = copy.deepcopy(fashion_critic())
    stages = recipe(pruning(0.5), tuned(3, learning_rate=1e-3, checks=1))
    whole = compress(TinyGAN(), stages)
    monkeypatch.setenv("GENCOMP_HOME", str(home / "killed"))
    steps = compression_steps(TinyGAN(), stages)
    next(steps)
    steps.close()
    again = compress(TinyGAN(), stages)
    assert held_out(again) == held_out(whole)
    assert all_same(again.model, whole.model)
    assert all_same(fashion_critic(), before)


def test_any_module_in_a_sequence_can_be_tuned() -> None:
    workload = on_noise(nn.Sequential(nn.Conv1d(3, 4, 3), nn.GELU(), nn.Conv1d(4, 3, 3)), 3, 9)
    assert held_out(compress(workload, recipe(quantization(2), tuned(30, distillation=0))))[-1] >= 0
