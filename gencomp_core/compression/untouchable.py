"""Which layers the structural stages can't touch, and why: never skipped in silence."""

from torch import nn

from gencomp_core.compression.blocks import blocks_of, outside_blocks
from gencomp_core.compression.factorization import whole_layers
from gencomp_core.compression.structure import untouched_layers
from gencomp_core.compression.traced import structure_of
from gencomp_core.recipes.factorization import LowRankFactorization
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.structure import BlockRemoval, ChannelPruning, HeadPruning
from gencomp_core.workloads.base import Workload


def untouchable(workload: Workload, model: nn.Module) -> dict[str, dict[str, str]]:
    """Reason by layer, for each structural stage: {stage kind: {layer: reason}}."""
    structure = structure_of(workload, model)
    reasons: dict[type[Stage], dict[str, str]] = {
        ChannelPruning: untouched_layers(model, structure, ("channels", "heads")),
        HeadPruning: untouched_layers(model, structure, ("heads",)),
        BlockRemoval: outside_blocks(model, blocks_of(workload, model)),
        LowRankFactorization: whole_layers(model)[1],
    }
    return {stage.model_fields["kind"].default: found for stage, found in reasons.items()}
