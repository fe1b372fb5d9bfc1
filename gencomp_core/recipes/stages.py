"""Which stages a recipe may hold.

To add one: a class in a file of this folder with a `kind` of its own, its name here, its function in
`compression/`, and a line in `variant.py`.
"""

from typing import Annotated

from pydantic import Field

from gencomp_core.recipes.activations import ActivationQuantization, SmoothQuant
from gencomp_core.recipes.pruning import (
    AdaptivePruning,
    GradientPruning,
    MagnitudePruning,
    SparseGPTPruning,
    WandaPruning,
)
from gencomp_core.recipes.quantization import (
    BiasCorrection,
    CrossLayerEqualization,
    FloatCast,
    LowRankCorrection,
    WeightQuantization,
)
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.structure import BlockRemoval, ChannelPruning, HeadPruning

AnyStage = Annotated[
    MagnitudePruning
    | WandaPruning
    | SparseGPTPruning
    | GradientPruning
    | AdaptivePruning
    | WeightQuantization
    | FloatCast
    | LowRankCorrection
    | BiasCorrection
    | CrossLayerEqualization
    | SmoothQuant
    | ActivationQuantization
    | ChannelPruning
    | HeadPruning
    | BlockRemoval,
    Field(discriminator="kind"),
]
_CLASSES: tuple[type[Stage], ...] = (
    MagnitudePruning,
    WandaPruning,
    SparseGPTPruning,
    GradientPruning,
    AdaptivePruning,
    WeightQuantization,
    FloatCast,
    LowRankCorrection,
    BiasCorrection,
    CrossLayerEqualization,
    SmoothQuant,
    ActivationQuantization,
    ChannelPruning,
    HeadPruning,
    BlockRemoval,
)
STAGES: dict[str, type[Stage]] = {stage.model_fields["kind"].default: stage for stage in _CLASSES}
