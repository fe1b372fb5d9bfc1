"""What data-aware stages know of the inputs of a draft's layers, from the calibration samples of its workload."""

from collections.abc import Iterable

from torch import Tensor, nn

from gencomp_core.compression.calibration import gradient_moments, input_norms, input_statistics
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import shared_layers
from gencomp_core.errors import RecipeError
from gencomp_core.workloads.calibration import forward_batches, is_calibrated, loss_batches


def input_moments(draft: Draft, names: Iterable[str], n_samples: int, *, why: str) -> dict[str, Tensor]:
    """XᵀX / n of the inputs of these layers, where they have a matrix and are met: {layer: (columns, columns)}.

    An embedding that is the output layer too has two kinds of input, ids and hidden states. Those of the output layer
    alone leave what is looked up worse than rounding to nearest. It has the second moments of its gradient, in which
    both meet, where the workload has a training loss.

    Raises:
        RecipeError: inputs that are not finite.
    """
    chosen = {name: draft.layers[name] for name in names}
    batches = list(forward_batches(draft.workload, n_samples, seed=draft.seed))
    draft.calibrated_with_(batches)
    found = input_statistics(draft.model, chosen, batches, seed=draft.seed)
    grams = {name: statistics.gram for name, statistics in found.items()} | _of_embeddings(draft, chosen, n_samples)
    return {name: _finite(gram, name, why) for name, gram in grams.items()}


def input_sizes(draft: Draft, names: Iterable[str], n_samples: int, *, why: str) -> dict[str, Tensor]:
    """Root mean square of each input column, where layers have a matrix and are met: {layer: (columns,)}.

    Raises:
        RecipeError: inputs that are not finite.
    """
    batches = list(forward_batches(draft.workload, n_samples, seed=draft.seed))
    draft.calibrated_with_(batches)
    found = input_norms(draft.model, {name: draft.layers[name] for name in names}, batches, seed=draft.seed)
    return {name: _finite(norms, name, why) for name, norms in found.items()}


def _of_embeddings(draft: Draft, chosen: dict[str, nn.Module], n_samples: int) -> dict[str, Tensor]:
    """Moments of the embeddings that are used as an output layer too."""
    shared = shared_layers(draft.model)
    tied: dict[str, nn.Module] = {
        name: layer for name, layer in chosen.items() if name in shared and isinstance(layer, nn.Embedding)
    }
    if not tied or not is_calibrated(draft.workload):
        return {}
    batches = list(loss_batches(draft.workload, n_samples, seed=draft.seed))
    draft.calibrated_with_(batches)
    found = gradient_moments(draft.model, tied, batches)
    return {name: gram for name, gram in found.items() if bool(gram.any())}


def _finite(statistics: Tensor, name: str, why: str) -> Tensor:
    if not bool(statistics.isfinite().all()):
        raise RecipeError(
            f"The inputs of {name} must be finite to {why} by, got infinite or undefined ones. "
            "Compress less before this stage."
        )
    return statistics
