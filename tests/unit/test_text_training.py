"""Batches of verse pairs, and the smoothed loss of the encoder–decoder."""

import pytest
import torch
from torch.nn import functional as F

from gencomp_core.data.verses import BOS, EOS, PAD
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.training.batches import TextBatches


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
