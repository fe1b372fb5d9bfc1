"""An encoder–decoder as two programs says what the network says, whatever is left of it."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from gencomp_core.errors import EvaluationError
from gencomp_core.models.decoding import beam_search, greedy
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.variant import compress
from gencomp_core.workloads.programs import Call, Program
from gencomp_core.workloads.seq2seq_programs import LENGTHS, STEP, Seq2SeqStandIn, seq2seq_programs
from tests.tiny import TinyVAE, TinyVerses, activations, quantization, recipe

LIMITS = {"begin": 2, "end": -1, "max_length": LENGTHS + 5}
SMALLER = {
    "dense": Recipe(),
    "blocks and heads": recipe(
        {"kind": "block-removal", "blocks": ["encoder.0", "decoder.0"]},
        {"kind": "head-pruning", "pruning_ratio": 0.5},
    ),
    "channels, factors and integers": recipe(
        {"kind": "channel-pruning", "pruning_ratio": 0.25},
        {"kind": "low-rank-factorization", "rank": 8, "layers": {"embedding": {"skip": True}}},
        quantization(8),
        activations(),
    ),
}


class TwoLayers(TinyVerses):
    name = "two-layers"

    def empty_network(self) -> nn.Module:
        return Seq2Seq(Seq2SeqConfig(dim=32, n_heads=2, encoder_layers=2, decoder_layers=2, feed_forward=2)).eval()


def in_torch(program: Program) -> Call:
    """A program that overwrites what it gave before, as runtimes do."""
    kept: dict[torch.Size, list[Tensor]] = {}

    def call(*inputs: Tensor) -> Sequence[Tensor]:
        assert [tuple(x.shape) for x in inputs] == [own.sized(program.sizes_of(inputs)) for own in program.inputs]
        out = program.module(*inputs)
        outputs = list(out) if isinstance(out, tuple) else [out]
        own = kept.setdefault(outputs[0].shape, outputs)
        for before, now in zip(own, outputs, strict=True):
            before.copy_(now)
        return own

    return call


def pair(chosen: Recipe) -> tuple[TwoLayers, Seq2Seq, Seq2SeqStandIn]:
    workload = TwoLayers()
    network = compress(workload, chosen).model
    assert isinstance(network, Seq2Seq)
    calls = {name: in_torch(program) for name, program in seq2seq_programs(network).items()}
    return workload, network, Seq2SeqStandIn(network, calls)


@pytest.mark.parametrize("name", SMALLER)
@torch.inference_mode()
def test_the_stand_in_decodes_and_scores_as_the_network_does(name: str) -> None:
    workload, network, stand_in = pair(SMALLER[name])
    source = torch.randint(5, 4000, (3, 7), generator=torch.Generator().manual_seed(0))
    source[1, 4:] = 0
    assert greedy(stand_in, source, **LIMITS) == greedy(network, source, **LIMITS)
    assert beam_search(stand_in, source, width=3, **LIMITS) == beam_search(network, source, width=3, **LIMITS)
    expected, _, real = workload.log_probs(network, 0, 3)
    found, _, _ = workload.log_probs(stand_in, 0, 3)
    assert (found - expected)[real].abs().max() < 1e-4


@torch.inference_mode()
def test_rows_may_move_to_any_place_and_multiply() -> None:
    _, network, stand_in = pair(Recipe())
    source = torch.randint(5, 4000, (3, 7), generator=torch.Generator().manual_seed(0))
    for index in ([2, 0, 0], [1, 1, 0, 2]):
        states = [model.start(source) for model in (network, stand_in)]
        following = []
        for model, state in zip((network, stand_in), states, strict=True):
            model.advance(torch.tensor([[2], [9], [8]]), state)
            state = state.reorder(torch.tensor(index))
            hidden, attention = model.advance(torch.tensor([[7]] * len(index)), state)
            following.append(model.next_log_probs(hidden, attention, state))
        assert torch.allclose(*following, atol=1e-4), index


@torch.inference_mode()
def test_a_step_is_given_the_same_tensors_until_a_cache_is_full() -> None:
    """What stays the same tensor stays bound in a runtime."""
    _, network, _ = pair(Recipe())
    calls, given = {name: in_torch(program) for name, program in seq2seq_programs(network).items()}, []

    def watched(*inputs: Tensor) -> Sequence[Tensor]:
        given.append(inputs)
        return calls[STEP](*inputs)

    stand_in = Seq2SeqStandIn(network, calls | {STEP: watched})
    greedy(stand_in, torch.tensor([[5, 6, 7]]), **LIMITS)
    assert len(given) == LENGTHS + 5
    for step, inputs in enumerate(given):
        same = [x is before for x, before in zip(inputs, given[step - 1], strict=True)] if step else []
        assert all(same) or step == LENGTHS


def test_another_network_is_refused_with_a_next_step() -> None:
    with pytest.raises(EvaluationError, match="known for a Seq2Seq network, got FashionVAE. Use --runtime eager"):
        seq2seq_programs(TinyVAE().model)
