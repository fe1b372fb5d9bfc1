"""Which stages a recipe may hold.

To add one: a class in a file of this folder with a `kind` of its own, its name here, its function in
`compression/`, and a line in `variant.py`.
"""

from typing import Annotated

from pydantic import Field

from gencomp_core.recipes.pruning import MagnitudePruning
from gencomp_core.recipes.quantization import WeightQuantization
from gencomp_core.recipes.stage import Stage

AnyStage = Annotated[MagnitudePruning | WeightQuantization, Field(discriminator="kind")]
_CLASSES: tuple[type[Stage], ...] = (MagnitudePruning, WeightQuantization)
STAGES: dict[str, type[Stage]] = {stage.model_fields["kind"].default: stage for stage in _CLASSES}
