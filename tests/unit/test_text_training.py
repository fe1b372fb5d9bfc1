"""Batches of verse pairs, the smoothed loss of the encoder–decoder, and the switches of the text task."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.data.verses import BOS, EOS, MASK, PAD, load_tokenizer, load_verses
from gencomp_core.models import decoding
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.training import text_task
from gencomp_core.training.batches import TextBatches, competence
from gencomp_core.training.config import TextTraining
from gencomp_core.training.loop import _Run
from gencomp_core.training.reinforcement import rewards
from gencomp_core.training.tasks import make_task
from gencomp_core.training.text_task import DAMAGE, TextTask
from gencomp_core.workloads.checkpoints import checkpoint_path, read_checkpoint


def batches(n: int = 203, batch_size: int = 10, seed: int = 0) -> TextBatches:
    rows = [[5 + i] * (1 + i % 17) for i in range(n)]
    return TextBatches(rows, [[BOS, *row, EOS] for row in rows], batch_size, seed)


def members(source: torch.Tensor) -> set[int]:
    return set(source[:, 0].tolist())


def test_an_epoch_holds_each_pair_at_most_once_and_leaves_less_than_a_batch() -> None:
    drawn = [members(batches().draw(step)[0]) for step in range(20)]
    assert sum(map(len, drawn)) == len(set.union(*drawn)) == 200


def test_a_step_is_the_same_whatever_was_drawn_before() -> None:
    used = batches()
    for step in (0, 33, 7):
        used.draw(step)
    assert torch.equal(used.draw(12)[0], batches().draw(12)[0])
    assert not torch.equal(batches().draw(12)[1], batches(seed=1).draw(12)[1])


def test_source_and_target_belong_together_and_padding_is_small() -> None:
    source, target = batches().draw(3)
    assert torch.equal(source[:, 0], target[:, 1])
    assert all(row[0] == BOS and (row == EOS).sum() == 1 for row in target)
    assert (source == PAD).float().mean() < 0.4


def test_in_order_gives_every_pair_once_with_its_position() -> None:
    seen = {}
    for index, source, _ in batches().in_order():
        seen |= dict(zip(index, source[:, 0].tolist(), strict=True))
    assert seen == {i: 5 + i for i in range(203)}


def test_fewer_pairs_than_a_batch_are_one_batch() -> None:
    assert len(batches(n=4).draw(0)[0]) == 4
    assert len(batches(n=4).draw(5)[0]) == 4


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_without_copying_the_loss_is_torch_s_label_smoothing(smoothing: float) -> None:
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(vocabulary=23, dim=32, n_heads=2, encoder_layers=1, decoder_layers=1)).eval()
    with torch.no_grad():
        model.copy_gate.weight.zero_()
        model.copy_gate.bias.fill_(60.0)  # never copy
    source, target = torch.randint(5, 23, (3, 6)), torch.randint(5, 23, (3, 7))
    log_probs, uniform = model(source, target, with_uniform=True)
    ours = -((1 - smoothing) * log_probs + smoothing * uniform).mean()
    state = model.start(source)
    hidden, _ = model.advance(target[:, :-1], state)
    logits = F.linear(hidden, model.embedding.weight)
    theirs = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), label_smoothing=smoothing)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


# --- curriculum


def test_competence_rises_with_the_root_of_the_step() -> None:
    assert competence(0, steps=100) == pytest.approx(0.1)
    assert competence(25, steps=100) == pytest.approx(math.sqrt(0.25 * 0.99 + 0.01))
    assert competence(50, steps=100) == pytest.approx(math.sqrt(0.505))
    assert [competence(step, steps=100) for step in (100, 101, 10**6)] == [1, 1, 1]
    assert competence(0, steps=0) == 1  # no curriculum


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lengths(target: Tensor) -> Tensor:
    return (target != PAD).sum(dim=1)


@pytest.mark.parametrize("share", [0.1, 0.35, 0.8, 1.0])
def test_easy_batches_hold_all_pairs_up_to_the_quantile_of_the_length_equally_often(share: float) -> None:
    pairs = batches()
    all_lengths = torch.tensor([len(ids) for ids in pairs.target])
    longest = all_lengths.sort().values[math.ceil(share * 203) - 1]
    admitted = {5 + i for i in range(203) if all_lengths[i] <= longest}
    times = torch.zeros(208)
    for seed in range(3000):
        source, target = pairs.draw_easy(share, generator(seed))
        assert len(source) == len(members(source)) == 10
        assert torch.equal(source[:, 0], target[:, 1])
        times[source[:, 0]] += 1
    drawn = {i for i in range(208) if times[i]}
    assert drawn == admitted
    expected = 30_000 / len(admitted)
    assert (times[sorted(admitted)] / expected - 1).abs().max() < 0.35


def test_an_easy_batch_depends_on_its_generator_alone_and_has_little_padding() -> None:
    used = batches(n=2000)
    used.draw(7)
    first = used.draw_easy(0.5, generator(3))
    assert torch.equal(first[1], batches(n=2000).draw_easy(0.5, generator(3))[1])
    assert not torch.equal(first[0], used.draw_easy(0.5, generator(4))[0])
    padding = [(used.draw_easy(1.0, generator(seed))[0] == PAD).float().mean().item() for seed in range(50)]
    assert sum(padding) / 50 < 0.15


def test_easy_batches_of_fewer_pairs_than_a_batch_are_all_of_them() -> None:
    assert len(batches(n=4).draw_easy(0.1, generator())[0]) == 4
    assert len(batches(n=12).draw_easy(0.1, generator())[0]) == 10


# --- the task on 300 verses


@pytest.fixture(autouse=True)
def _accelerate_anew() -> Iterator[None]:
    """Accelerate fixes the precision once a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def few_verses(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 validation verses stand for the training verses, which take long to tokenize."""
    monkeypatch.setattr(text_task, "load_verses", lambda split, n=None: load_verses("validation", n or 300))


def config(**fields: object) -> TextTraining:
    tiny = {"steps": 40, "batch_size": 8, "dim": 32, "encoder_layers": 1, "decoder_layers": 1, "precision": "fp32"}
    return TextTraining.model_validate(tiny | fields)


def text_training(**fields: object) -> TextTask:
    task = make_task(config(**fields))
    assert isinstance(task, TextTask)
    return task


class Spy(nn.Module):
    """Remembers what the task feeds to its network."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.fed: list[tuple[Tensor, Tensor]] = []

    def forward(self, source: Tensor, target: Tensor, *, with_uniform: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        self.fed.append((source, target))
        zeros = torch.zeros_like(target[:, 1:]) * self.nothing
        return (zeros, zeros) if with_uniform else zeros


def fed(task: TextTask, step: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    spy = Spy()
    task.loss({"network": spy}, step, generator(seed), slice(0, 8))
    return spy.fed[0]


@pytest.mark.usefixtures("few_verses")
def test_the_longest_target_grows_over_the_curriculum_and_then_batches_are_the_usual_ones() -> None:
    task = text_training(curriculum=0.5)
    all_lengths = torch.tensor([len(ids) for ids in task.batches.target]).sort().values
    for step in range(20):
        share = math.sqrt(step / 20 * 0.99 + 0.01)
        assert lengths(fed(task, step, seed=step)[1]).max() <= all_lengths[math.ceil(share * 300) - 1]
    assert lengths(fed(task, 0)[1]).max() < all_lengths[60]
    for step in (20, 39):
        for mine, usual in zip(fed(task, step), task.batches.draw(step), strict=True):
            assert torch.equal(mine, usual)


@pytest.mark.usefixtures("few_verses")
def test_pretraining_restores_damaged_modern_texts_and_then_translation_starts() -> None:
    task = text_training(pretrain=0.25, curriculum=0.5)
    for step in (0, 9):
        source, target = fed(task, step)
        assert torch.equal(target, task.batches.draw(step)[1])
        for damaged, whole in zip(source.tolist(), target.tolist(), strict=True):
            pieces = [piece for piece in whole if piece not in (BOS, EOS, PAD)]
            kept = [piece for piece in damaged if piece not in (MASK, PAD)]
            assert len(pieces) - len(kept) == round(DAMAGE * len(pieces))
            rest = iter(pieces)
            assert all(piece in rest for piece in kept)  # in their order
            assert not {BOS, EOS} & set(damaged)
        assert (source == MASK).any()
        assert torch.equal(source, fed(task, step)[0])
        assert not torch.equal(source[:, :5], fed(task, step, seed=1)[0][:, :5])
    pairs = {
        (tuple(source), tuple(target)) for source, target in zip(task.batches.source, task.batches.target, strict=True)
    }
    for step in (10, 39):
        for source, target in zip(*(tensor.tolist() for tensor in fed(task, step)), strict=True):
            assert (tuple(p for p in source if p), tuple(p for p in target if p)) in pairs
    shortest = torch.tensor([len(ids) for ids in task.batches.target]).sort().values
    assert lengths(fed(task, 10)[1]).max() <= shortest[29]  # the curriculum begins with translation
    assert torch.equal(fed(task, 25)[1], task.batches.draw(25)[1])  # and takes half of its 30 steps


@pytest.mark.parametrize(
    ("depth", "layers"), [(1.0, (4, 3)), (0.5, (2, 2)), (0.25, (1, 1)), (0.01, (1, 1)), (2.0, (8, 6))]
)
@pytest.mark.usefixtures("few_verses")
def test_depth_multiplies_the_layers_of_both_sides_and_leaves_one(depth: float, layers: tuple[int, int]) -> None:
    network = text_training(depth=depth, encoder_layers=4, decoder_layers=3).network
    assert (len(network.encoder), len(network.decoder)) == layers
    assert (network.config.encoder_layers, network.config.decoder_layers) == layers


@pytest.mark.usefixtures("few_verses")
def test_dropout_drops_its_share_and_scales_the_rest_up_in_training_alone() -> None:
    network = text_training(dropout=0.25).network
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} == {0.25}
    tokens = torch.arange(5, 405).view(20, 20)
    whole, thinned = network.eval()._embed(tokens, 0), network.train()._embed(tokens, 0)
    dropped = thinned == 0
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(thinned[~dropped], whole[~dropped] / 0.75)


# --- self-critical training


def sampled_loss(task: TextTask, step: int, weight: float, seed: int = 0, share: slice = slice(0, 8)) -> Tensor:
    task.network.train()
    object.__setattr__(task, "config", task.config.model_copy(update={"self_critical": weight}))
    torch.manual_seed(3)
    return task.loss({"network": task.network}, step, generator(seed), share)


@pytest.fixture
def trained(few_verses: None) -> TextTask:
    """The shipped network, without dropout: its samples are texts."""
    task = text_training(dropout=0, dim=192, encoder_layers=3, decoder_layers=2)
    task.network.load_state_dict(read_checkpoint(checkpoint_path("verses-transformer"))[0])
    return task


def test_the_loss_mixes_cross_entropy_with_advantage_times_log_probability_of_the_sample(trained: TextTask) -> None:
    task, tokenizer = trained, load_tokenizer()
    source, target = task.batches.draw(5)
    limit = min(160, 2 * target.shape[1])
    options = {"begin": BOS, "end": EOS, "max_length": limit}
    network = task.network.eval()
    sampled = decoding.sample(network, source, generator=generator(), **options)
    greedy = decoding.greedy(network, source, **options)
    references = tokenizer.decode_batch(target.tolist())
    gains = rewards(tokenizer.decode_batch(sampled), references) - rewards(tokenizer.decode_batch(greedy), references)
    assert (gains != 0).any()
    total, n_tokens = 0.0, 0
    for row, ids, gain in zip(source, sampled, gains.tolist(), strict=True):
        tokens = torch.tensor([[BOS, *ids] if len(ids) == limit else [BOS, *ids, EOS]])
        with torch.no_grad():
            total -= gain / 100 * network(row[row != PAD][None], tokens).sum().item()
        n_tokens += tokens.shape[1] - 1
    alone = sampled_loss(task, 5, 1.0).item()
    assert alone == pytest.approx(total / n_tokens, rel=1e-3)
    cross_entropy = sampled_loss(task, 5, 0.0).item()
    assert sampled_loss(task, 5, 0.3).item() == pytest.approx(0.7 * cross_entropy + 0.3 * alone, rel=1e-5)


def test_samples_come_from_the_generator_of_the_step_without_dropout(few_verses: None) -> None:
    task = text_training(dropout=0.5)
    seen: list[bool] = []
    task.network.encoder_norm.register_forward_hook(lambda module, *_: seen.append(module.training))
    first = sampled_loss(task, 0, 1.0)
    assert seen == [True, False, False, True]  # cross-entropy, sample, greedy output, the sample's probability
    assert torch.equal(first, sampled_loss(task, 0, 1.0))
    assert not torch.equal(first, sampled_loss(task, 0, 1.0, seed=1))


def test_two_shares_of_a_batch_draw_the_samples_of_the_whole(
    trained: TextTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[list[int]]] = []
    sample = decoding.sample

    def keeping(*arguments: object, **options: object) -> list[list[int]]:
        drawn.append(sample(*arguments, **options))  # type: ignore[arg-type]
        return drawn[-1]

    monkeypatch.setattr(decoding, "sample", keeping)
    for share in (slice(0, 8), slice(0, 4), slice(4, 8)):
        sampled_loss(trained, 2, 1.0, share=share)
    assert drawn[0] == drawn[1] + drawn[2]


def test_under_autocast_every_weight_still_gets_its_gradient(trained: TextTask) -> None:
    """Weights that autocast has cast while decoding have no gradient; the loss must not use them."""
    gradients = {}
    for enabled in (False, True):
        trained.network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = trained._self_critical(trained.network, *trained.batches.draw(5), generator(), slice(0, 8))
        loss.backward()
        gradients[enabled] = {name: value.grad for name, value in trained.network.named_parameters()}
    for name, exact in gradients[False].items():
        assert gradients[True][name] is not None, name
        if exact.norm() > 1e-4:
            assert F.cosine_similarity(gradients[True][name].flatten(), exact.flatten(), dim=0) > 0.9, name


@pytest.mark.usefixtures("few_verses")
def test_a_sample_that_was_cut_is_not_scored_for_an_end_that_it_never_reached() -> None:
    task, spy = text_training(self_critical=1.0), Spy()
    task.loss({"network": spy}, 0, generator(), slice(0, 8))
    (_, target), (_, sampled) = spy.fed
    cut = [row for row in sampled.tolist() if PAD not in row]
    assert cut  # an untrained network hardly ever says that it is done
    assert {len(row) for row in cut} == {1 + 2 * target.shape[1]}
    assert all(row[0] == BOS and EOS not in row for row in cut)


@pytest.mark.usefixtures("few_verses")
def test_there_is_no_reward_during_pretraining() -> None:
    task = text_training(pretrain=0.5, self_critical=1.0)
    spy = Spy()
    task.loss({"network": spy}, 19, generator(), slice(0, 8))
    assert len(spy.fed) == 1
    task.loss({"network": spy}, 20, generator(), slice(0, 8))
    assert len(spy.fed) == 3


# --- switches off


def plain_order(batches: TextBatches, epoch: int) -> list[list[int]]:
    """Order of an epoch as the shipped weights were trained with it."""
    own = torch.Generator().manual_seed(batches.seed * 1_000_003 + epoch)
    order = torch.randperm(len(batches.source), generator=own)
    found = []
    for pool in order.split(50 * batches.batch_size):
        ids = sorted(pool.tolist(), key=lambda i: len(batches.target[i]))
        found += [ids[i : i + batches.batch_size] for i in range(0, len(ids), batches.batch_size)]
    whole = [ids for ids in found if len(ids) == batches.batch_size]
    return [whole[i] for i in torch.randperm(len(whole), generator=own).tolist()]


@pytest.mark.usefixtures("few_verses")
def test_with_all_switches_off_training_is_a_plain_loop_to_the_last_bit(tmp_path: Path) -> None:
    chosen = config(precision="bf16", seed=5, steps=50)
    run = _Run(chosen, tmp_path)
    torch.manual_seed(5)
    plain = Seq2Seq(Seq2SeqConfig(vocabulary=4096, dim=32, encoder_layers=1, decoder_layers=1))
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    pairs = run.task.batches  # type: ignore[attr-defined]
    orders = [plain_order(pairs, epoch) for epoch in (0, 1)]
    n_batches = len(orders[0])
    for step in (0, 1, n_batches, n_batches + 1):
        factor = 0.5 * (1 + math.cos(math.pi * (step - 2) / 48)) if step >= 2 else (step + 1) / 2
        optimizer.param_groups[0]["lr"] = 1e-3 * factor
        index = orders[step // n_batches][step % n_batches]
        source = nn.utils.rnn.pad_sequence([torch.tensor(pairs.source[i]) for i in index], batch_first=True)
        target = nn.utils.rnn.pad_sequence([torch.tensor(pairs.target[i]) for i in index], batch_first=True)
        torch.manual_seed(5 * 1_000_003 + step)
        real = target[:, 1:] != PAD
        with torch.autocast("cpu", torch.bfloat16):
            log_probs, uniform = plain(source, target, with_uniform=True)
            loss = -((0.9 * log_probs + 0.1 * uniform) * real).sum() / real.sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        assert run.step(step) == loss.item()
    for name, value in run.task.network.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]), name


@pytest.mark.usefixtures("few_verses")
def test_with_all_switches_off_a_step_takes_nothing_from_its_generator() -> None:
    own = generator(9)
    text_training().loss({"network": Spy()}, 3, own, slice(0, 8))
    assert torch.equal(own.get_state(), generator(9).get_state())
