"""Second moments of the inputs of a draft's layers, from the calibration samples of its workload."""

from collections.abc import Iterable

from torch import Tensor

from gencomp_core.compression.calibration import input_statistics
from gencomp_core.compression.draft import Draft
from gencomp_core.errors import RecipeError
from gencomp_core.workloads.calibration import forward_batches


def input_moments(draft: Draft, names: Iterable[str], n_samples: int, *, why: str) -> dict[str, Tensor]:
    """XᵀX / n of the inputs of these layers, where they have a matrix and are met: {layer: (columns, columns)}.

    Raises:
        RecipeError: inputs that are not finite.
    """
    batches = list(forward_batches(draft.workload, n_samples, seed=draft.seed))
    draft.calibrated_with_(batches)
    found = input_statistics(draft.model, {name: draft.layers[name] for name in names}, batches, seed=draft.seed)
    for name, statistics in found.items():
        if not bool(statistics.gram.isfinite().all()):
            raise RecipeError(
                f"The inputs of {name} must be finite to {why} by, got infinite or undefined ones. "
                "Compress less before this stage."
            )
    return {name: statistics.gram for name, statistics in found.items()}
