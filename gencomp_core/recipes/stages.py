"""Which stages a recipe may hold.

To add one: a class in a file of this folder with a `kind` of its own, its name here, its function in
`compression/`, and a line in `variant.py`.
"""

from typing import Annotated, get_args

from pydantic import Field

from gencomp_core.recipes.activations import ActivationQuantization, SmoothQuant
from gencomp_core.recipes.factorization import LowRankFactorization
from gencomp_core.recipes.learned_masks import (
    HardConcretePruning,
    IterativePruning,
    MovementPruning,
    Regrowth,
    RegularizedPruning,
)
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
from gencomp_core.recipes.recovery import FineTuning, QuantizationAwareTraining
from gencomp_core.recipes.special_tuning import SelfCriticalTuning, StepDistillation
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
    | BlockRemoval
    | LowRankFactorization
    | FineTuning
    | QuantizationAwareTraining
    | IterativePruning
    | MovementPruning
    | HardConcretePruning
    | RegularizedPruning
    | Regrowth
    | StepDistillation
    | SelfCriticalTuning,
    Field(discriminator="kind"),
]
STAGES: dict[str, type[Stage]] = {
    stage.model_fields["kind"].default: stage for stage in get_args(get_args(AnyStage)[0])
}
"""Class of each kind, in the order above."""
